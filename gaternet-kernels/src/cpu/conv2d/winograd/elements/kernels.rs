//! The loops over elements of tiles, once per instruction set.

use crate::cpu::conv2d::winograd::layout::Block;

/// The most rows of a register tile.
pub(crate) const MAX_ROWS: usize = 6;

/// The arguments of transforming four tiles of one channel.
pub(crate) struct Input<'a> {
    /// The padded plane.
    pub(crate) plane: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) block: &'a Block,
    /// The parts of (4 tiles, LANES), `part` floats apart.
    pub(crate) target: *mut f32,
    pub(crate) part: usize,
    /// The last quad, (4 tiles, 4).
    pub(crate) last: *mut f32,
}

/// The arguments of sums over channels of one part of four tiles, for F rows.
pub(crate) struct Products<'a> {
    pub(crate) channels: &'a [u32],
    /// The transformed pixels, (C, 4 tiles, LANES) or (C, 4 tiles, 4).
    pub(crate) source: *const f32,
    /// The weights of each row, (C, LANES) or (C, 4).
    pub(crate) weights: [*const f32; MAX_ROWS],
    /// The sums of each row, (4 tiles, LANES) or (4 tiles, 4), `target_row` floats apart.
    pub(crate) target: *mut f32,
    pub(crate) target_row: usize,
    /// Whether the sums go on from what the target holds.
    pub(crate) resume: bool,
}

/// The arguments of transforming back four tiles of one row.
pub(crate) struct Output<'a> {
    /// The sums: parts of (4 tiles, LANES), then (4 tiles, 4).
    pub(crate) source: *const f32,
    pub(crate) block: &'a Block,
    /// The output plane, and the plane of the same size that is added to it, or null.
    pub(crate) plane: *mut f32,
    pub(crate) residual: *const f32,
    /// The width of the output, OW.
    pub(crate) width: usize,
    pub(crate) bias: f32,
    pub(crate) relu: bool,
}

/// # Safety
/// The instruction set is present. What the arguments describe is readable; targets and the pixels
/// of `block.targets` in `plane` are writable, and accessed by nothing else meanwhile.
pub(crate) type InputFn = unsafe fn(&Input<'_>);
/// # Safety
/// The contract of [`InputFn`].
pub(crate) type ProductsFn = unsafe fn(&Products<'_>);
/// # Safety
/// The contract of [`InputFn`].
pub(crate) type OutputFn = unsafe fn(&Output<'_>);

/// The kernels of an instruction set.
pub(crate) struct Kernels {
    pub(crate) lanes: usize,
    pub(crate) input: InputFn,
    pub(crate) output: OutputFn,
    /// The kernels for F rows, at `[F - 1]`: for a vector of elements, and for the last quad.
    pub(crate) products: &'static [[ProductsFn; 2]],
}

/// Defines the kernels of an instruction set as `$name::KERNELS`. Vectors are those of the module
/// `vectors` beside it, and transforms those of `winograd`.
macro_rules! element_kernels {
    ($(#[$feature:meta])? $name:ident, [$($f:literal)+]) => {
        pub(super) mod $name {
            use std::array::from_fn;

            use super::vectors::{
                LANES, V, add, fmadd, load, load_eights, load_masked_eights, mul, relu, shuffle4,
                splat, splat4, store, store_masked_eights, sub, transpose_fours, zero,
            };
            use super::winograd::{gather, spread};
            use $crate::cpu::conv2d::elements::{
                Input, Kernels, Output, PAIRS, Products, ProductsFn, TILES,
            };
            use $crate::cpu::conv2d::winograd::{A, B};

            const EIGHTS: usize = LANES / 8;
            /// The fours of a vector: of tiles that are transformed together, or of a tile's quads.
            const FOURS: usize = LANES / 4;
            /// The vectors of a row's pixels, or of a quad, of all tiles.
            const VECTORS: usize = TILES / FOURS;
            /// The vectors of elements of a tile; one quad is left over.
            const PARTS: usize = 8 / FOURS;

            #[inline]
            $(#[$feature])?
            fn quad(values: [f32; 4]) -> V {
                // SAFETY: four floats.
                unsafe { splat4(values.as_ptr()) }
            }

            /// Returns the inner four elements of a row of `Bᵀ d B`, of the row's six pixels after
            /// the transform of the columns: the first four, and the other two.
            #[inline]
            $(#[$feature])?
            fn inner(near: V, far: V) -> V {
                let sum = shuffle4::<0b00_00_00_00>(far, far);
                let sum = fmadd(
                    quad([-B * B, -B * B, -A * A, -A * A]),
                    shuffle4::<0b10_10_10_10>(near, near),
                    sum,
                );
                let odd = mul(quad([A, -A, B, -B]), shuffle4::<0b11_11_11_11>(near, near));
                let odd = fmadd(
                    quad([-A * B * B, A * B * B, -A * A * B, A * A * B]),
                    shuffle4::<0b01_01_01_01>(near, near),
                    odd,
                );
                add(sum, odd)
            }

            /// Returns the first and the last element of two rows.
            #[inline]
            $(#[$feature])?
            fn outer(near: [V; 2], far: [V; 2]) -> V {
                let first = shuffle4::<0b01_00_01_00>(near[0], near[1]);
                let middle = shuffle4::<0b11_10_11_10>(near[0], near[1]);
                let last = shuffle4::<0b01_00_01_00>(far[0], far[1]);
                add(fmadd(splat(-(A * A + B * B)), middle, last), first)
            }

            /// # Safety
            /// The contract of `InputFn`.
            $(#[$feature])?
            unsafe fn input(args: &Input<'_>) {
                for v in 0..VECTORS {
                    let pixels = |y: usize, shift: usize| {
                        let offset = y * args.row_stride + shift;
                        let eight = |i: usize| {
                            args.plane.wrapping_add(args.block.sources[v * EIGHTS + i] + offset)
                        };
                        // SAFETY: six rows of each tile are readable, and six floats beyond.
                        unsafe { load_eights(from_fn(eight)) }
                    };
                    let near: [V; 6] = spread(from_fn(|y| pixels(y, 0)));
                    let far: [V; 6] = spread(from_fn(|y| pixels(y, 4)));
                    let quads: [V; 9] = from_fn(|q| match q.checked_sub(6) {
                        None => inner(near[q], far[q]),
                        Some(pair) => {
                            outer(PAIRS[pair].map(|y| near[y]), PAIRS[pair].map(|y| far[y]))
                        }
                    });
                    // SAFETY: the parts and the last quad are writable.
                    unsafe {
                        for part in 0..PARTS {
                            let tiles = transpose_fours(from_fn(|i| quads[part * FOURS + i]));
                            let target = args.target.add(part * args.part);
                            for (i, tile) in tiles.into_iter().enumerate() {
                                store(target.add((v * FOURS + i) * LANES), tile);
                            }
                        }
                        store(args.last.add(v * LANES), quads[8]);
                    }
                }
            }

            /// # Safety
            /// The contract of `OutputFn`.
            $(#[$feature])?
            unsafe fn output(args: &Output<'_>) {
                for v in 0..VECTORS {
                    let mut quads = [zero(); 9];
                    // SAFETY: the parts and the last quad are readable.
                    unsafe {
                        for part in 0..PARTS {
                            let tile = |i: usize| (part * TILES + v * FOURS + i) * LANES;
                            let tiles = from_fn(|i| load(args.source.add(tile(i))));
                            quads[part * FOURS..][..FOURS].copy_from_slice(&transpose_fours(tiles));
                        }
                        quads[8] = load(args.source.add((PARTS * TILES + v) * LANES));
                    }
                    let inner: [V; 4] = gather::<6, 4>(from_fn(|y| quads[y]));
                    let outer = gather_outer([quads[6], quads[7], quads[8]]);
                    for y in 0..4 {
                        let mut pixels = row(inner[y], outer[y]);
                        let targets: [_; EIGHTS] =
                            from_fn(|i| &args.block.targets[v * EIGHTS + i]);
                        let masks = targets.map(|t| if y < t.rows { t.mask } else { 0 });
                        let offsets = targets.map(|target| target.offset + y * args.width);
                        pixels = add(pixels, splat(args.bias));
                        // SAFETY: the pixels of the masks are on the planes.
                        unsafe {
                            if !args.residual.is_null() {
                                let at = offsets.map(|offset| args.residual.wrapping_add(offset));
                                pixels = add(pixels, load_masked_eights(at, masks));
                            }
                            if args.relu {
                                pixels = relu(pixels);
                            }
                            let at = offsets.map(|offset| args.plane.wrapping_add(offset));
                            store_masked_eights(at, masks, pixels);
                        }
                    }
                }
            }

            /// Returns `Aᵀ p` of the columns of the first and last elements: for each row of the
            /// output, these two in the first and the last place of a four.
            #[inline]
            $(#[$feature])?
            fn gather_outer([ends, first, second]: [V; 3]) -> [V; 4] {
                let (sum, difference) = (add(first, second), sub(first, second));
                let cube = |x: f32| x * x * x;
                // Rows 0 and 3, and rows 1 and 2.
                let far = fmadd(
                    quad([1.0, 1.0, cube(A), cube(A)]),
                    shuffle4::<0b01_00_01_00>(sum, difference),
                    fmadd(
                        quad([1.0, 1.0, cube(B), cube(B)]),
                        shuffle4::<0b11_10_11_10>(sum, difference),
                        ends,
                    ),
                );
                let near = fmadd(
                    quad([A, A, A * A, A * A]),
                    shuffle4::<0b01_00_01_00>(difference, sum),
                    mul(
                        quad([B, B, B * B, B * B]),
                        shuffle4::<0b11_10_11_10>(difference, sum),
                    ),
                );
                [
                    shuffle4::<0b01_00_01_00>(far, far),
                    shuffle4::<0b01_00_01_00>(near, near),
                    shuffle4::<0b11_10_11_10>(near, near),
                    shuffle4::<0b11_10_11_10>(far, far),
                ]
            }

            /// Returns four pixels from the inner elements of a row and its outer ones, which are
            /// in the first and the last place.
            #[inline]
            $(#[$feature])?
            fn row(inner: V, outer: V) -> V {
                let cube = |x: f32| x * x * x;
                let sum = mul(quad([1.0, 0.0, 0.0, 1.0]), outer);
                let sum = fmadd(
                    quad([1.0, A, A * A, cube(A)]),
                    shuffle4::<0b00_00_00_00>(inner, inner),
                    sum,
                );
                let sum = fmadd(
                    quad([1.0, -A, A * A, -cube(A)]),
                    shuffle4::<0b01_01_01_01>(inner, inner),
                    sum,
                );
                let sum = fmadd(
                    quad([1.0, B, B * B, cube(B)]),
                    shuffle4::<0b10_10_10_10>(inner, inner),
                    sum,
                );
                fmadd(
                    quad([1.0, -B, B * B, -cube(B)]),
                    shuffle4::<0b11_11_11_11>(inner, inner),
                    sum,
                )
            }

            /// Adds up products for P vectors: `TILES`, or `VECTORS` for the last quad.
            ///
            /// # Safety
            /// The contract of [`ProductsFn`].
            $(#[$feature])?
            unsafe fn products<const F: usize, const P: usize, const LAST: bool>(
                args: &Products<'_>,
            ) {
                let mut sums = [[zero(); P]; F];
                let target = |f: usize, p: usize| {
                    args.target.wrapping_add(f * args.target_row + p * LANES)
                };
                // SAFETY: every address below is one that the contract makes accessible.
                unsafe {
                    if args.resume {
                        sums = from_fn(|f| from_fn(|p| load(target(f, p))));
                    }
                    for channel in args.channels {
                        let channel = *channel as usize;
                        let x: [V; P] =
                            from_fn(|p| load(args.source.add((channel * P + p) * LANES)));
                        for f in 0..F {
                            let w = match LAST {
                                false => load(args.weights[f].add(channel * LANES)),
                                true => splat4(args.weights[f].add(channel * 4)),
                            };
                            for p in 0..P {
                                sums[f][p] = fmadd(x[p], w, sums[f][p]);
                            }
                        }
                    }
                    for f in 0..F {
                        for p in 0..P {
                            store(target(f, p), sums[f][p]);
                        }
                    }
                }
            }

            pub(in super::super) const KERNELS: Kernels = Kernels {
                lanes: LANES,
                input,
                output,
                products: &[
                    $([
                        products::<$f, TILES, false> as ProductsFn,
                        products::<$f, VECTORS, true> as ProductsFn,
                    ]),+
                ],
            };
        }
    };
}

pub(crate) use element_kernels;
