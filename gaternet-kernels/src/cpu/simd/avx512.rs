//! Sixteen floats in a 512-bit register.

use std::arch::x86_64::{
    __m512, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps,
    _mm512_maskz_compress_ps, _mm512_permutex2var_ps, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_storeu_ps,
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

/// Writes `LANES` rows of `LANES` floats as columns: `columns[x][row] = rows[row][x]`.
///
/// # Safety
/// `LANES` floats are readable at each row and writable at each column.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn transpose(rows: [*const f32; LANES], columns: [*mut f32; LANES]) {
    // SAFETY: the caller's promise for rows and columns; the index tables have 16 entries.
    unsafe {
        let mut block: [V; LANES] = std::array::from_fn(|row| load(rows[row]));
        // Swaps the off-diagonal halves of ever smaller blocks: distances 8, 4, 2, 1.
        for (level, [upper, lower]) in SWAPS.iter().enumerate() {
            let distance = 8 >> level;
            let upper = _mm512_loadu_si512(upper.as_ptr().cast());
            let lower = _mm512_loadu_si512(lower.as_ptr().cast());
            for row in (0..LANES).filter(|row| row & distance == 0) {
                let (a, b) = (block[row], block[row + distance]);
                block[row] = _mm512_permutex2var_ps(a, upper, b);
                block[row + distance] = _mm512_permutex2var_ps(a, lower, b);
            }
        }
        for (column, values) in columns.into_iter().zip(block) {
            store(column, values);
        }
    }
}

/// For each distance d, the lanes of the rows r and r + d after the swap, out of both rows' 32.
const SWAPS: [[[u32; LANES]; 2]; 4] = {
    let mut swaps = [[[0; LANES]; 2]; 4];
    let mut level = 0;
    while level < 4 {
        let distance = 8 >> level;
        let mut lane = 0;
        while lane < LANES {
            let low = lane & distance == 0;
            swaps[level][0][lane] = (if low { lane } else { LANES + lane - distance }) as u32;
            swaps[level][1][lane] = (if low { lane + distance } else { LANES + lane }) as u32;
            lane += 1;
        }
        level += 1;
    }
    swaps
};
