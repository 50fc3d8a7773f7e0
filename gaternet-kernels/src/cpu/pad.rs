//! Padding of planes with borders of zeros, and (where negative) cropping.

use super::parallel::for_runs;
use crate::dims::PadDims;
use crate::error::{Result, check_len};

/// Writes y (planes, OH, OW) of x (planes, H, W). With [`PadDims::inverse`] the same call makes the
/// gradient of x of that of y.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn forward(dims: &PadDims, x: &[f32], y: &mut [f32]) -> Result<()> {
    check_len("pad::forward", "x", dims.input_len(), x.len())?;
    check_len("pad::forward", "y", dims.output_len(), y.len())?;
    let ([h, w], [oh, ow], [top, left]) = (dims.in_size(), dims.out_size(), dims.offset());
    // Columns of a row that both have: in the output, and where they start in the input.
    let (to, from) = (left.max(0) as usize, (-left).max(0) as usize);
    let common = w.saturating_sub(from).min(ow.saturating_sub(to));
    for_runs(y, oh * ow, oh * ow, |planes, y| {
        y.fill(0.0);
        for (plane, y) in planes.zip(y.chunks_exact_mut(oh * ow)) {
            for (row, y) in y.chunks_exact_mut(ow).enumerate() {
                let source = row.checked_add_signed(-top).filter(|&row| row < h);
                if let Some(source) = source.filter(|_| common > 0) {
                    let x = &x[(plane * h + source) * w + from..][..common];
                    y[to..to + common].copy_from_slice(x);
                }
            }
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::pad as reference;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn borders_agree_with_the_reference_and_the_inverse_is_the_transpose() {
        for (planes, size) in [(1, [1, 1]), (3, [4, 5]), (70, [17, 32])] {
            for padding in [[0; 4], [1, 2, 3, 0], [0, 1, -3, 4], [-4, 9, 9, -3], [-1, 1, -1, 1]] {
                let Ok(dims) = PadDims::new(planes, size, padding) else { continue };
                let what = (planes, size, padding);
                let (x, grad) = (values(1, dims.input_len()), values(2, dims.output_len()));
                let mut y = vec![7.0; grad.len()];
                forward(&dims, &x, &mut y).expect("lengths fit");
                assert_close(what, &y, &reference::forward(size, padding, &widen(&x)), 0.0);
                let mut back = vec![7.0; x.len()];
                forward(&dims.inverse(), &grad, &mut back).expect("lengths fit");
                let dot = |a: &[f32], b: &[f32]| {
                    widen(a).iter().zip(widen(b)).map(|(a, b)| a * b).sum::<f64>()
                };
                assert_close(what, &[dot(&y, &grad)], &[dot(&x, &back)], 1e-9);
            }
        }
    }

    #[test]
    fn cropping_everything_and_wrong_lengths_are_refused() {
        for padding in [[-3, 0, 0, 0], [0, -2, 0, -1], [isize::MIN, 0, 0, 0], [isize::MAX, 0, 0, 0]]
        {
            assert!(PadDims::new(1, [1, 2], padding).is_err(), "{padding:?}");
        }
        let dims = PadDims::new(1, [2, 2], [1, 0, 0, 0]).expect("valid");
        let mut out = [7.0; 6];
        assert!(forward(&dims, &[1.0; 3], &mut out).is_err());
        assert!(forward(&dims, &[1.0; 4], &mut out[..5]).is_err());
        assert_eq!(out, [7.0; 6]);
    }
}
