//! Exponential moving averages.

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use crate::error::{Result, check_len};

/// Computes `average += fraction·(value - average)`, as `torch.lerp(average, value, fraction)`
/// does.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn update(isa: Isa, average: &mut [f32], value: &[f32], fraction: f32) -> Result<()> {
    check_len("ema::update", "value", average.len(), value.len())?;
    for_runs(average, 1, 1, |range, average| {
        let value = &value[range];
        dispatch!(isa, approach(average: &mut [f32], value: &[f32], fraction: f32));
    });
    Ok(())
}

#[inline(always)]
fn approach(average: &mut [f32], value: &[f32], fraction: f32) {
    average.iter_mut().zip(value).for_each(|(a, value)| *a += fraction * (value - *a));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn an_average_approaches_its_value() {
        for isa in Isa::available() {
            for len in [0, 1, 7, 49, 1024, 100_003] {
                let (a, b) = (values(1, len), values(2, len));
                let mut average = a.clone();
                update(isa, &mut average, &b, 0.25).expect("equally long");
                let pairs = widen(&a).into_iter().zip(widen(&b));
                let want: Vec<f64> = pairs.map(|(a, b)| 0.75 * a + 0.25 * b).collect();
                assert_close((isa, len), &average, &want, 1e-6);
            }
        }
    }

    #[test]
    fn different_lengths_are_refused_and_nothing_is_written() {
        let mut average = [7.0; 3];
        assert!(update(Isa::available()[0], &mut average, &[1.0; 4], 0.5).is_err());
        assert_eq!(average, [7.0; 3]);
    }
}
