//! Eight floats in a 256-bit register.

use std::arch::x86_64::{
    __m256, _mm256_broadcast_ss, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps,
    _mm256_storeu_ps,
};

use super::scalar;

pub(crate) type V = __m256;
pub(crate) const LANES: usize = 8;

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn zero() -> V {
    _mm256_setzero_ps()
}

/// # Safety
/// `LANES` floats are readable at `source`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn load(source: *const f32) -> V {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_ps(source) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn splat(value: f32) -> V {
    _mm256_broadcast_ss(&value)
}

/// `a·b + c`, rounded once.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn fmadd(a: V, b: V, c: V) -> V {
    _mm256_fmadd_ps(a, b, c)
}

/// # Safety
/// `LANES` floats are writable at `target`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn store(target: *mut f32, v: V) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_ps(target, v) }
}

/// Writes the lanes of `mask`, lowest first, one after the other.
///
/// # Safety
/// `mask.count_ones()` floats are writable at `target`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn store_lanes(target: *mut f32, mask: u16, v: V) {
    let mut lanes = scalar::zero();
    // SAFETY: `lanes` has room for one vector; the rest is the caller's promise.
    unsafe {
        store(lanes.as_mut_ptr(), v);
        scalar::store_lanes(target, mask, lanes);
    }
}
