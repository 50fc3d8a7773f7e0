//! Sixteen floats in a 512-bit register.

use std::arch::x86_64::{
    __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_storeu_ps, _mm512_maskz_compress_ps,
    _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
};

pub(crate) type V = __m512;
pub(crate) const LANES: usize = 16;

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn zero() -> V {
    _mm512_setzero_ps()
}

/// # Safety
/// `LANES` floats are readable at `source`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn load(source: *const f32) -> V {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_ps(source) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn splat(value: f32) -> V {
    _mm512_set1_ps(value)
}

/// `a·b + c`, rounded once.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn fmadd(a: V, b: V, c: V) -> V {
    _mm512_fmadd_ps(a, b, c)
}

/// # Safety
/// `LANES` floats are writable at `target`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn store(target: *mut f32, v: V) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_ps(target, v) }
}

/// Writes the lanes of `mask`, lowest first, one after the other.
///
/// Compresses in a register and stores a prefix: the compressing store to memory is microcoded on
/// Zen 4.
///
/// # Safety
/// `mask.count_ones()` floats are writable at `target`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn store_lanes(target: *mut f32, mask: u16, v: V) {
    let prefix = ((1u32 << mask.count_ones()) - 1) as u16;
    // SAFETY: only the lanes of `prefix` are written.
    unsafe { _mm512_mask_storeu_ps(target, prefix, _mm512_maskz_compress_ps(mask, v)) }
}
