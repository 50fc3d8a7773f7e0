//! Sixteen floats in a 512-bit register.

use std::arch::x86_64::{
    __m256, __m512, _CMP_LE_OQ, _MM_HINT_T0, _mm_loadu_ps, _mm_prefetch, _mm256_castpd_ps,
    _mm256_castps_pd, _mm256_loadu_ps, _mm256_mask_storeu_ps, _mm256_maskz_loadu_ps, _mm512_add_ps,
    _mm512_broadcast_f32x4, _mm512_castpd_ps, _mm512_castps_pd, _mm512_castps256_ps512,
    _mm512_castps512_ps256, _mm512_cmp_ps_mask, _mm512_extractf64x4_pd, _mm512_fmadd_ps,
    _mm512_insertf64x4, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_compress_ps, _mm512_maskz_expand_ps, _mm512_maskz_loadu_ps, _mm512_maskz_mov_ps,
    _mm512_mul_ps, _mm512_permutex2var_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4,
    _mm512_shuffle_ps, _mm512_storeu_ps, _mm512_sub_ps,
};

pub(crate) type V = __m512;
pub(crate) const LANES: usize = 16;
const EIGHTS: usize = LANES / 8;

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

/// Returns `a·b + c`, rounded once.
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

/// Loads what [`store_lanes`] wrote: the lanes of `mask` from adjacent floats; the others are 0.
///
/// # Safety
/// `mask.count_ones()` floats are readable at `source`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn load_lanes(source: *const f32, mask: u16) -> V {
    let prefix = ((1u32 << mask.count_ones()) - 1) as u16;
    // SAFETY: only the lanes of `prefix` are read.
    let adjacent = unsafe { _mm512_maskz_loadu_ps(prefix, source) };
    _mm512_maskz_expand_ps(mask, adjacent)
}

/// Writes `LANES` rows of `LANES` floats as columns: `columns[x][row] = rows[row][x]`.
///
/// # Safety
/// `LANES` floats are readable at each row and writable at each column.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn transpose(rows: [*const f32; LANES], columns: [*mut f32; LANES]) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut block: [V; LANES] = std::array::from_fn(|row| load(rows[row]));
        swap::<8>(&mut block);
        swap::<4>(&mut block);
        swap::<2>(&mut block);
        swap::<1>(&mut block);
        for (column, values) in columns.into_iter().zip(block) {
            store(column, values);
        }
    }
}

/// Swaps the off-diagonal halves of all blocks of 2D rows and lanes. A function for each D keeps
/// the 16 rows in registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn swap<const D: usize>(block: &mut [V; LANES]) {
    // The lanes of the rows r and r + D after the swap.
    let tables = const {
        let mut tables = [[0; LANES]; 2];
        let mut lane = 0;
        while lane < LANES {
            let low = lane & D == 0;
            tables[0][lane] = (if low { lane } else { LANES + lane - D }) as u32;
            tables[1][lane] = (if low { lane + D } else { LANES + lane }) as u32;
            lane += 1;
        }
        tables
    };
    for row in (0..LANES).filter(|row| row & D == 0) {
        let (a, b) = (block[row], block[row + D]);
        block[row] = pick(a, &tables[0], b);
        block[row + D] = pick(a, &tables[1], b);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn add(a: V, b: V) -> V {
    _mm512_add_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn sub(a: V, b: V) -> V {
    _mm512_sub_ps(a, b)
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn mul(a: V, b: V) -> V {
    _mm512_mul_ps(a, b)
}

/// Returns 0 where a lane is at most 0, else the lane, NaN included.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn relu(v: V) -> V {
    _mm512_maskz_mov_ps(!_mm512_cmp_ps_mask::<_CMP_LE_OQ>(v, zero()), v)
}

/// Loads eight adjacent lanes from each source.
///
/// # Safety
/// 8 floats are readable at each source.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn load_eights(sources: [*const f32; EIGHTS]) -> V {
    // SAFETY: the caller's promise.
    let [low, high] = sources.map(|source| unsafe { _mm256_loadu_ps(source) });
    join(low, high)
}

/// Loads the lanes of `masks` of eight adjacent lanes from each source; the others are 0.
///
/// # Safety
/// Those lanes are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(crate) unsafe fn load_masked_eights(sources: [*const f32; EIGHTS], masks: [u8; EIGHTS]) -> V {
    // SAFETY: only the lanes of the masks are read.
    let part = |i: usize| unsafe { _mm256_maskz_loadu_ps(masks[i], sources[i]) };
    join(part(0), part(1))
}

/// Writes the lanes of `masks` of each eight.
///
/// # Safety
/// Those lanes are writable.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
pub(crate) unsafe fn store_masked_eights(targets: [*mut f32; EIGHTS], masks: [u8; EIGHTS], v: V) {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(v)));
    for (i, part) in [_mm512_castps512_ps256(v), high].into_iter().enumerate() {
        // SAFETY: only the lanes of the mask are written.
        unsafe { _mm256_mask_storeu_ps(targets[i], masks[i], part) };
    }
}

/// Loads the lanes of `mask`; the others are 0.
///
/// # Safety
/// Those lanes are readable at `source`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn load_masked(source: *const f32, mask: u16) -> V {
    // SAFETY: only the lanes of the mask are read.
    unsafe { _mm512_maskz_loadu_ps(mask, source) }
}

/// Writes the lanes of `mask`.
///
/// # Safety
/// Those lanes are writable at `target`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn store_masked(target: *mut f32, mask: u16, v: V) {
    // SAFETY: only the lanes of the mask are written.
    unsafe { _mm512_mask_storeu_ps(target, mask, v) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn join(low: __m256, high: __m256) -> V {
    let low = _mm512_castps_pd(_mm512_castps256_ps512(low));
    _mm512_castpd_ps(_mm512_insertf64x4::<1>(low, _mm256_castps_pd(high)))
}

/// Splits tiles of 2 adjacent pixels into first and second pixels.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn deinterleave2([a, b]: [V; 2]) -> [V; 2] {
    [pick(a, &lanes(0, [2, 4, 8, 16]), b), pick(a, &lanes(1, [2, 4, 8, 16]), b)]
}

/// Undoes [`deinterleave2`].
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn interleave2([first, second]: [V; 2]) -> [V; 2] {
    [0, 8].map(|from| pick(first, &lanes(from, [16, 1, 2, 4]), second))
}

/// Splits tiles of 4 adjacent pixels into first to fourth pixels.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn deinterleave4([a, b, c, d]: [V; 4]) -> [V; 4] {
    // Two pixels of eight tiles each, then one pixel of all tiles.
    let two = |from: u32, a: V, b: V| pick(a, &lanes(from, [4, 8, 16, 1]), b);
    let ([ab01, ab23], [cd01, cd23]) = ([two(0, a, b), two(2, a, b)], [two(0, c, d), two(2, c, d)]);
    [
        _mm512_shuffle_f32x4::<0x44>(ab01, cd01),
        _mm512_shuffle_f32x4::<0xee>(ab01, cd01),
        _mm512_shuffle_f32x4::<0x44>(ab23, cd23),
        _mm512_shuffle_f32x4::<0xee>(ab23, cd23),
    ]
}

/// Undoes [`deinterleave4`].
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn interleave4([a, b, c, d]: [V; 4]) -> [V; 4] {
    let low = [_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0x44>(c, d)];
    let high = [_mm512_shuffle_f32x4::<0xee>(a, b), _mm512_shuffle_f32x4::<0xee>(c, d)];
    let four = |from: u32, [ab, cd]: [V; 2]| pick(ab, &lanes(from, [8, 16, 1, 2]), cd);
    [four(0, low), four(4, low), four(0, high), four(4, high)]
}

/// Returns the lanes of `a` and `b`, numbered 0 to 31, that `index` lists.
#[inline]
#[target_feature(enable = "avx512f")]
fn pick(a: V, index: &[u32; LANES], b: V) -> V {
    // SAFETY: the table has 16 entries.
    let index = unsafe { _mm512_loadu_si512(index.as_ptr().cast()) };
    _mm512_permutex2var_ps(a, index, b)
}

/// Returns a table for [`pick`]: bit k of the lane's number adds `bits[k]` to `first`.
#[inline(always)]
const fn lanes(first: u32, bits: [u32; 4]) -> [u32; LANES] {
    let mut index = [first; LANES];
    let mut lane = 0;
    while lane < LANES {
        let mut bit = 0;
        while bit < 4 {
            index[lane] += (lane as u32 >> bit & 1) * bits[bit];
            bit += 1;
        }
        lane += 1;
    }
    index
}

/// Loads four adjacent floats and repeats them in all lanes.
///
/// # Safety
/// 4 floats are readable at `source`.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn splat4(source: *const f32) -> V {
    // SAFETY: the caller's promise.
    _mm512_broadcast_f32x4(unsafe { _mm_loadu_ps(source) })
}

/// Returns, for each four lanes, those of `a` that the two low pairs of bits of `PICK` number, then
/// those of `b` that the two high ones number.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn shuffle4<const PICK: i32>(a: V, b: V) -> V {
    _mm512_shuffle_ps::<PICK>(a, b)
}

/// Number i of the fours of vector j becomes number j of vector i.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose_fours([a, b, c, d]: [V; LANES / 4]) -> [V; LANES / 4] {
    let [ab0, ab1] = [_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b)];
    let [cd0, cd1] = [_mm512_shuffle_f32x4::<0x44>(c, d), _mm512_shuffle_f32x4::<0xee>(c, d)];
    [
        _mm512_shuffle_f32x4::<0x88>(ab0, cd0),
        _mm512_shuffle_f32x4::<0xdd>(ab0, cd0),
        _mm512_shuffle_f32x4::<0x88>(ab1, cd1),
        _mm512_shuffle_f32x4::<0xdd>(ab1, cd1),
    ]
}

/// Brings the cache line of `address` near; it may be any.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn prefetch(address: *const f32) {
    // SAFETY: a prefetch reads nothing that shows, and faults nowhere.
    #[allow(unused_unsafe, reason = "not every Rust since 1.89 has it as a safe function")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
}
