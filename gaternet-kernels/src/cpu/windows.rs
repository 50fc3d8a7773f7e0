//! The windows of a pool.

use std::ops::Range;

use crate::dims::PoolDims;

/// Returns the pixels of a plane of the input and of the output, (H·W, OH·OW).
pub(super) fn planes_of(dims: &PoolDims) -> [usize; 2] {
    [dims.in_size(), dims.out_size()].map(|[h, w]| h * w)
}

/// Calls `f(first input, input step, outputs)` for every output row and every tap of the window
/// that meets the input: output `i` of the range goes with input `first + i·step`.
#[inline(always)]
pub(super) fn for_window_rows(dims: &PoolDims, mut f: impl FnMut(usize, usize, Range<usize>)) {
    let [h, w] = dims.in_size();
    let [oh, ow] = dims.out_size();
    let [kh, kw] = dims.kernel();
    let [down, along] = dims.stride();
    let [top, left] = dims.padding();
    for oy in 0..oh {
        for y in (oy * down..oy * down + kh).filter_map(|y| y.checked_sub(top).filter(|&y| y < h)) {
            for kx in 0..kw {
                // The outputs whose tap lies in the row: 0 <= ox·along + kx - left < w.
                let first = left.saturating_sub(kx).div_ceil(along);
                let last = (w + left).saturating_sub(kx).div_ceil(along).min(ow);
                if first < last {
                    let x = y * w + first * along + kx - left;
                    f(x, along, oy * ow + first..oy * ow + last);
                }
            }
        }
    }
}
