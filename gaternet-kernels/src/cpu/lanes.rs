//! Sums over a block of values, in 16 lanes: lane `i` sums the elements `i`, `i + 16`, ...
//!
//! The order of the additions is part of the specification, so every instruction set gives the same
//! bits. Written with intrinsics, because whether the compiler keeps several sums in registers
//! depends on what surrounds them.

use super::isa::{Isa, Level};

/// Lanes of a sum: one AVX-512 register.
pub(crate) const LANES: usize = 16;

/// Elements to sum in f32 before f64 takes over.
pub(crate) const BLOCK: usize = 4096;

type Row = [f32; LANES];

/// The sum of x.
#[inline(always)]
pub(crate) fn sum(isa: Isa, x: &[f32]) -> f64 {
    sums_around(isa, 0.0, x)[0]
}

/// The sums of `x - centre` and of its square.
#[inline(always)]
pub(crate) fn sums_around(isa: Isa, centre: f32, x: &[f32]) -> [f64; 2] {
    let (rows, tail) = x.as_chunks::<LANES>();
    let mut sums = match isa.level() {
        // SAFETY: an `Isa` of this level exists only where the features were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::sums_around(centre, rows) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::sums_around(centre, rows) },
        // SAFETY: as above.
        #[cfg(any(target_arch = "aarch64", test))]
        Level::Neon => unsafe { neon::sums_around(centre, rows) },
        _ => {
            let mut sums = [[0.0; LANES]; 2];
            rows.iter().for_each(|row| add_around(&mut sums, centre, row));
            sums
        }
    };
    if !tail.is_empty() {
        add_around(&mut sums, centre, tail);
    }
    sums.map(total)
}

/// The sums of g and of `g·(x - centre)`; g and x are equally long.
#[inline(always)]
pub(crate) fn sums_along(isa: Isa, centre: f32, x: &[f32], g: &[f32]) -> [f64; 2] {
    let ((x_rows, x_tail), (g_rows, g_tail)) = (x.as_chunks::<LANES>(), g.as_chunks::<LANES>());
    let mut sums = match isa.level() {
        // SAFETY: an `Isa` of this level exists only where the features were detected.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => unsafe { avx512::sums_along(centre, x_rows, g_rows) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::sums_along(centre, x_rows, g_rows) },
        // SAFETY: as above.
        #[cfg(any(target_arch = "aarch64", test))]
        Level::Neon => unsafe { neon::sums_along(centre, x_rows, g_rows) },
        _ => {
            let mut sums = [[0.0; LANES]; 2];
            x_rows.iter().zip(g_rows).for_each(|(x, g)| add_along(&mut sums, centre, x, g));
            sums
        }
    };
    if !x_tail.is_empty() {
        add_along(&mut sums, centre, x_tail, g_tail);
    }
    sums.map(total)
}

/// Adds one row, which may be short.
fn add_around(sums: &mut [Row; 2], centre: f32, x: &[f32]) {
    let [sum, squares] = sums;
    for ((sum, square), x) in sum.iter_mut().zip(squares).zip(x) {
        *sum += x - centre;
        *square += (x - centre) * (x - centre);
    }
}

/// Adds one row, which may be short.
fn add_along(sums: &mut [Row; 2], centre: f32, x: &[f32], g: &[f32]) {
    let [sum, products] = sums;
    for (((sum, product), x), g) in sum.iter_mut().zip(products).zip(x).zip(g) {
        *sum += g;
        *product += g * (x - centre);
    }
}

/// The sum over the lanes.
#[inline(always)]
pub(crate) fn total(mut lanes: [f32; LANES]) -> f64 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    f64::from(lanes[0])
}

/// The sums of whole rows, in vectors.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
macro_rules! vectorised {
    (#[$feature:meta] $isa:ident) => {
        mod $isa {
            use super::{LANES, Row};
            use crate::cpu::simd::$isa::{
                LANES as WIDTH, V, add, load, mul, splat, store, sub, zero,
            };

            const VECTORS: usize = LANES / WIDTH;

            /// # Safety
            /// The instruction set is present.
            #[inline]
            #[$feature]
            pub(super) unsafe fn sums_around(centre: f32, x: &[Row]) -> [Row; 2] {
                let centre = splat(centre);
                let mut sums = [[zero(); VECTORS]; 2];
                for x in x {
                    for v in 0..VECTORS {
                        // SAFETY: the vectors make up the row.
                        let distance = sub(unsafe { load(x.as_ptr().add(v * WIDTH)) }, centre);
                        sums[0][v] = add(sums[0][v], distance);
                        sums[1][v] = add(sums[1][v], mul(distance, distance));
                    }
                }
                rows(sums)
            }

            /// # Safety
            /// The instruction set is present.
            #[inline]
            #[$feature]
            pub(super) unsafe fn sums_along(centre: f32, x: &[Row], g: &[Row]) -> [Row; 2] {
                let centre = splat(centre);
                let mut sums = [[zero(); VECTORS]; 2];
                for (x, g) in x.iter().zip(g) {
                    for v in 0..VECTORS {
                        // SAFETY: the vectors make up the rows.
                        let (x, g) = unsafe {
                            (load(x.as_ptr().add(v * WIDTH)), load(g.as_ptr().add(v * WIDTH)))
                        };
                        sums[0][v] = add(sums[0][v], g);
                        sums[1][v] = add(sums[1][v], mul(g, sub(x, centre)));
                    }
                }
                rows(sums)
            }

            #[inline]
            #[$feature]
            fn rows(sums: [[V; VECTORS]; 2]) -> [Row; 2] {
                let mut rows = [[0.0; LANES]; 2];
                for (row, sums) in rows.iter_mut().zip(sums) {
                    for (v, sum) in sums.into_iter().enumerate() {
                        // SAFETY: the vectors make up the row.
                        unsafe { store(row.as_mut_ptr().add(v * WIDTH), sum) };
                    }
                }
                rows
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vectorised!(
    #[target_feature(enable = "avx512f")]
    avx512
);
#[cfg(target_arch = "x86_64")]
vectorised!(
    #[target_feature(enable = "avx2,fma")]
    avx2
);
#[cfg(any(target_arch = "aarch64", test))]
vectorised!(
    #[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
    neon
);

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
