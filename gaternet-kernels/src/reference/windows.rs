//! The windows of a pool.

use crate::dims::PoolDims;

/// Returns the inputs in the window of output `o`, row by row; padding is none of them.
pub(super) fn window(dims: &PoolDims, o: usize) -> impl Iterator<Item = usize> {
    let [h, w] = dims.in_size();
    let [oh, ow] = dims.out_size();
    let [kh, kw] = dims.kernel();
    let ([down, along], [top, left]) = (dims.stride(), dims.padding());
    let (plane, oy, ox) = (o / (oh * ow), o / ow % oh, o % ow);
    (0..kh * kw).filter_map(move |k| {
        let y = (oy * down + k / kw).checked_sub(top).filter(|&y| y < h)?;
        let x = (ox * along + k % kw).checked_sub(left).filter(|&x| x < w)?;
        Some((plane * h + y) * w + x)
    })
}
