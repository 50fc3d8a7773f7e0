//! The loops over pairs of bf16, once per instruction set. A pair has the place of an f32.

use crate::cpu::isa::{Isa, Level};

/// Most rows of a register tile.
pub(in super::super) const MAX_ROWS: usize = 8;

/// Vectors of two channels, to be rounded and paired, the first in the upper halves.
pub(in super::super) struct Pack {
    /// Adjacent vectors of f32; `second` is null for zeros.
    pub(in super::super) first: *const f32,
    pub(in super::super) second: *const f32,
    pub(in super::super) vectors: usize,
    /// Vectors of pairs, `step` pairs apart.
    pub(in super::super) target: *mut f32,
    pub(in super::super) step: usize,
}

/// A row of weights, to be compressed to live channels.
pub(super) struct Compress<'a> {
    /// (elements, pairs); a vector more is readable.
    pub(super) source: *const f32,
    pub(super) elements: usize,
    pub(super) pairs: usize,
    pub(super) channels: &'a [u32],
    /// How the same is done 32 numbers at a time, on x86-64 only.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub(super) steps: &'a [Step],
    /// As the source; of each element only the live pairs are used. A vector more is writable.
    pub(super) target: *mut f32,
}

/// Numbers of a vector.
pub(super) const NUMBERS: usize = 32;

/// A step of compressing, which places numbers from one or two vectors of the source in a vector of the target.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(super) struct Step {
    /// Where each number comes from, of 16 bits: 0 to 31 are of `first`, 32 to 63 of `second`.
    pub(super) from: [u32; NUMBERS / 2],
    /// The numbers that are placed now, as bits. The others are 0.
    pub(super) placed: u32,
    /// Which number of the source `first` starts at; [`Step::PLACED`] if it is what the steps before placed.
    pub(super) first: u32,
    pub(super) second: u32,
    /// 1 in the last step of the target's vector, else 0.
    pub(super) last: u32,
}

impl Step {
    pub(super) const PLACED: u32 = u32::MAX;
    /// Words of a step.
    pub(super) const LEN: usize = size_of::<Step>() / size_of::<u32>();

    /// As many steps as fit.
    pub(super) fn some_of(words: &mut [u32]) -> &mut [Step] {
        let count = words.len() / Step::LEN;
        // SAFETY: a step is `LEN` words, of which any bits are valid, and has their alignment.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), count) }
    }
}

/// Sums over pairs of channels for F rows and P vectors of a Winograd convolution's tiles.
pub(in super::super) struct Products {
    /// n².
    pub(in super::super) elements: usize,
    /// Pairs to sum over.
    pub(in super::super) pairs: usize,
    /// (n², pairs, P) vectors, elements `source_element` pairs apart.
    pub(in super::super) source: *const f32,
    pub(in super::super) source_element: usize,
    /// (n², pairs) of each row, elements `weight_element` pairs apart.
    pub(in super::super) weights: [*const f32; MAX_ROWS],
    pub(in super::super) weight_element: usize,
    /// (n², F, P) vectors of f32, elements `target_element` floats apart.
    pub(in super::super) target: *mut f32,
    pub(in super::super) target_element: usize,
}

/// # Safety
/// The instruction set is present. What the arguments describe is readable, or for a target writable and
/// accessed by nothing else meanwhile.
pub(in super::super) type PackFn = unsafe fn(&Pack);
/// # Safety
/// As [`PackFn`].
pub(super) type CompressFn = unsafe fn(&Compress<'_>);
/// # Safety
/// As [`PackFn`].
pub(in super::super) type ProductsFn = unsafe fn(&Products);

/// Kernels of an instruction set.
pub(in super::super) struct Kernels {
    pub(in super::super) lanes: usize,
    pub(in super::super) pack: PackFn,
    pub(super) compress: CompressFn,
    /// `[P - 1][F - 1]`: as many rows as fit in the registers with P vectors.
    pub(in super::super) products: &'static [&'static [ProductsFn]],
}

impl Kernels {
    pub(in super::super) fn of(isa: Isa) -> &'static Kernels {
        match isa.bf16_level() {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => &avx512bf16::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &avx512::KERNELS,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => &avx2::KERNELS,
            #[cfg(any(target_arch = "aarch64", test))]
            Level::Neon => &scalar::KERNELS,
            Level::Scalar => &scalar::KERNELS,
        }
    }
}

/// # Safety
/// That of [`CompressFn`], but for the instruction set.
unsafe fn compress(args: &Compress<'_>) {
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

/// [`compress`], 32 numbers at a time.
///
/// # Safety
/// That of [`CompressFn`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn compress_vectors(args: &Compress<'_>) {
    use std::arch::x86_64::{
        _mm512_loadu_si512, _mm512_maskz_permutex2var_epi16, _mm512_setzero_si512,
        _mm512_storeu_si512,
    };
    for element in 0..args.elements {
        // SAFETY: the vectors of a step start in the element, and a vector more than the elements is
        // readable. The last vector may reach into the next element, which is written later, or the vector
        // beyond.
        unsafe {
            let source = args.source.add(element * args.pairs).cast::<u16>();
            let mut target = args.target.add(element * args.pairs);
            let mut numbers = _mm512_setzero_si512();
            for step in args.steps {
                if step.first != Step::PLACED {
                    numbers = _mm512_loadu_si512(source.add(step.first as usize).cast());
                }
                let second = _mm512_loadu_si512(source.add(step.second as usize).cast());
                let from = _mm512_loadu_si512(step.from.as_ptr().cast());
                numbers = _mm512_maskz_permutex2var_epi16(step.placed, numbers, from, second);
                if step.last == 1 {
                    _mm512_storeu_si512(target.cast(), numbers);
                    target = target.add(NUMBERS / 2);
                }
            }
        }
    }
}

macro_rules! bf16_kernels {
    ($(#[$feature:meta])? $isa:ident, $vectors:ident, $compress:path, {
        $($p:literal: [$($f:literal)+]),+ $(,)?
    }) => {
        mod $isa {
            use std::array::from_fn;

            use super::{Kernels, Pack, Products, ProductsFn};
            use crate::cpu::simd::bf16::$isa as pairs;
            use crate::cpu::simd::$vectors::{LANES, V, load, store, zero};

            /// # Safety
            /// That of [`PackFn`](super::PackFn).
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
            /// That of [`ProductsFn`].
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

            pub(super) static KERNELS: Kernels = Kernels {
                lanes: LANES,
                pack,
                compress: $compress,
                products: &[$(&[$(products::<$f, $p> as ProductsFn),+]),+],
            };
        }
    };
}

#[cfg(target_arch = "x86_64")]
bf16_kernels!(#[target_feature(enable = "avx512f,avx512bw,avx512bf16")] avx512bf16, avx512, super::compress_vectors, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6 7],
    4: [1 2 3 4 5],
});
// A pair of pixels and a pair of weights take two registers each.
#[cfg(target_arch = "x86_64")]
bf16_kernels!(#[target_feature(enable = "avx512f")] avx512, avx512, super::compress_vectors, {
    1: [1 2 3 4 5 6 7 8],
    2: [1 2 3 4 5 6 7 8],
    3: [1 2 3 4 5 6],
    4: [1 2 3 4],
});
#[cfg(target_arch = "x86_64")]
bf16_kernels!(#[target_feature(enable = "avx2,fma")] avx2, avx2, super::compress, {
    1: [1 2 3 4 5 6],
    2: [1 2 3 4],
});
#[cfg(target_arch = "x86_64")]
bf16_kernels!(scalar, scalar, super::compress, {
    1: [1 2 3 4],
    2: [1 2],
});
#[cfg(not(target_arch = "x86_64"))]
bf16_kernels!(scalar, scalar, super::compress, {
    1: [1 2 3 4 5 6],
    2: [1 2 3],
});
