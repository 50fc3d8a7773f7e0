//! Sums and products, element by element.

use rayon::prelude::*;

use super::isa::{Isa, dispatch};
use super::parallel::for_runs;
use crate::error::{Result, check_len};

/// Computes `y = a + b`; all have the same length.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn add(isa: Isa, a: &[f32], b: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("elementwise::add", "b", a.len(), b.len())?;
    check_len("elementwise::add", "y", a.len(), y.len())?;
    for_runs(y, 1, 1, |range, y| {
        let (a, b) = (&a[range.clone()], &b[range]);
        dispatch!(isa, sums(a: &[f32], b: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Computes `a += b`; both have the same length.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn add_assign(isa: Isa, a: &mut [f32], b: &[f32]) -> Result<()> {
    check_len("elementwise::add_assign", "b", a.len(), b.len())?;
    for_runs(a, 1, 1, |range, a| {
        let b = &b[range];
        dispatch!(isa, accumulate(a: &mut [f32], b: &[f32]));
    });
    Ok(())
}

/// Computes `y[i] = Σ_p parts[p, i]` of `parts` (P, `y.len()`), in the order of the parts.
pub(crate) fn sum_parts(isa: Isa, parts: &[f32], y: &mut [f32]) {
    let len = y.len();
    for_runs(y, 1, (parts.len() / len.max(1)).max(1), |range, y| {
        y.fill(0.0);
        for part in parts.chunks_exact(len) {
            let part = &part[range.clone()];
            dispatch!(isa, accumulate(y: &mut [f32], part: &[f32]));
        }
    });
}

/// Computes `y = a·b`; all have the same length.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn mul(isa: Isa, a: &[f32], b: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("elementwise::mul", "b", a.len(), b.len())?;
    check_len("elementwise::mul", "y", a.len(), y.len())?;
    for_runs(y, 1, 1, |range, y| {
        let (a, b) = (&a[range.clone()], &b[range]);
        dispatch!(isa, products(a: &[f32], b: &[f32], y: &mut [f32]));
    });
    Ok(())
}

/// Computes `y = factor·a`; both have the same length.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if the lengths differ.
pub fn scale(isa: Isa, a: &[f32], factor: f32, y: &mut [f32]) -> Result<()> {
    check_len("elementwise::scale", "y", a.len(), y.len())?;
    for_runs(y, 1, 1, |range, y| {
        let a = &a[range];
        dispatch!(isa, multiples(a: &[f32], factor: f32, y: &mut [f32]));
    });
    Ok(())
}

/// Returns the sum of all elements, in f64 and in an order that does not depend on the number of
/// threads.
#[must_use]
pub fn sum(a: &[f32]) -> f64 {
    total(a, |x| x)
}

/// Returns the sum of the squares, in f64 and in an order that does not depend on the number of
/// threads.
#[must_use]
pub fn sum_squares(a: &[f32]) -> f64 {
    total(a, |x| x * x)
}

fn total(a: &[f32], term: impl Fn(f64) -> f64 + Sync) -> f64 {
    const BLOCK: usize = 32 * 1024;
    if a.len() <= BLOCK {
        return block_total(a, &term);
    }
    let blocks: Vec<f64> = a.par_chunks(BLOCK).map(|block| block_total(block, &term)).collect();
    blocks.iter().sum()
}

fn block_total(a: &[f32], term: &impl Fn(f64) -> f64) -> f64 {
    let (chunks, tail) = a.as_chunks::<8>();
    let mut lanes = [0.0f64; 8];
    for chunk in chunks {
        for lane in 0..8 {
            lanes[lane] += term(f64::from(chunk[lane]));
        }
    }
    lanes.iter().sum::<f64>() + tail.iter().map(|&x| term(f64::from(x))).sum::<f64>()
}

#[inline(always)]
fn sums(a: &[f32], b: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a + b);
}

#[inline(always)]
fn accumulate(a: &mut [f32], b: &[f32]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

#[inline(always)]
fn products(a: &[f32], b: &[f32], y: &mut [f32]) {
    y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = a * b);
}

#[inline(always)]
fn multiples(a: &[f32], factor: f32, y: &mut [f32]) {
    y.iter_mut().zip(a).for_each(|(y, a)| *y = a * factor);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn every_op_agrees_with_f64() {
        for isa in Isa::available() {
            for len in [0, 1, 7, 49, 1024, 100_003] {
                let (a, b) = (values(1, len), values(2, len));
                let zip = |f: fn(f64, f64) -> f64| -> Vec<f64> {
                    widen(&a).into_iter().zip(widen(&b)).map(|(a, b)| f(a, b)).collect()
                };
                let mut y = vec![7.0; len];
                add(isa, &a, &b, &mut y).expect("equally long");
                assert_close((isa, "add"), &y, &zip(|a, b| a + b), 1e-6);
                mul(isa, &a, &b, &mut y).expect("equally long");
                assert_close((isa, "mul"), &y, &zip(|a, b| a * b), 1e-6);
                scale(isa, &a, 2.0, &mut y).expect("equally long");
                assert_close((isa, "scale"), &y, &zip(|a, _| a * 2.0), 1e-6);
                let mut y = a.clone();
                add_assign(isa, &mut y, &b).expect("equally long");
                assert_close((isa, "add_assign"), &y, &zip(|a, b| a + b), 1e-6);
                let parts = [a.as_slice(), &b, &a].concat();
                sum_parts(isa, &parts, &mut y);
                assert_close((isa, "sum_parts"), &y, &zip(|a, b| a + b + a), 1e-6);
                assert_close("sum", &[sum(&a)], &[widen(&a).iter().sum()], 1e-9);
                let squares = widen(&a).iter().map(|a| a * a).sum();
                assert_close("sum_squares", &[sum_squares(&a)], &[squares], 1e-8);
            }
        }
    }

    #[test]
    fn different_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::available()[0];
        let mut y = [7.0; 3];
        assert!(add(isa, &[1.0; 3], &[1.0; 4], &mut y).is_err());
        assert!(add(isa, &[1.0; 4], &[1.0; 4], &mut y).is_err());
        assert!(mul(isa, &[1.0; 3], &[1.0; 4], &mut y).is_err());
        assert!(mul(isa, &[1.0; 4], &[1.0; 4], &mut y).is_err());
        assert!(scale(isa, &[1.0; 4], 2.0, &mut y).is_err());
        assert!(add_assign(isa, &mut y, &[1.0; 4]).is_err());
        assert_eq!(y, [7.0; 3]);
    }
}
