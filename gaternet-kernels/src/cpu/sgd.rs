//! Stochastic gradient descent, exactly as `torch.optim.SGD`.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use super::shared_slice::SharedSlice;
use crate::error::{Result, check_len};

/// The constants of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdConfig {
    /// The learning rate.
    pub lr: f32,
    /// The fraction of the velocity that is kept; 0 for plain gradient descent.
    pub momentum: f32,
    /// The fraction of the gradient that does not enter the velocity (after the first step).
    pub dampening: f32,
    /// The factor by which the parameter is added to the gradient.
    pub weight_decay: f32,
    /// Whether the step looks ahead along the velocity.
    pub nesterov: bool,
}

/// Makes one step: with `g = grad + weight_decay·param`, `v = momentum·v + (1 - dampening)·g` (on
/// the first step `v = g`, whatever v holds) and `param -= lr·v`, or `lr·(g + momentum·v)` with
/// Nesterov. Without momentum `param -= lr·g`, and v is neither read nor written and may be empty.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn step(
    isa: Isa,
    config: SgdConfig,
    first_step: bool,
    param: &mut [f32],
    velocity: &mut [f32],
    grad: &[f32],
) -> Result<()> {
    check_len("sgd::step", "grad", param.len(), grad.len())?;
    if config.momentum == 0.0 {
        for_runs(param, 1, 1, |range, param| {
            let grad = &grad[range];
            dispatch!(isa, descend(config: SgdConfig, param: &mut [f32], grad: &[f32]));
        });
        return Ok(());
    }
    check_len("sgd::step", "velocity", param.len(), velocity.len())?;
    let velocity = &SharedSlice::new(velocity);
    for_runs(param, 1, 1, |range, param| {
        let grad = &grad[range.clone()];
        // SAFETY: the ranges of the runs are disjoint.
        let velocity = unsafe { velocity.part(range) };
        dispatch!(isa, roll(
            config: SgdConfig, first_step: bool, param: &mut [f32], velocity: &mut [f32],
            grad: &[f32],
        ));
    });
    Ok(())
}

#[inline(always)]
fn descend(config: SgdConfig, param: &mut [f32], grad: &[f32]) {
    for (param, grad) in param.iter_mut().zip(grad) {
        *param -= config.lr * (grad + config.weight_decay * *param);
    }
}

#[inline(always)]
fn roll(
    config: SgdConfig,
    first_step: bool,
    param: &mut [f32],
    velocity: &mut [f32],
    grad: &[f32],
) {
    let SgdConfig { lr, momentum, dampening, weight_decay, nesterov } = config;
    for ((param, velocity), grad) in param.iter_mut().zip(velocity).zip(grad) {
        let grad = grad + weight_decay * *param;
        let rolled =
            if first_step { grad } else { momentum * *velocity + (1.0 - dampening) * grad };
        *velocity = rolled;
        *param -= lr * if nesterov { grad + momentum * rolled } else { rolled };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn steps_agree_with_the_reference() {
        let plain = SgdConfig {
            lr: 0.1,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
        };
        let heavy = SgdConfig { momentum: 0.9, weight_decay: 1e-2, ..plain };
        let configs = [
            plain,
            SgdConfig { weight_decay: 1e-2, ..plain },
            heavy,
            SgdConfig { dampening: 0.3, ..heavy },
            SgdConfig { nesterov: true, ..heavy },
        ];
        for isa in Isa::available() {
            for config in configs {
                for len in [0, 1, 7, 49, 1024, 100_003] {
                    let mut param = values(1, len);
                    // The first step must not read this.
                    let mut velocity = vec![f32::NAN; len];
                    let mut want = (widen(&param), widen(&velocity));
                    for (i, first_step) in [true, false, false].into_iter().enumerate() {
                        let grad = values(i as u64, len);
                        step(isa, config, first_step, &mut param, &mut velocity, &grad)
                            .expect("equally long");
                        let grad = widen(&grad);
                        want = reference::sgd::step(&config, first_step, &want.0, &want.1, &grad);
                        assert_close((isa, config), &param, &want.0, 1e-5);
                        assert_close((isa, config), &velocity, &want.1, 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn different_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let config = SgdConfig {
            lr: 0.1,
            momentum: 0.9,
            dampening: 0.0,
            weight_decay: 0.0,
            nesterov: false,
        };
        let (mut param, mut velocity) = ([7.0; 3], [7.0; 3]);
        assert!(step(isa, config, true, &mut param, &mut velocity, &[1.0; 2]).is_err());
        assert!(step(isa, config, true, &mut param, &mut velocity[..2], &[1.0; 3]).is_err());
        assert_eq!((param, velocity), ([7.0; 3], [7.0; 3]));
        let without = SgdConfig { momentum: 0.0, ..config };
        step(isa, without, true, &mut param, &mut [], &[1.0; 3]).expect("no velocity needed");
        assert_eq!(param, [6.9; 3]);
    }
}
