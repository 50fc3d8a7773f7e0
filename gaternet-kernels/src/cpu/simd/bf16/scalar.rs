//! Portable pairs.

use half::bf16;

use crate::cpu::simd::scalar::{LANES, V};

pub(crate) type W = [u32; LANES];

/// # Safety
/// `LANES` pairs are readable at `source`.
#[inline(always)]
pub(crate) unsafe fn load(source: *const f32) -> W {
    // SAFETY: the caller's promise; an array of u32 has the alignment of f32.
    unsafe { source.cast::<W>().read() }
}

/// # Safety
/// `LANES` pairs are writable at `target`.
#[inline(always)]
pub(crate) unsafe fn store(target: *mut f32, w: W) {
    // SAFETY: the caller's promise.
    unsafe { target.cast::<W>().write(w) }
}

#[inline(always)]
pub(crate) fn splat(pair: f32) -> W {
    [pair.to_bits(); LANES]
}

/// Pairs of a number of `first` and one of `second`, rounded to the nearest bf16, ties to even.
#[inline(always)]
pub(crate) fn round(first: V, second: V) -> W {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    std::array::from_fn(|i| bits(first[i]) | bits(second[i]) << 16)
}

/// `(c + a₁·b₁) + a₂·b₂`, each sum rounded to f32.
#[inline(always)]
pub(crate) fn fmadd(a: W, b: W, c: V) -> V {
    let first = |pair: u32| f32::from_bits(pair << 16);
    let second = |pair: u32| f32::from_bits(pair & 0xffff_0000);
    std::array::from_fn(|i| {
        let sum = first(a[i]) * first(b[i]) + c[i];
        second(a[i]) * second(b[i]) + sum
    })
}
