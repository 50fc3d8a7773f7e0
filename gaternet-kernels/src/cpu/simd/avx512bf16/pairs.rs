//! Sixteen pairs in a 512-bit register, with the instructions of AVX512-BF16.

use std::arch::x86_64::{
    __m512bh, __m512i, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_si512,
    _mm512_permutexvar_epi16,
};
use std::mem::transmute;

pub(crate) use crate::cpu::simd::avx512::pairs::{W, load, splat, store};
use crate::cpu::simd::avx512::vectors::V;

/// Returns pairs of numbers of `first` (upper) and `second`, rounded to the nearest bf16, ties to
/// even.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(crate) fn round(first: V, second: V) -> W {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut at = 0;
        while at < 32 {
            order[at] = at as u16 / 2 + at as u16 % 2 * 16;
            at += 1;
        }
        order
    };
    // SAFETY: both types are 512 bits, of which any are valid; the table has as many.
    let (numbers, order) = unsafe {
        let numbers = transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(first, second));
        (numbers, _mm512_loadu_si512(ORDER.as_ptr().cast()))
    };
    _mm512_permutexvar_epi16(order, numbers)
}

/// Returns `(c + a₁·b₁) + a₂·b₂`, the upper numbers first, each sum rounded to f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn fmadd(a: W, b: W, c: V) -> V {
    // SAFETY: both types are 512 bits, of which any are valid.
    let numbers = |pairs: W| unsafe { transmute::<__m512i, __m512bh>(pairs) };
    _mm512_dpbf16_ps(c, numbers(a), numbers(b))
}
