//! Sums over a block of values, in 16 lanes: lane `i` sums the elements `i`, `i + 16`, ...
//!
//! The order of the additions is part of the specification, so every instruction set gives the same
//! bits. The loops are written with intrinsics, because whether the compiler keeps several sums in
//! registers depends on what surrounds them.

mod kernels;

use super::isa::Isa;
pub(crate) use kernels::{Kernels, LANES, Row, portable, reduce_kernels};
use kernels::{add_along, add_around};

/// The elements to sum in f32 before f64 takes over.
pub(crate) const BLOCK: usize = 4096;

/// Returns the sum of x.
#[inline(always)]
pub(crate) fn sum(isa: Isa, x: &[f32]) -> f64 {
    sums_around(isa, 0.0, x)[0]
}

/// Returns the sums of `x - centre` and of its square.
#[inline(always)]
pub(crate) fn sums_around(isa: Isa, centre: f32, x: &[f32]) -> [f64; 2] {
    let (rows, tail) = x.as_chunks::<LANES>();
    // SAFETY: the kernels of an `Isa` are those of a detected instruction set.
    let mut sums = unsafe { (isa.kernels().reduce.sums_around)(centre, rows) };
    if !tail.is_empty() {
        add_around(&mut sums, centre, tail);
    }
    sums.map(total)
}

/// Returns the sums of g and of `g·(x - centre)`; g and x have the same length.
#[inline(always)]
pub(crate) fn sums_along(isa: Isa, centre: f32, x: &[f32], g: &[f32]) -> [f64; 2] {
    let ((x_rows, x_tail), (g_rows, g_tail)) = (x.as_chunks::<LANES>(), g.as_chunks::<LANES>());
    // SAFETY: the kernels of an `Isa` are those of a detected instruction set.
    let mut sums = unsafe { (isa.kernels().reduce.sums_along)(centre, x_rows, g_rows) };
    if !x_tail.is_empty() {
        add_along(&mut sums, centre, x_tail, g_tail);
    }
    sums.map(total)
}

/// Returns the sum over the lanes.
#[inline(always)]
pub(crate) fn total(mut lanes: [f32; LANES]) -> f64 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    f64::from(lanes[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn sums_agree_at_awkward_lengths_and_in_every_bit() {
        for len in [0, 1, 15, 16, 17, 49, 1024] {
            let (x, g) = (values(1, len), values(2, len));
            let centre = 0.3f32;
            let around: Vec<f64> = widen(&x).iter().map(|x| x - f64::from(centre)).collect();
            let of_around = around.iter().sum();
            let squares = around.iter().map(|x| x * x).sum();
            let of_g = widen(&g).iter().sum();
            let products = around.iter().zip(widen(&g)).map(|(x, g)| x * g).sum();
            let run = |isa| (sums_around(isa, centre, &x), sums_along(isa, centre, &x, &g));
            let scalar = run(Isa::available()[0]);
            assert_close(len, &scalar.0, &[of_around, squares], 1e-4);
            assert_close(len, &scalar.1, &[of_g, products], 1e-4);
            for isa in Isa::available() {
                assert_eq!(run(isa), scalar, "{isa}, {len}");
            }
        }
    }
}
