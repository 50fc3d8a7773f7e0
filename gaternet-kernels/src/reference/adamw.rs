//! One step of `torch.optim.AdamW`.

use crate::cpu::adamw::AdamWConfig;

/// Returns \[parameter, mean gradient, mean square\] after step `number`, 1 in the first, as in
/// algorithm 2 of Loshchilov & Hutter 2019 (arXiv 1711.05101).
#[must_use]
pub fn step(
    config: &AdamWConfig,
    number: u64,
    [param, mean, square]: &[Vec<f64>; 3],
    grad: &[f64],
) -> [Vec<f64>; 3] {
    let AdamWConfig { lr, beta1, beta2, eps, weight_decay } = *config;
    let power = |beta: f64| (0..number).map(|_| beta).product::<f64>();
    let mix = |beta: f64, old: &[f64], new: &dyn Fn(f64) -> f64| -> Vec<f64> {
        old.iter().zip(grad).map(|(old, &grad)| beta * old + (1.0 - beta) * new(grad)).collect()
    };
    let mean = mix(beta1, mean, &|grad| grad);
    let square = mix(beta2, square, &|grad| grad * grad);
    let moved = param.iter().zip(mean.iter().zip(&square)).map(|(param, (mean, square))| {
        let (mean, square) = (mean / (1.0 - power(beta1)), square / (1.0 - power(beta2)));
        param - lr * (mean / (square.sqrt() + eps) + weight_decay * param)
    });
    let moved = moved.collect();
    [moved, mean, square]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    /// `lr=0.5, betas=(0.5, 0.75), eps=0, weight_decay=0.5`, w = 1, gradients 2 and -1: by hand.
    #[test]
    fn two_steps_by_hand() {
        let config = AdamWConfig { lr: 0.5, beta1: 0.5, beta2: 0.75, eps: 0.0, weight_decay: 0.5 };
        let first = step(&config, 1, &[vec![1.0], vec![0.0], vec![0.0]], &[2.0]);
        // The corrected means are the gradient and its square: a step of the learning rate.
        assert_close("first", &first.concat(), &[0.75 - 0.5, 1.0, 1.0], 1e-12);
        let second = step(&config, 2, &first, &[-1.0]);
        assert_close("second", &second.concat(), &[0.25 * 0.75, 0.0, 1.0], 1e-12);
    }
}
