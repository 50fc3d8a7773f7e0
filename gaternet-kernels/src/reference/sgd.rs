//! One step of `torch.optim.SGD`.

use crate::cpu::sgd::SgdConfig;

/// Returns (parameter, velocity) after the step; on the first step the velocity given is not used.
#[must_use]
pub fn step(
    config: &SgdConfig,
    first_step: bool,
    param: &[f64],
    velocity: &[f64],
    grad: &[f64],
) -> (Vec<f64>, Vec<f64>) {
    let [lr, momentum, dampening, decay] =
        [config.lr, config.momentum, config.dampening, config.weight_decay].map(f64::from);
    let entries = param.iter().zip(velocity).zip(grad).map(|((param, velocity), grad)| {
        let grad = grad + decay * param;
        if momentum == 0.0 {
            return (param - lr * grad, *velocity);
        }
        let velocity =
            if first_step { grad } else { momentum * velocity + (1.0 - dampening) * grad };
        let direction = if config.nesterov { grad + momentum * velocity } else { velocity };
        (param - lr * direction, velocity)
    });
    entries.unzip()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    /// `torch.optim.SGD([w], lr=0.5, momentum=0.5, nesterov=True, weight_decay=0.5)`, `w = 1`,
    /// two steps with gradient 1: by hand from the update rule in PyTorch's documentation.
    #[test]
    fn two_nesterov_steps_by_hand() {
        let config =
            SgdConfig { lr: 0.5, momentum: 0.5, dampening: 0.0, weight_decay: 0.5, nesterov: true };
        let (w, v) = step(&config, true, &[1.0], &[9.0], &[1.0]);
        assert_close("first", &[w[0], v[0]], &[1.0 - 0.5 * 2.25, 1.5], 1e-12);
        let (w, v) = step(&config, false, &w, &v, &[1.0]);
        let grad = 1.0 - 0.5 * 0.125;
        let velocity = 0.75 + grad;
        let direction = grad + 0.5 * velocity;
        assert_close("second", &[w[0], v[0]], &[-0.125 - 0.5 * direction, velocity], 1e-12);
    }
}
