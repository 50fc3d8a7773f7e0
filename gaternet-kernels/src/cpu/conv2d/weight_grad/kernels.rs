//! The register tile of the gradient of the weight: F filters x V vectors of sums over pixels.

/// The most filters of a tile.
pub(crate) const MAX_FILTERS: usize = 8;

/// Arguments of a tile kernel.
pub(crate) struct Tile {
    /// The first vector at the first output pixel.
    pub(crate) pixels: *const f32,
    /// The floats from one output row to the next, and from one output pixel to the next.
    pub(crate) row_stride: usize,
    pub(crate) pixel_stride: usize,
    /// The size of the output, (OH, OW).
    pub(crate) size: [usize; 2],
    /// The plane of the output gradient of each filter, (OH, OW), whose pixels are `grad_stride`
    /// floats apart.
    pub(crate) grads: [*const f32; MAX_FILTERS],
    pub(crate) grad_stride: usize,
    /// The place where the V vectors of each filter are added.
    pub(crate) sums: [*mut f32; MAX_FILTERS],
}

/// # Safety
/// The instruction set is present; V vectors at `pixels` are readable at every output pixel, OH·OW
/// floats at each of the F `grads`; V vectors at each of the F `sums` are writable, apart from each
/// other, and nothing else accesses them meanwhile.
pub(crate) type TileFn = unsafe fn(&Tile);

/// The kernels of an instruction set.
pub(crate) struct Kernels {
    pub(crate) lanes: usize,
    pub(crate) max_vectors: usize,
    /// The kernel for V vectors and F filters, at `[V - 1][F - 1]`.
    pub(crate) tiles: &'static [[TileFn; MAX_FILTERS]],
}

impl Kernels {
    pub(crate) fn kernel(&self, filters: usize, vectors: usize) -> TileFn {
        self.tiles[vectors - 1][filters - 1]
    }
}

/// Defines the kernels of an instruction set as `$name::KERNELS`. Vectors are those of the module
/// `vectors` beside it.
macro_rules! weight_grad_kernels {
    ($(#[$feature:meta])? $name:ident, [$($v:literal)+]) => {
        pub(super) mod $name {
            use super::vectors::{LANES, V, fmadd, load, splat, store, zero};
            use $crate::cpu::conv2d::weight_grad::{Kernels, Tile, TileFn};

            /// # Safety
            /// The contract of [`TileFn`].
            $(#[$feature])?
            unsafe fn tile<const F: usize, const N: usize>(args: &Tile) {
                let mut sums: [[V; N]; F] = [[zero(); N]; F];
                let [height, width] = args.size;
                for y in 0..height {
                    // SAFETY: pixels and gradients of every output row are readable.
                    let (mut pixel, grads) = unsafe {
                        let grads: [*const f32; F] =
                            std::array::from_fn(|f| args.grads[f].add(y * width * args.grad_stride));
                        (args.pixels.add(y * args.row_stride), grads)
                    };
                    for x in 0..width {
                        // SAFETY: as above, for the pixels of the row.
                        let (values, grads): ([V; N], [V; F]) = unsafe {
                            (
                                std::array::from_fn(|v| load(pixel.add(v * LANES))),
                                std::array::from_fn(|f| splat(*grads[f].add(x * args.grad_stride))),
                            )
                        };
                        for f in 0..F {
                            for v in 0..N {
                                sums[f][v] = fmadd(values[v], grads[f], sums[f][v]);
                            }
                        }
                        pixel = pixel.wrapping_add(args.pixel_stride);
                    }
                }
                let one = splat(1.0);
                for f in 0..F {
                    for v in 0..N {
                        // SAFETY: V vectors of each filter are writable.
                        unsafe {
                            let target = args.sums[f].add(v * LANES);
                            store(target, fmadd(sums[f][v], one, load(target)));
                        }
                    }
                }
            }

            pub(in super::super) const KERNELS: Kernels = Kernels {
                lanes: LANES,
                max_vectors: [$($v),+].len(),
                tiles: &[$([
                    tile::<1, $v> as TileFn, tile::<2, $v>, tile::<3, $v>, tile::<4, $v>,
                    tile::<5, $v>, tile::<6, $v>, tile::<7, $v>, tile::<8, $v>,
                ]),+],
            };
        }
    };
}
pub(crate) use weight_grad_kernels;
