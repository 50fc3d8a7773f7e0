//! Adam with decoupled weight decay, as `torch.optim.AdamW`.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use super::shared_slice::SharedSlice;
use crate::error::{Result, check_len};

/// The constants of a step. They are f64, because `1 - beta2` of an f32 would have four digits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// The learning rate.
    pub lr: f64,
    /// The fraction of the mean gradient that is kept, in [0, 1).
    pub beta1: f64,
    /// The fraction of the mean square that is kept, in [0, 1).
    pub beta2: f64,
    /// The constant that is added to the root of the mean square.
    pub eps: f64,
    /// The fraction of the parameter that is subtracted, times the learning rate.
    pub weight_decay: f64,
}

/// The running means of a parameter's gradients; zeros before the first step.
#[derive(Debug)]
pub struct Moments<'a> {
    /// The mean of the gradients, as long as the parameter.
    pub mean: &'a mut [f32],
    /// The mean of their squares, as long as the parameter.
    pub square: &'a mut [f32],
}

/// Makes step `number`, 1 in the first, of Loshchilov & Hutter 2019 (arXiv 1711.05101):
///
/// ```text
/// param -= lr·weight_decay·param
/// mean += (1 - beta1)·(grad - mean);    square = beta2·square + (1 - beta2)·grad²
/// param -= lr / (1 - beta1^number) · mean / (sqrt(square) / sqrt(1 - beta2^number) + eps)
/// ```
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn step(
    isa: Isa,
    config: AdamWConfig,
    number: u64,
    param: &mut [f32],
    moments: Moments<'_>,
    grad: &[f32],
) -> Result<()> {
    check_len("adamw::step", "grad", param.len(), grad.len())?;
    check_len("adamw::step", "mean", param.len(), moments.mean.len())?;
    check_len("adamw::step", "square", param.len(), moments.square.len())?;
    let constants = Constants::new(config, number);
    let (mean, square) = (&SharedSlice::new(moments.mean), &SharedSlice::new(moments.square));
    for_runs(param, 1, 1, |range, param| {
        let grad = &grad[range.clone()];
        // SAFETY: the ranges of the runs are disjoint.
        let mean = unsafe { mean.part(range.clone()) };
        // SAFETY: as above.
        let square = unsafe { square.part(range) };
        dispatch!(isa, descend(
            constants: Constants, param: &mut [f32], mean: &mut [f32], square: &mut [f32],
            grad: &[f32],
        ));
    });
    Ok(())
}

/// The factors of each element, rounded once.
#[derive(Debug, Clone, Copy)]
struct Constants {
    kept: f32,
    new_mean: f32,
    old_square: f32,
    new_square: f32,
    root: f32,
    eps: f32,
    rate: f32,
}

impl Constants {
    fn new(config: AdamWConfig, number: u64) -> Constants {
        let AdamWConfig { lr, beta1, beta2, eps, weight_decay } = config;
        // Beyond i32 the powers of a number below 1 are 0.
        let number = i32::try_from(number).unwrap_or(i32::MAX);
        Constants {
            kept: (1.0 - lr * weight_decay) as f32,
            new_mean: (1.0 - beta1) as f32,
            old_square: beta2 as f32,
            new_square: (1.0 - beta2) as f32,
            root: (1.0 - beta2.powi(number)).sqrt() as f32,
            eps: eps as f32,
            rate: (lr / (1.0 - beta1.powi(number))) as f32,
        }
    }
}

#[inline(always)]
fn descend(
    constants: Constants,
    param: &mut [f32],
    mean: &mut [f32],
    square: &mut [f32],
    grad: &[f32],
) {
    let Constants { kept, new_mean, old_square, new_square, root, eps, rate } = constants;
    for (((param, mean), square), grad) in param.iter_mut().zip(mean).zip(square).zip(grad) {
        *mean += new_mean * (grad - *mean);
        *square = old_square * *square + new_square * (grad * grad);
        *param = kept * *param - rate * (*mean / (square.sqrt() / root + eps));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference;
    use crate::testing::{assert_close, values, widen};

    const CONFIG: AdamWConfig =
        AdamWConfig { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-2 };

    #[test]
    fn steps_agree_with_the_reference() {
        let configs = [
            CONFIG,
            AdamWConfig { weight_decay: 0.0, ..CONFIG },
            AdamWConfig { beta1: 0.0, beta2: 0.5, eps: 0.1, ..CONFIG },
        ];
        for isa in Isa::available() {
            for config in configs {
                for len in [0, 1, 7, 49, 1024, 100_003] {
                    let mut param = values(1, len);
                    let (mut mean, mut square) = (vec![0.0; len], vec![0.0; len]);
                    let mut want = [widen(&param), vec![0.0; len], vec![0.0; len]];
                    for number in 1..=4 {
                        let grad = values(number + 1, len);
                        let moments = Moments { mean: &mut mean, square: &mut square };
                        step(isa, config, number, &mut param, moments, &grad)
                            .expect("equally long");
                        want = reference::adamw::step(&config, number, &want, &widen(&grad));
                        for (got, want) in [&param, &mean, &square].into_iter().zip(&want) {
                            assert_close((isa, config, number), got, want, 1e-5);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let run = |isa| {
            let (mut param, grad) = (values(1, 1001), values(2, 1001));
            let (mut mean, mut square) = (vec![0.0; 1001], vec![0.0; 1001]);
            for number in 1..=3 {
                let moments = Moments { mean: &mut mean, square: &mut square };
                step(isa, CONFIG, number, &mut param, moments, &grad).expect("equally long");
            }
            param
        };
        let all = Isa::available();
        for isa in &all[1..] {
            assert_eq!(run(*isa), run(all[0]), "{isa}");
        }
    }

    #[test]
    fn different_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let (mut param, mut mean, mut square) = ([7.0; 3], [7.0; 3], [7.0; 3]);
        for (grads, means, squares) in [(2, 3, 3), (3, 2, 3), (3, 3, 2)] {
            let moments = Moments { mean: &mut mean[..means], square: &mut square[..squares] };
            assert!(step(isa, CONFIG, 1, &mut param, moments, &[1.0; 3][..grads]).is_err());
        }
        assert_eq!((param, mean, square), ([7.0; 3], [7.0; 3], [7.0; 3]));
    }
}
