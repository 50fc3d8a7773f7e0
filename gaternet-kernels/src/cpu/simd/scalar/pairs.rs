//! Portable pairs.

use half::bf16;

use super::vectors::{LANES, V};

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

/// Returns pairs of numbers of `first` (upper) and `second`, rounded to the nearest bf16, ties to
/// even.
#[inline(always)]
pub(crate) fn round(first: V, second: V) -> W {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    std::array::from_fn(|i| bits(first[i]) << 16 | bits(second[i]))
}

/// Returns `(c + a₁·b₁) + a₂·b₂`, the upper numbers first, each sum rounded to f32.
#[inline(always)]
pub(crate) fn fmadd(a: W, b: W, c: V) -> V {
    let upper = |pair: u32| f32::from_bits(pair & 0xffff_0000);
    let lower = |pair: u32| f32::from_bits(pair << 16);
    std::array::from_fn(|i| {
        let sum = upper(a[i]) * upper(b[i]) + c[i];
        lower(a[i]) * lower(b[i]) + sum
    })
}
