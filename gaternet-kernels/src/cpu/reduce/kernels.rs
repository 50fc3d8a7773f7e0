//! The loops over whole rows of lanes, once per instruction set.

/// The lanes of a sum: one AVX-512 register.
pub(crate) const LANES: usize = 16;

pub(crate) type Row = [f32; LANES];

/// Kernels of an instruction set, which may be called where it is present.
pub(crate) struct Kernels {
    /// Returns the sums over `x` of `x - centre` and of its square.
    pub(crate) sums_around: unsafe fn(centre: f32, x: &[Row]) -> [Row; 2],
    /// Returns the sums of `g` and of `g·(x - centre)`.
    pub(crate) sums_along: unsafe fn(centre: f32, x: &[Row], g: &[Row]) -> [Row; 2],
}

/// Adds one row, which may be short.
pub(super) fn add_around(sums: &mut [Row; 2], centre: f32, x: &[f32]) {
    let [sum, squares] = sums;
    for ((sum, square), x) in sum.iter_mut().zip(squares).zip(x) {
        *sum += x - centre;
        *square += (x - centre) * (x - centre);
    }
}

/// Adds one row, which may be short.
pub(super) fn add_along(sums: &mut [Row; 2], centre: f32, x: &[f32], g: &[f32]) {
    let [sum, products] = sums;
    for (((sum, product), x), g) in sum.iter_mut().zip(products).zip(x).zip(g) {
        *sum += g;
        *product += g * (x - centre);
    }
}

/// The kernels without vectors.
pub(crate) mod portable {
    use super::{Kernels, LANES, add_along, add_around};

    pub(crate) const KERNELS: Kernels = Kernels {
        sums_around: |centre, x| {
            let mut sums = [[0.0; LANES]; 2];
            x.iter().for_each(|x| add_around(&mut sums, centre, x));
            sums
        },
        sums_along: |centre, x, g| {
            let mut sums = [[0.0; LANES]; 2];
            x.iter().zip(g).for_each(|(x, g)| add_along(&mut sums, centre, x, g));
            sums
        },
    };
}

/// Defines the kernels of an instruction set as `$name::KERNELS`. Vectors are those of the module
/// `vectors` beside it.
macro_rules! reduce_kernels {
    (#[$feature:meta] $name:ident) => {
        pub(super) mod $name {
            use super::vectors::{LANES as WIDTH, V, add, load, mul, splat, store, sub, zero};
            use $crate::cpu::reduce::{Kernels, LANES, Row};

            const VECTORS: usize = LANES / WIDTH;

            /// # Safety
            /// The instruction set is present.
            #[$feature]
            unsafe fn sums_around(centre: f32, x: &[Row]) -> [Row; 2] {
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
            #[$feature]
            unsafe fn sums_along(centre: f32, x: &[Row], g: &[Row]) -> [Row; 2] {
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

            pub(in super::super) const KERNELS: Kernels = Kernels { sums_around, sums_along };

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
pub(crate) use reduce_kernels;
