//! The loops over pairs of bf16, once per instruction set. A pair has the place of an f32.

use bytemuck::{Pod, Zeroable};

/// The most rows of a register tile.
pub(crate) const MAX_ROWS: usize = 8;

/// The arguments of rounding and pairing vectors of two channels, the first in the upper halves.
pub(crate) struct Pack {
    /// Adjacent vectors of f32 of each channel; `second` is null for zeros.
    pub(crate) first: *const f32,
    pub(crate) second: *const f32,
    pub(crate) vectors: usize,
    /// The vectors of pairs, `step` pairs apart.
    pub(crate) target: *mut f32,
    pub(crate) step: usize,
}

/// The arguments of compressing a row of weights to active channels.
pub(crate) struct Compress<'a> {
    /// The row, (elements, pairs); a vector more is readable.
    pub(crate) source: *const f32,
    pub(crate) elements: usize,
    pub(crate) pairs: usize,
    pub(crate) channels: &'a [u32],
    /// The steps that do the same 32 numbers at a time, on x86-64 only.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub(crate) steps: &'a [Step],
    /// The compressed row, (elements, pairs), of whose elements only the active pairs are used; a
    /// vector more is writable.
    pub(crate) target: *mut f32,
}

/// The numbers of a vector.
pub(crate) const NUMBERS: usize = 32;

/// A step of compressing, which places numbers from one or two vectors of the source in a vector of
/// the target.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Step {
    /// The number of 16 bits that each place comes from: 0 to 31 are of `first`, 32 to 63 of
    /// `second`.
    pub(crate) from: [u32; NUMBERS / 2],
    /// The numbers that are placed now, as bits. The others are 0.
    pub(crate) placed: u32,
    /// The number of the source that `first` starts at, or [`Step::PLACED`] if `first` is what the
    /// steps before placed.
    pub(crate) first: u32,
    pub(crate) second: u32,
    /// 1 in the last step of the target's vector, else 0.
    pub(crate) last: u32,
}

impl Step {
    pub(crate) const PLACED: u32 = u32::MAX;
    /// The words of a step.
    pub(crate) const LEN: usize = size_of::<Step>() / size_of::<u32>();

    /// Returns as many steps as fit in `room`.
    pub(crate) fn some_of(room: &mut [f32]) -> &mut [Step] {
        let whole = room.len() / Step::LEN * Step::LEN;
        bytemuck::cast_slice_mut(&mut room[..whole])
    }
}

/// Sums over pairs of channels for F rows and P vectors of a Winograd convolution's tiles.
pub(crate) struct Products {
    /// n².
    pub(crate) elements: usize,
    /// Pairs to sum over.
    pub(crate) pairs: usize,
    /// (n², pairs, P) vectors, elements `source_element` pairs apart.
    pub(crate) source: *const f32,
    pub(crate) source_element: usize,
    /// (n², pairs) of each row, elements `weight_element` pairs apart.
    pub(crate) weights: [*const f32; MAX_ROWS],
    pub(crate) weight_element: usize,
    /// (n², F, P) vectors of f32, elements `target_element` floats apart.
    pub(crate) target: *mut f32,
    pub(crate) target_element: usize,
}

/// # Safety
/// The instruction set is present. What the arguments describe is readable, or for a target
/// writable and accessed by nothing else meanwhile.
pub(crate) type PackFn = unsafe fn(&Pack);
/// # Safety
/// The contract of [`PackFn`].
pub(crate) type CompressFn = unsafe fn(&Compress<'_>);
/// # Safety
/// The contract of [`PackFn`].
pub(crate) type ProductsFn = unsafe fn(&Products);

/// The kernels of an instruction set.
pub(crate) struct Kernels {
    pub(crate) lanes: usize,
    pub(crate) pack: PackFn,
    pub(crate) compress: CompressFn,
    /// The kernel for P vectors and F rows, at `[P - 1][F - 1]`: as many rows as fit in the
    /// registers.
    pub(crate) products: &'static [&'static [ProductsFn]],
}

/// # Safety
/// The contract of [`CompressFn`], except for the instruction set.
pub(crate) unsafe fn compress(args: &Compress<'_>) {
    for element in 0..args.elements {
        // SAFETY: channels are below twice the pairs, and so is their number, rounded up to pairs.
        unsafe {
            let source = args.source.add(element * args.pairs).cast::<u16>();
            let target = args.target.add(element * args.pairs).cast::<u16>();
            // In memory the second of a pair comes before the first.
            for (i, channel) in args.channels.iter().enumerate() {
                target.add(i ^ 1).write(source.add(*channel as usize ^ 1).read());
            }
            if args.channels.len() % 2 == 1 {
                target.add(args.channels.len() - 1).write(0);
            }
        }
    }
}

/// Defines the kernels of an instruction set as `$name::KERNELS`. Vectors are those of the modules
/// `vectors` and `pairs` beside it, where `$compress` is too.
macro_rules! bf16_kernels {
    ($(#[$feature:meta])? $name:ident, $compress:ident, {
        $($p:literal: [$($f:literal)+]),+ $(,)?
    }) => {
        pub(super) mod $name {
            use std::array::from_fn;

            use super::pairs;
            use super::vectors::{LANES, V, load, store, zero};
            use $crate::cpu::conv2d::bf16::{Kernels, Pack, Products, ProductsFn};

            /// # Safety
            /// The contract of `PackFn`.
            $(#[$feature])?
            unsafe fn pack(args: &Pack) {
                for i in 0..args.vectors {
                    // SAFETY: that many vectors are readable and writable.
                    unsafe {
                        let first = load(args.first.add(i * LANES));
                        let second = if args.second.is_null() {
                            zero()
                        } else {
                            load(args.second.add(i * LANES))
                        };
                        pairs::store(args.target.add(i * args.step), pairs::round(first, second));
                    }
                }
            }

            /// # Safety
            /// The contract of [`ProductsFn`].
            $(#[$feature])?
            unsafe fn products<const F: usize, const P: usize>(args: &Products) {
                for element in 0..args.elements {
                    let mut sums: [[V; P]; F] = [[zero(); P]; F];
                    // SAFETY: every address below is one that the contract makes accessible.
                    unsafe {
                        let source = args.source.add(element * args.source_element);
                        let weights: [*const f32; F] =
                            from_fn(|f| args.weights[f].add(element * args.weight_element));
                        for pair in 0..args.pairs {
                            let x: [_; P] =
                                from_fn(|p| pairs::load(source.add((pair * P + p) * LANES)));
                            for f in 0..F {
                                let w = pairs::splat(*weights[f].add(pair));
                                for p in 0..P {
                                    sums[f][p] = pairs::fmadd(x[p], w, sums[f][p]);
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
                pack,
                compress: super::$compress,
                products: &[$(&[$(products::<$f, $p> as ProductsFn),+]),+],
            };
        }
    };
}

pub(crate) use bf16_kernels;
