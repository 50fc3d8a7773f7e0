//! The loops of a Winograd convolution, once per instruction set. The lanes are tiles.

use super::layout::Block;

/// The floats from those that are copied to those that are fetched: half a map of 32x32.
pub(crate) const AHEAD: usize = 512;

/// The most rows of a register tile.
pub(crate) const MAX_ROWS: usize = 8;

/// The arguments of copying rows into a padded plane.
pub(crate) struct Rows {
    pub(crate) source: *const f32,
    pub(crate) target: *mut f32,
    pub(crate) target_stride: usize,
    pub(crate) rows: usize,
    /// The floats of a row, which are those of the source from one row to the next.
    pub(crate) width: usize,
}

/// The arguments of transforming one vector of tiles of one channel.
pub(crate) struct Input<'a> {
    /// The padded plane.
    pub(crate) plane: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) block: &'a Block,
    /// The n² vectors of elements, `element` floats apart.
    pub(crate) target: *mut f32,
    pub(crate) element: usize,
}

/// The arguments of sums over channels for F rows and P vectors of tiles.
pub(crate) struct Products<'a> {
    /// The number of elements, n².
    pub(crate) elements: usize,
    pub(crate) channels: &'a [u32],
    /// The transformed pixels, (n², C, P) vectors, whose elements are `source_element` floats
    /// apart.
    pub(crate) source: *const f32,
    pub(crate) source_element: usize,
    /// The weights of each row, (n², C), whose elements are `weight_element` floats apart.
    pub(crate) weights: [*const f32; MAX_ROWS],
    pub(crate) weight_element: usize,
    /// The sums, (n², F, P) vectors, whose elements are `target_element` floats apart.
    pub(crate) target: *mut f32,
    pub(crate) target_element: usize,
}

/// The arguments of transforming back one vector of tiles of one row.
pub(crate) struct Output<'a> {
    /// The n² vectors of elements, `element` floats apart.
    pub(crate) source: *const f32,
    pub(crate) element: usize,
    pub(crate) block: &'a Block,
    /// The output plane, and the plane of the same size that is added to it, or null.
    pub(crate) plane: *mut f32,
    pub(crate) residual: *const f32,
    /// The width of the output, OW.
    pub(crate) width: usize,
    pub(crate) bias: f32,
    pub(crate) relu: bool,
}

/// The arguments of transforming one tile of a vector of channels.
pub(crate) struct Spread {
    /// The first pixel of the tile, channel-last.
    pub(crate) pixels: *const f32,
    pub(crate) row_stride: usize,
    pub(crate) pixel_stride: usize,
    /// The n² vectors of elements, `element` floats apart.
    pub(crate) target: *mut f32,
    pub(crate) element: usize,
}

/// # Safety
/// The instruction set is present. What the arguments describe is readable; targets and the pixels
/// of `block.targets` in `plane` are writable, and accessed by nothing else meanwhile.
pub(crate) type InputFn = unsafe fn(&Input<'_>);
/// # Safety
/// The contract of [`InputFn`].
pub(crate) type RowsFn = unsafe fn(&Rows);
/// # Safety
/// The contract of [`InputFn`].
pub(crate) type ProductsFn = unsafe fn(&Products<'_>);
/// # Safety
/// The contract of [`InputFn`].
pub(crate) type OutputFn = unsafe fn(&Output<'_>);
/// # Safety
/// The contract of [`InputFn`].
pub(crate) type SpreadFn = unsafe fn(&Spread);

/// The kernels of an instruction set.
pub(crate) struct Kernels {
    pub(crate) lanes: usize,
    pub(crate) copy: RowsFn,
    /// The transforms for tiles of 2x2 and of 4x4, of any blocks and of adjacent ones.
    pub(crate) transforms: [[(InputFn, OutputFn); 2]; 2],
    /// The transforms whose lanes are channels: `Bᵀ d B` of n x n pixels, and `A y Aᵀ` of m x m.
    pub(crate) by_channel: [(SpreadFn, SpreadFn); 2],
    /// The kernel for P vectors and F rows, at `[P - 1][F - 1]`: as many rows as fit in the
    /// registers.
    pub(crate) products: &'static [&'static [ProductsFn]],
}

/// Defines the kernels of an instruction set as `$name::KERNELS`. Vectors are those of the module
/// `vectors` beside it.
macro_rules! winograd_kernels {
    ($(#[$feature:meta])? $name:ident, { $($p:literal: [$($f:literal)+]),+ $(,)? }) => {
        pub(super) mod $name {
            use std::array::from_fn;

            use super::vectors::{
                LANES, V, add, deinterleave2, deinterleave4, fmadd, interleave2, interleave4, load,
                load_eights, load_masked, load_masked_eights, mul, prefetch, relu, splat, store,
                store_masked,
                store_masked_eights, sub, zero,
            };
            use $crate::cpu::conv2d::winograd::{
                A, AHEAD, B, Input, Kernels, Output, Products, ProductsFn, Rows, Spread,
            };

            const EIGHTS: usize = LANES / 8;

            /// # Safety
            /// The contract of `RowsFn`.
            $(#[$feature])?
            unsafe fn copy(args: &Rows) {
                let tail = ((1u32 << (args.width % LANES)) - 1) as u16;
                let whole = args.width / LANES * LANES;
                for y in 0..args.rows {
                    // SAFETY: `width` floats of each row are readable and writable.
                    unsafe {
                        let source = args.source.add(y * args.width);
                        let target = args.target.add(y * args.target_stride);
                        for x in (0..whole).step_by(LANES) {
                            prefetch(source.wrapping_add(x + AHEAD));
                            store(target.add(x), load(source.add(x)));
                        }
                        if tail != 0 {
                            let rest = load_masked(source.add(whole), tail);
                            store_masked(target.add(whole), tail, rest);
                        }
                    }
                }
            }

            /// Returns `Bᵀ d` of n = 4 or 6 values.
            #[inline]
            $(#[$feature])?
            pub(in super::super) fn spread<const N: usize>(d: [V; N]) -> [V; N] {
                let mut out = [zero(); N];
                if N == 4 {
                    out[0] = sub(d[0], d[2]);
                    out[1] = add(d[1], d[2]);
                    out[2] = sub(d[2], d[1]);
                    out[3] = sub(d[1], d[3]);
                } else {
                    let (a, b) = (splat(A), splat(B));
                    let middle = splat(-(A * A + B * B));
                    let even_a = fmadd(splat(-B * B), d[2], d[4]);
                    let even_b = fmadd(splat(-A * A), d[2], d[4]);
                    let odd_a = fmadd(splat(-A * B * B), d[1], mul(a, d[3]));
                    let odd_b = fmadd(splat(-A * A * B), d[1], mul(b, d[3]));
                    out[0] = add(fmadd(middle, d[2], d[4]), d[0]);
                    out[1] = add(even_a, odd_a);
                    out[2] = sub(even_a, odd_a);
                    out[3] = add(even_b, odd_b);
                    out[4] = sub(even_b, odd_b);
                    out[5] = add(fmadd(middle, d[3], d[5]), d[1]);
                }
                out
            }

            /// Returns `Aᵀ p`, m = n - 2 values of n = 4 or 6.
            #[inline]
            $(#[$feature])?
            pub(in super::super) fn gather<const N: usize, const M: usize>(p: [V; N]) -> [V; M] {
                let mut out = [zero(); M];
                let (sum_a, difference_a) = (add(p[1], p[2]), sub(p[1], p[2]));
                if M == 2 {
                    out[0] = add(p[0], sum_a);
                    out[1] = sub(difference_a, p[3]);
                } else {
                    let (sum_b, difference_b) = (add(p[3], p[4]), sub(p[3], p[4]));
                    let combine = |a: f32, of_a: V, b: f32, of_b: V| {
                        fmadd(splat(b), of_b, mul(splat(a), of_a))
                    };
                    out[0] = add(p[0], add(sum_a, sum_b));
                    out[1] = combine(A, difference_a, B, difference_b);
                    out[2] = combine(A * A, sum_a, B * B, sum_b);
                    out[3] = add(p[5], combine(A * A * A, difference_a, B * B * B, difference_b));
                }
                out
            }

            /// Returns `A y`, n = m + 2 values of m = 2 or 4.
            #[inline]
            $(#[$feature])?
            fn expand<const M: usize, const N: usize>(y: [V; M]) -> [V; N] {
                let mut out = [zero(); N];
                out[0] = y[0];
                if M == 2 {
                    out[1] = add(y[0], y[1]);
                    out[2] = sub(y[0], y[1]);
                    out[3] = sub(zero(), y[1]);
                } else {
                    for (i, point) in [A, B].into_iter().enumerate() {
                        let square = point * point;
                        let even = fmadd(splat(square), y[2], y[0]);
                        let odd = mul(splat(point), fmadd(splat(square), y[3], y[1]));
                        out[1 + 2 * i] = add(even, odd);
                        out[2 + 2 * i] = sub(even, odd);
                    }
                    out[5] = y[3];
                }
                out
            }

            /// Returns the first, second, ... pixels of row `row` of a vector of tiles, `shift`
            /// pixels to the right.
            ///
            /// # Safety
            /// Eight floats are readable at every eight of the block in that row.
            #[inline]
            $(#[$feature])?
            unsafe fn pixels<const M: usize, const ADJACENT: bool>(
                args: &Input<'_>,
                row: usize,
                shift: usize,
            ) -> [V; M] {
                let offset = row * args.row_stride + shift;
                let eight = |i: usize| args.plane.wrapping_add(args.block.sources[i] + offset);
                // SAFETY: the caller's promise.
                let vectors: [V; M] = from_fn(|v| unsafe {
                    if ADJACENT {
                        load(eight(v * EIGHTS))
                    } else {
                        load_eights(from_fn(|i| eight(v * EIGHTS + i)))
                    }
                });
                let mut out = [zero(); M];
                if M == 2 {
                    out.copy_from_slice(&deinterleave2([vectors[0], vectors[1]]));
                } else {
                    let tiles = [vectors[0], vectors[1], vectors[2], vectors[3]];
                    out.copy_from_slice(&deinterleave4(tiles));
                }
                out
            }

            /// # Safety
            /// The contract of `InputFn`.
            $(#[$feature])?
            unsafe fn input<const M: usize, const N: usize, const ADJACENT: bool>(
                args: &Input<'_>,
            ) {
                let mut rows = [[zero(); N]; N];
                for (y, row) in rows.iter_mut().enumerate() {
                    // SAFETY: n rows of n pixels of each tile are readable, and six floats beyond.
                    let near = unsafe { pixels::<M, ADJACENT>(args, y, 0) };
                    // SAFETY: as above.
                    let far = unsafe { pixels::<M, ADJACENT>(args, y, M) };
                    let d: [V; N] = from_fn(|x| if x < M { near[x] } else { far[x - M] });
                    *row = spread(d);
                }
                for x in 0..N {
                    let column = spread(from_fn::<V, N, _>(|y| rows[y][x]));
                    for (y, value) in column.into_iter().enumerate() {
                        // SAFETY: n² vectors are writable.
                        unsafe { store(args.target.add((y * N + x) * args.element), value) };
                    }
                }
            }

            /// # Safety
            /// The contract of `SpreadFn`.
            $(#[$feature])?
            unsafe fn spread_pixels<const N: usize>(args: &Spread) {
                // SAFETY: n x n pixels are readable, n² vectors writable.
                unsafe {
                    let rows: [[V; N]; N] = from_fn(|y| spread(row(args, y)));
                    for x in 0..N {
                        let column = spread(from_fn::<V, N, _>(|y| rows[y][x]));
                        for (y, value) in column.into_iter().enumerate() {
                            store(args.target.add((y * N + x) * args.element), value);
                        }
                    }
                }
            }

            /// # Safety
            /// The contract of `SpreadFn`.
            $(#[$feature])?
            unsafe fn expand_pixels<const M: usize, const N: usize>(args: &Spread) {
                // SAFETY: m x m pixels are readable, n² vectors writable.
                unsafe {
                    let rows: [[V; N]; M] = from_fn(|y| expand::<M, N>(row(args, y)));
                    for x in 0..N {
                        let column = expand::<M, N>(from_fn(|y| rows[y][x]));
                        for (y, value) in column.into_iter().enumerate() {
                            store(args.target.add((y * N + x) * args.element), value);
                        }
                    }
                }
            }

            /// Returns the first pixels of a row of a tile.
            ///
            /// # Safety
            /// They are readable.
            #[inline]
            $(#[$feature])?
            unsafe fn row<const N: usize>(args: &Spread, y: usize) -> [V; N] {
                let at = |x: usize| y * args.row_stride + x * args.pixel_stride;
                // SAFETY: the caller's promise.
                from_fn(|x| unsafe { load(args.pixels.add(at(x))) })
            }

            /// # Safety
            /// The contract of `OutputFn`.
            $(#[$feature])?
            unsafe fn output<const M: usize, const N: usize, const ADJACENT: bool>(
                args: &Output<'_>,
            ) {
                let mut columns = [[zero(); M]; N];
                for (x, column) in columns.iter_mut().enumerate() {
                    *column = gather::<N, M>(from_fn(|y| {
                        // SAFETY: n² vectors are readable.
                        unsafe { load(args.source.add((y * N + x) * args.element)) }
                    }));
                }
                for y in 0..M {
                    let pixels = gather::<N, M>(from_fn(|x| columns[x][y]));
                    let mut tiles = [zero(); M];
                    if M == 2 {
                        tiles.copy_from_slice(&interleave2([pixels[0], pixels[1]]));
                    } else {
                        let pixels = [pixels[0], pixels[1], pixels[2], pixels[3]];
                        tiles.copy_from_slice(&interleave4(pixels));
                    }
                    for (v, pixels) in tiles.into_iter().enumerate() {
                        let targets: [_; EIGHTS] =
                            from_fn(|i| &args.block.targets[v * EIGHTS + i]);
                        let masks = targets.map(|t| if y < t.rows { t.mask } else { 0 });
                        let mask = (0..EIGHTS).fold(0, |mask, i| mask | u16::from(masks[i]) << (8 * i));
                        let offsets = targets.map(|target| target.offset + y * args.width);
                        let mut pixels = add(pixels, splat(args.bias));
                        // SAFETY: the pixels of the masks are on the planes.
                        unsafe {
                            if !args.residual.is_null() {
                                let at = offsets.map(|offset| args.residual.wrapping_add(offset));
                                let residual = if ADJACENT {
                                    load_masked(at[0], mask)
                                } else {
                                    load_masked_eights(at, masks)
                                };
                                pixels = add(pixels, residual);
                            }
                            if args.relu {
                                pixels = relu(pixels);
                            }
                            let at = offsets.map(|offset| args.plane.wrapping_add(offset));
                            if ADJACENT {
                                store_masked(at[0], mask, pixels);
                            } else {
                                store_masked_eights(at, masks, pixels);
                            }
                        }
                    }
                }
            }

            /// # Safety
            /// The contract of [`ProductsFn`].
            $(#[$feature])?
            unsafe fn products<const F: usize, const P: usize>(args: &Products<'_>) {
                for element in 0..args.elements {
                    let mut sums = [[zero(); P]; F];
                    // SAFETY: every address below is one that the contract makes accessible.
                    unsafe {
                        let source = args.source.add(element * args.source_element);
                        let weights: [*const f32; F] =
                            from_fn(|f| args.weights[f].add(element * args.weight_element));
                        for channel in args.channels {
                            let channel = *channel as usize;
                            let x: [V; P] =
                                from_fn(|p| load(source.add((channel * P + p) * LANES)));
                            for f in 0..F {
                                let w = splat(*weights[f].add(channel));
                                for p in 0..P {
                                    sums[f][p] = fmadd(x[p], w, sums[f][p]);
                                }
                            }
                        }
                        let target = args.target.add(element * args.target_element);
                        for f in 0..F {
                            for p in 0..P {
                                store(target.add((f * P + p) * LANES), sums[f][p]);
                            }
                        }
                    }
                }
            }

            pub(in super::super) const KERNELS: Kernels = Kernels {
                lanes: LANES,
                copy,
                transforms: [
                    [
                        (input::<2, 4, false>, output::<2, 4, false>),
                        (input::<2, 4, true>, output::<2, 4, true>),
                    ],
                    [
                        (input::<4, 6, false>, output::<4, 6, false>),
                        (input::<4, 6, true>, output::<4, 6, true>),
                    ],
                ],
                by_channel: [
                    (spread_pixels::<4>, expand_pixels::<2, 4>),
                    (spread_pixels::<6>, expand_pixels::<4, 6>),
                ],
                products: &[$(&[$(products::<$f, $p> as ProductsFn),+]),+],
            };
        }
    };
}

pub(crate) use winograd_kernels;
