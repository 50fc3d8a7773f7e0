//! Eight floats in a 256-bit register.

use std::arch::x86_64::{
    __m256, __m256i, _CMP_LE_OQ, _MM_HINT_T0, _mm_loadu_ps, _mm_prefetch, _mm256_add_ps,
    _mm256_and_si256, _mm256_andnot_ps, _mm256_broadcast_ss, _mm256_cmp_ps, _mm256_cmpeq_epi32,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps, _mm256_maskstore_ps, _mm256_mul_ps,
    _mm256_permute2f128_ps, _mm256_set_m128, _mm256_set1_epi32, _mm256_setr_epi32,
    _mm256_setzero_ps, _mm256_shuffle_ps, _mm256_storeu_ps, _mm256_sub_ps, _mm256_unpackhi_ps,
    _mm256_unpacklo_ps,
};

use crate::cpu::simd::scalar::vectors as scalar;

pub(crate) type V = __m256;
pub(crate) const LANES: usize = 8;
const EIGHTS: usize = LANES / 8;

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

/// Returns `a·b + c`, rounded once.
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

/// Loads what [`store_lanes`] wrote: the lanes of `mask` from adjacent floats; the others are 0.
///
/// # Safety
/// `mask.count_ones()` floats are readable at `source`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn load_lanes(source: *const f32, mask: u16) -> V {
    // SAFETY: the caller's promise; the array is one vector.
    unsafe { load(scalar::load_lanes(source, mask).as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn add(a: V, b: V) -> V {
    _mm256_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn sub(a: V, b: V) -> V {
    _mm256_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn mul(a: V, b: V) -> V {
    _mm256_mul_ps(a, b)
}

/// Returns 0 where a lane is at most 0, else the lane, NaN included.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn relu(v: V) -> V {
    _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(v, zero()), v)
}

/// Loads eight adjacent lanes from each source.
///
/// # Safety
/// 8 floats are readable at each source.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn load_eights([source]: [*const f32; EIGHTS]) -> V {
    // SAFETY: the caller's promise.
    unsafe { load(source) }
}

/// Loads the lanes of `masks` of eight adjacent lanes from each source; the others are 0.
///
/// # Safety
/// Those lanes are readable.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn load_masked_eights(sources: [*const f32; EIGHTS], masks: [u8; EIGHTS]) -> V {
    // SAFETY: the caller's promise.
    unsafe { load_masked(sources[0], u16::from(masks[0])) }
}

/// Writes the lanes of `masks` of each eight.
///
/// # Safety
/// Those lanes are writable.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn store_masked_eights(targets: [*mut f32; EIGHTS], masks: [u8; EIGHTS], v: V) {
    // SAFETY: the caller's promise.
    unsafe { store_masked(targets[0], u16::from(masks[0]), v) }
}

/// Loads the lanes of `mask`; the others are 0.
///
/// # Safety
/// Those lanes are readable at `source`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn load_masked(source: *const f32, mask: u16) -> V {
    // SAFETY: only the lanes of the mask are read.
    unsafe { _mm256_maskload_ps(source, lanes_of(mask)) }
}

/// Writes the lanes of `mask`.
///
/// # Safety
/// Those lanes are writable at `target`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn store_masked(target: *mut f32, mask: u16, v: V) {
    // SAFETY: only the lanes of the mask are written.
    unsafe { _mm256_maskstore_ps(target, lanes_of(mask), v) }
}

/// Returns all ones in the lanes of `mask`, else zeros.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn lanes_of(mask: u16) -> __m256i {
    let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(i32::from(mask)), bits), bits)
}

/// Splits tiles of 2 adjacent pixels into first and second pixels.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn deinterleave2([a, b]: [V; 2]) -> [V; 2] {
    let low = _mm256_permute2f128_ps::<0x20>(a, b);
    let high = _mm256_permute2f128_ps::<0x31>(a, b);
    [_mm256_shuffle_ps::<0x88>(low, high), _mm256_shuffle_ps::<0xdd>(low, high)]
}

/// Undoes [`deinterleave2`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn interleave2([first, second]: [V; 2]) -> [V; 2] {
    let low = _mm256_unpacklo_ps(first, second);
    let high = _mm256_unpackhi_ps(first, second);
    [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
}

/// Splits tiles of 4 adjacent pixels into first to fourth pixels.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn deinterleave4([a, b, c, d]: [V; 4]) -> [V; 4] {
    // Tiles 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    transpose4([
        _mm256_permute2f128_ps::<0x20>(a, c),
        _mm256_permute2f128_ps::<0x31>(a, c),
        _mm256_permute2f128_ps::<0x20>(b, d),
        _mm256_permute2f128_ps::<0x31>(b, d),
    ])
}

/// Undoes [`deinterleave4`].
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn interleave4(pixels: [V; 4]) -> [V; 4] {
    let [a, b, c, d] = transpose4(pixels);
    [
        _mm256_permute2f128_ps::<0x20>(a, b),
        _mm256_permute2f128_ps::<0x20>(c, d),
        _mm256_permute2f128_ps::<0x31>(a, b),
        _mm256_permute2f128_ps::<0x31>(c, d),
    ]
}

/// Transposes the low and the high four lanes of four vectors.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn transpose4([a, b, c, d]: [V; 4]) -> [V; 4] {
    let (ab0, ab1) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let (cd0, cd1) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    [
        _mm256_shuffle_ps::<0x44>(ab0, cd0),
        _mm256_shuffle_ps::<0xee>(ab0, cd0),
        _mm256_shuffle_ps::<0x44>(ab1, cd1),
        _mm256_shuffle_ps::<0xee>(ab1, cd1),
    ]
}

/// Loads four adjacent floats and repeats them in all lanes.
///
/// # Safety
/// 4 floats are readable at `source`.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn splat4(source: *const f32) -> V {
    // SAFETY: the caller's promise.
    let four = unsafe { _mm_loadu_ps(source) };
    _mm256_set_m128(four, four)
}

/// Returns, for each four lanes, those of `a` that the two low pairs of bits of `PICK` number, then
/// those of `b` that the two high ones number.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn shuffle4<const PICK: i32>(a: V, b: V) -> V {
    _mm256_shuffle_ps::<PICK>(a, b)
}

/// Number i of the fours of vector j becomes number j of vector i.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn transpose_fours([a, b]: [V; LANES / 4]) -> [V; LANES / 4] {
    [_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)]
}

/// Brings the cache line of `address` near; it may be any.
#[inline]
#[target_feature(enable = "avx2,fma")]
pub(crate) fn prefetch(address: *const f32) {
    // SAFETY: a prefetch reads nothing that shows, and faults nowhere.
    #[allow(unused_unsafe, reason = "not every Rust since 1.89 has it as a safe function")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}
