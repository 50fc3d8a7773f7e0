//! Sixteen pairs in a 512-bit register, for processors without bf16 instructions.

use std::arch::x86_64::{
    __m512i, _CMP_UNORD_Q, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_si512,
    _mm512_mask_or_epi32, _mm512_or_si512, _mm512_set1_epi32, _mm512_slli_epi32, _mm512_srli_epi32,
    _mm512_storeu_si512,
};

use super::vectors::V;

pub(crate) type W = __m512i;

/// # Safety
/// 16 pairs are readable at `source`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn load(source: *const f32) -> W {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(source.cast()) }
}

/// # Safety
/// 16 pairs are writable at `target`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn store(target: *mut f32, w: W) {
    // SAFETY: the caller's promise.
    unsafe { _mm512_storeu_si512(target.cast(), w) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn splat(pair: f32) -> W {
    _mm512_set1_epi32(pair.to_bits() as i32)
}

/// Returns pairs of numbers of `first` (upper) and `second`, rounded to the nearest bf16, ties to
/// even.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn round(first: V, second: V) -> W {
    _mm512_or_si512(upper(rounded(first)), _mm512_srli_epi32::<16>(rounded(second)))
}

/// Returns the bf16 in the upper halves as f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(x: V) -> __m512i {
    let bits = _mm512_castps_si512(x);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x);
    let quiet = _mm512_set1_epi32(0x0040_0000);
    _mm512_mask_or_epi32(_mm512_add_epi32(bits, half), nan, bits, quiet)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn upper(pairs: W) -> W {
    _mm512_and_si512(pairs, _mm512_set1_epi32(0xffff_0000_u32 as i32))
}

/// Returns `(c + a₁·b₁) + a₂·b₂`, the upper numbers first, each sum rounded to f32.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn fmadd(a: W, b: W, c: V) -> V {
    let upper = |pairs: W| _mm512_castsi512_ps(upper(pairs));
    let lower = |pairs: W| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
    _mm512_fmadd_ps(lower(a), lower(b), _mm512_fmadd_ps(upper(a), upper(b), c))
}
