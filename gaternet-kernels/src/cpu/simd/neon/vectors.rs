//! Eight floats in two 128-bit registers.
//!
//! On aarch64 the intrinsics are those of `std::arch`. Tests on other machines run the same code on
//! [`model`](super::model), which stands for them.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64::{
    float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmaxq_f32, vmulq_f32, vst1q_f32,
    vsubq_f32, vuzp1q_f32, vuzp2q_f32, vzip1q_f32, vzip2q_f32,
};

#[cfg(not(target_arch = "aarch64"))]
use super::model::{
    float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vmaxq_f32, vmulq_f32, vst1q_f32,
    vsubq_f32, vuzp1q_f32, vuzp2q_f32, vzip1q_f32, vzip2q_f32,
};
use crate::cpu::simd::scalar::vectors as scalar;

pub(crate) type V = [float32x4_t; 2];
pub(crate) const LANES: usize = 8;
const EIGHTS: usize = LANES / 8;
const FULL: u16 = (1 << LANES) - 1;

#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn zero() -> V {
    splat(0.0)
}

/// # Safety
/// `LANES` floats are readable at `source`.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn load(source: *const f32) -> V {
    // SAFETY: the caller's promise.
    unsafe { [vld1q_f32(source), vld1q_f32(source.add(4))] }
}

#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn splat(value: f32) -> V {
    [vdupq_n_f32(value); 2]
}

/// Returns `a·b + c`, rounded once.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn fmadd(a: V, b: V, c: V) -> V {
    [vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])]
}

/// # Safety
/// `LANES` floats are writable at `target`.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn store(target: *mut f32, v: V) {
    // SAFETY: the caller's promise.
    unsafe {
        vst1q_f32(target, v[0]);
        vst1q_f32(target.add(4), v[1]);
    }
}

/// Writes the lanes of `mask`, lowest first, one after the other.
///
/// # Safety
/// `mask.count_ones()` floats are writable at `target`.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn store_lanes(target: *mut f32, mask: u16, v: V) {
    // SAFETY: the caller's promise.
    unsafe { scalar::store_lanes(target, mask, array(v)) }
}

/// Loads what [`store_lanes`] wrote: the lanes of `mask` from adjacent floats; the others are 0.
///
/// # Safety
/// `mask.count_ones()` floats are readable at `source`.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn load_lanes(source: *const f32, mask: u16) -> V {
    // SAFETY: the caller's promise; the array is one vector.
    unsafe { load(scalar::load_lanes(source, mask).as_ptr()) }
}

#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn add(a: V, b: V) -> V {
    [vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])]
}

#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn sub(a: V, b: V) -> V {
    [vsubq_f32(a[0], b[0]), vsubq_f32(a[1], b[1])]
}

#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn mul(a: V, b: V) -> V {
    [vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])]
}

/// Returns 0 where a lane is at most 0, else the lane, NaN included: this maximum keeps NaN.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn relu(v: V) -> V {
    let zero = vdupq_n_f32(0.0);
    [vmaxq_f32(v[0], zero), vmaxq_f32(v[1], zero)]
}

/// Loads eight adjacent lanes from each source.
///
/// # Safety
/// 8 floats are readable at each source.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn load_eights([source]: [*const f32; EIGHTS]) -> V {
    // SAFETY: the caller's promise.
    unsafe { load(source) }
}

/// Loads the lanes of `masks` of eight adjacent lanes from each source; the others are 0.
///
/// # Safety
/// Those lanes are readable.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn load_masked_eights(sources: [*const f32; EIGHTS], masks: [u8; EIGHTS]) -> V {
    // SAFETY: the caller's promise.
    unsafe { load_masked(sources[0], u16::from(masks[0])) }
}

/// Writes the lanes of `masks` of each eight.
///
/// # Safety
/// Those lanes are writable.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn store_masked_eights(targets: [*mut f32; EIGHTS], masks: [u8; EIGHTS], v: V) {
    // SAFETY: the caller's promise.
    unsafe { store_masked(targets[0], u16::from(masks[0]), v) }
}

/// Loads the lanes of `mask`; the others are 0. There is no masked load: one by one, unless it is
/// all.
///
/// # Safety
/// Those lanes are readable at `source`.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn load_masked(source: *const f32, mask: u16) -> V {
    // SAFETY: the caller's promise; the array is one vector.
    unsafe {
        match mask {
            FULL => load(source),
            _ => load(scalar::load_masked(source, mask).as_ptr()),
        }
    }
}

/// Writes the lanes of `mask`: one by one, unless it is all.
///
/// # Safety
/// Those lanes are writable at `target`.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn store_masked(target: *mut f32, mask: u16, v: V) {
    // SAFETY: the caller's promise.
    unsafe {
        match mask {
            FULL => store(target, v),
            _ => scalar::store_masked(target, mask, array(v)),
        }
    }
}

#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn array(v: V) -> scalar::V {
    let mut lanes = scalar::zero();
    // SAFETY: `lanes` is one vector.
    unsafe { store(lanes.as_mut_ptr(), v) };
    lanes
}

/// Splits tiles of 2 adjacent pixels into first and second pixels.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn deinterleave2([[a, b], [c, d]]: [V; 2]) -> [V; 2] {
    [[vuzp1q_f32(a, b), vuzp1q_f32(c, d)], [vuzp2q_f32(a, b), vuzp2q_f32(c, d)]]
}

/// Undoes [`deinterleave2`].
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn interleave2([[a, b], [c, d]]: [V; 2]) -> [V; 2] {
    [[vzip1q_f32(a, c), vzip2q_f32(a, c)], [vzip1q_f32(b, d), vzip2q_f32(b, d)]]
}

/// Splits tiles of 4 adjacent pixels into first to fourth pixels.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn deinterleave4([[a, b], [c, d], [e, f], [g, h]]: [V; 4]) -> [V; 4] {
    let (low, high) = (transpose4([a, b, c, d]), transpose4([e, f, g, h]));
    std::array::from_fn(|pixel| [low[pixel], high[pixel]])
}

/// Undoes [`deinterleave4`].
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn interleave4(pixels: [V; 4]) -> [V; 4] {
    let [a, b, c, d] = transpose4(pixels.map(|[low, _]| low));
    let [e, f, g, h] = transpose4(pixels.map(|[_, high]| high));
    [[a, b], [c, d], [e, f], [g, h]]
}

/// Rows of four lanes to columns.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
fn transpose4([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let (ac0, ac1) = (vzip1q_f32(a, c), vzip2q_f32(a, c));
    let (bd0, bd1) = (vzip1q_f32(b, d), vzip2q_f32(b, d));
    [vzip1q_f32(ac0, bd0), vzip2q_f32(ac0, bd0), vzip1q_f32(ac1, bd1), vzip2q_f32(ac1, bd1)]
}

/// Loads four adjacent floats and repeats them in all lanes.
///
/// # Safety
/// 4 floats are readable at `source`.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) unsafe fn splat4(source: *const f32) -> V {
    // SAFETY: the caller's promise.
    [unsafe { vld1q_f32(source) }; 2]
}

/// Returns, for each four lanes, those of `a` that the two low pairs of bits of `PICK` number, then
/// those of `b` that the two high ones number.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn shuffle4<const PICK: i32>(a: V, b: V) -> V {
    let lanes = scalar::shuffle4::<PICK>(array(a), array(b));
    // SAFETY: the array is one vector.
    unsafe { load(lanes.as_ptr()) }
}

/// Number i of the fours of vector j becomes number j of vector i.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn transpose_fours([[a, b], [c, d]]: [V; LANES / 4]) -> [V; LANES / 4] {
    [[a, c], [b, d]]
}

/// Does nothing: the intrinsic is not stable.
#[inline]
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(crate) fn prefetch(_: *const f32) {}
