//! Eight pairs in a 256-bit register, for processors without bf16 instructions.

use std::arch::x86_64::{
    __m256i, _CMP_UNORD_Q, _mm256_add_epi32, _mm256_and_si256, _mm256_blend_epi16,
    _mm256_blendv_epi8, _mm256_castps_si256, _mm256_castsi256_ps, _mm256_cmp_ps, _mm256_fmadd_ps,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_set1_epi32, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_storeu_si256,
};

use super::vectors::V;

pub(crate) type W = __m256i;

/// # Safety
/// 8 pairs are readable at `source`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn load(source: *const f32) -> W {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(source.cast()) }
}

/// # Safety
/// 8 pairs are writable at `target`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn store(target: *mut f32, w: W) {
    // SAFETY: the caller's promise.
    unsafe { _mm256_storeu_si256(target.cast(), w) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn splat(pair: f32) -> W {
    _mm256_set1_epi32(pair.to_bits() as i32)
}

/// Returns pairs of numbers of `first` (upper) and `second`, rounded to the nearest bf16, ties to
/// even.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn round(first: V, second: V) -> W {
    _mm256_blend_epi16::<0b1010_1010>(_mm256_srli_epi32::<16>(rounded(second)), rounded(first))
}

/// Returns the bf16 in the upper halves as f32.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(x: V) -> __m256i {
    let bits = _mm256_castps_si256(x);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(x, x));
    let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
    _mm256_blendv_epi8(_mm256_add_epi32(bits, half), quiet, nan)
}

/// Returns `(c + a₁·b₁) + a₂·b₂`, the upper numbers first, each sum rounded to f32.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn fmadd(a: W, b: W, c: V) -> V {
    let mask = _mm256_set1_epi32(0xffff_0000_u32 as i32);
    let upper = |pairs: W| _mm256_castsi256_ps(_mm256_and_si256(pairs, mask));
    let lower = |pairs: W| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
    _mm256_fmadd_ps(lower(a), lower(b), _mm256_fmadd_ps(upper(a), upper(b), c))
}
