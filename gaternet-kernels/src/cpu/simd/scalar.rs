//! Portable vectors: eight floats the compiler may put into whatever registers there are.

pub(crate) type V = [f32; LANES];
pub(crate) const LANES: usize = 8;

#[inline(always)]
pub(crate) fn zero() -> V {
    [0.0; LANES]
}

/// # Safety
/// `LANES` floats are readable at `source`.
#[inline(always)]
pub(crate) unsafe fn load(source: *const f32) -> V {
    // SAFETY: the caller's promise; an array of f32 has the alignment of f32.
    unsafe { source.cast::<V>().read() }
}

#[inline(always)]
pub(crate) fn splat(value: f32) -> V {
    [value; LANES]
}

/// `a·b + c`, rounded twice: a fused operation without hardware for it is a library call.
#[inline(always)]
pub(crate) fn fmadd(a: V, b: V, c: V) -> V {
    std::array::from_fn(|i| a[i] * b[i] + c[i])
}

/// # Safety
/// `LANES` floats are writable at `target`.
#[inline(always)]
pub(crate) unsafe fn store(target: *mut f32, v: V) {
    // SAFETY: the caller's promise.
    unsafe { target.cast::<V>().write(v) }
}

/// Writes the lanes of `mask`, lowest first, one after the other.
///
/// # Safety
/// `mask.count_ones()` floats are writable at `target`.
#[inline(always)]
pub(crate) unsafe fn store_lanes(target: *mut f32, mask: u16, v: V) {
    let mut written = 0;
    for (lane, value) in v.into_iter().enumerate() {
        if mask >> lane & 1 == 1 {
            // SAFETY: `written` stays below the number of lanes in the mask.
            unsafe { target.add(written).write(value) };
            written += 1;
        }
    }
}
