//! Portable vectors: eight floats the compiler may put into whatever registers there are.

pub(crate) type V = [f32; LANES];
pub(crate) const LANES: usize = 8;
const EIGHTS: usize = LANES / 8;

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

/// Returns `a·b + c`, rounded twice: a fused operation without hardware for it is a library call.
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

/// Loads what [`store_lanes`] wrote: the lanes of `mask` from adjacent floats; the others are 0.
///
/// # Safety
/// `mask.count_ones()` floats are readable at `source`.
#[inline(always)]
pub(crate) unsafe fn load_lanes(source: *const f32, mask: u16) -> V {
    let mut v = zero();
    let mut read = 0;
    for (lane, value) in v.iter_mut().enumerate() {
        if mask >> lane & 1 == 1 {
            // SAFETY: `read` stays below the number of lanes in the mask.
            *value = unsafe { source.add(read).read() };
            read += 1;
        }
    }
    v
}

#[inline(always)]
pub(crate) fn add(a: V, b: V) -> V {
    std::array::from_fn(|i| a[i] + b[i])
}

#[inline(always)]
pub(crate) fn sub(a: V, b: V) -> V {
    std::array::from_fn(|i| a[i] - b[i])
}

#[inline(always)]
pub(crate) fn mul(a: V, b: V) -> V {
    std::array::from_fn(|i| a[i] * b[i])
}

/// Returns 0 where a lane is at most 0, else the lane, NaN included.
#[inline(always)]
pub(crate) fn relu(v: V) -> V {
    v.map(|x| if x <= 0.0 { 0.0 } else { x })
}

/// Loads eight adjacent lanes from each source.
///
/// # Safety
/// 8 floats are readable at each source.
#[inline(always)]
pub(crate) unsafe fn load_eights([source]: [*const f32; EIGHTS]) -> V {
    // SAFETY: the caller's promise.
    unsafe { load(source) }
}

/// Loads the lanes of `masks` of eight adjacent lanes from each source; the others are 0.
///
/// # Safety
/// Those lanes are readable.
#[inline(always)]
pub(crate) unsafe fn load_masked_eights(sources: [*const f32; EIGHTS], masks: [u8; EIGHTS]) -> V {
    // SAFETY: the caller's promise.
    unsafe { load_masked(sources[0], u16::from(masks[0])) }
}

/// Writes the lanes of `masks` of each eight.
///
/// # Safety
/// Those lanes are writable.
#[inline(always)]
pub(crate) unsafe fn store_masked_eights(targets: [*mut f32; EIGHTS], masks: [u8; EIGHTS], v: V) {
    // SAFETY: the caller's promise.
    unsafe { store_masked(targets[0], u16::from(masks[0]), v) }
}

/// Loads the lanes of `mask`; the others are 0.
///
/// # Safety
/// Those lanes are readable at `source`.
#[inline(always)]
pub(crate) unsafe fn load_masked(source: *const f32, mask: u16) -> V {
    std::array::from_fn(|lane| match mask >> lane & 1 {
        // SAFETY: a lane of the mask.
        1 => unsafe { source.add(lane).read() },
        _ => 0.0,
    })
}

/// Writes the lanes of `mask`.
///
/// # Safety
/// Those lanes are writable at `target`.
#[inline(always)]
pub(crate) unsafe fn store_masked(target: *mut f32, mask: u16, v: V) {
    for (lane, value) in v.into_iter().enumerate().filter(|(lane, _)| mask >> lane & 1 == 1) {
        // SAFETY: a lane of the mask.
        unsafe { target.add(lane).write(value) };
    }
}

/// Splits tiles of 2 adjacent pixels into first and second pixels.
#[inline(always)]
pub(crate) fn deinterleave2(tiles: [V; 2]) -> [V; 2] {
    deinterleave(tiles)
}

/// Undoes [`deinterleave2`].
#[inline(always)]
pub(crate) fn interleave2(pixels: [V; 2]) -> [V; 2] {
    interleave(pixels)
}

/// Splits tiles of 4 adjacent pixels into first to fourth pixels.
#[inline(always)]
pub(crate) fn deinterleave4(tiles: [V; 4]) -> [V; 4] {
    deinterleave(tiles)
}

/// Undoes [`deinterleave4`].
#[inline(always)]
pub(crate) fn interleave4(pixels: [V; 4]) -> [V; 4] {
    interleave(pixels)
}

#[inline(always)]
fn deinterleave<const M: usize>(tiles: [V; M]) -> [V; M] {
    let pixel = |i: usize| tiles[i / LANES][i % LANES];
    std::array::from_fn(|p| std::array::from_fn(|tile| pixel(tile * M + p)))
}

#[inline(always)]
fn interleave<const M: usize>(pixels: [V; M]) -> [V; M] {
    std::array::from_fn(|v| {
        std::array::from_fn(|lane| pixels[(v * LANES + lane) % M][(v * LANES + lane) / M])
    })
}

/// Loads four adjacent floats and repeats them in all lanes.
///
/// # Safety
/// 4 floats are readable at `source`.
#[inline(always)]
pub(crate) unsafe fn splat4(source: *const f32) -> V {
    // SAFETY: the caller's promise.
    std::array::from_fn(|lane| unsafe { source.add(lane % 4).read() })
}

/// Returns, for each four lanes, those of `a` that the two low pairs of bits of `PICK` number, then
/// those of `b` that the two high ones number.
#[inline(always)]
pub(crate) fn shuffle4<const PICK: i32>(a: V, b: V) -> V {
    std::array::from_fn(|lane| {
        let of = if lane % 4 < 2 { &a } else { &b };
        of[lane / 4 * 4 + (PICK >> (lane % 4 * 2) & 3) as usize]
    })
}

/// Number i of the fours of vector j becomes number j of vector i.
#[inline(always)]
pub(crate) fn transpose_fours(v: [V; LANES / 4]) -> [V; LANES / 4] {
    std::array::from_fn(|i| std::array::from_fn(|lane| v[lane / 4][i * 4 + lane % 4]))
}

/// Does nothing: there is no portable prefetch.
#[inline(always)]
pub(crate) fn prefetch(_: *const f32) {}
