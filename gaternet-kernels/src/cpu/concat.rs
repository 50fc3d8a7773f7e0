//! Concatenation of the rows of several matrices: of the channels of (N, C, H, W) tensors, whose
//! rows are samples.

use super::parallel::for_runs;
use crate::error::{KernelError, Result, check_len};

/// Writes y (batch, sum of the widths) of parts (batch, width of each).
///
/// # Errors
/// [`KernelError`] if a part is not `batch` rows or y is not as long as all parts.
pub fn forward(batch: usize, parts: &[&[f32]], y: &mut [f32]) -> Result<()> {
    let widths = widths("concat::forward", batch, parts.iter().map(|part| part.len()))?;
    let total: usize = widths.iter().sum();
    check_len("concat::forward", "y", batch * total, y.len())?;
    if total == 0 {
        return Ok(());
    }
    for_runs(y, total, total, |rows, y| {
        for (n, mut y) in rows.zip(y.chunks_exact_mut(total)) {
            for (part, &width) in parts.iter().zip(&widths) {
                let (here, rest) = y.split_at_mut(width);
                here.copy_from_slice(&part[n * width..(n + 1) * width]);
                y = rest;
            }
        }
    });
    Ok(())
}

/// Copies one part of the matrix `whole` (batch, total): the columns from `start` on, as many as
/// `part` (batch, width) holds. The gradient of a part is such a copy.
///
/// # Errors
/// [`KernelError`] if a slice is not `batch` rows or the part reaches beyond the columns.
pub fn split(batch: usize, whole: &[f32], start: usize, part: &mut [f32]) -> Result<()> {
    let op = "concat::split";
    let widths = widths(op, batch, [whole.len(), part.len()].into_iter())?;
    let (total, width) = (widths[0], widths[1]);
    if start > total || width > total - start {
        let rule = "the part must lie within the columns";
        let got = format!("{width} columns from {start} on of {total}");
        return Err(KernelError::Dims { op, rule, got });
    }
    if width > 0 {
        for_runs(part, width, width, |rows, part| {
            for (n, part) in rows.zip(part.chunks_exact_mut(width)) {
                part.copy_from_slice(&whole[n * total + start..][..width]);
            }
        });
    }
    Ok(())
}

/// Returns the length of a row of each part.
fn widths(op: &'static str, batch: usize, lens: impl Iterator<Item = usize>) -> Result<Vec<usize>> {
    let width = |len: usize| {
        if batch == 0 && len == 0 {
            return Ok(0);
        }
        let rule = "every part must be whole rows";
        let got = || format!("{len} values for {batch} rows");
        match len.checked_rem(batch) {
            Some(0) => Ok(len / batch),
            _ => Err(KernelError::Dims { op, rule, got: got() }),
        }
    };
    lens.map(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::concat as reference;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn rows_agree_with_the_reference_and_come_apart_again() {
        for batch in [1, 3, 70] {
            for widths in [vec![5], vec![1, 7, 3], vec![0, 2], vec![600, 17]] {
                let parts: Vec<Vec<f32>> =
                    widths.iter().map(|width| values(*width as u64, batch * width)).collect();
                let borrowed: Vec<&[f32]> = parts.iter().map(Vec::as_slice).collect();
                let wide: Vec<Vec<f64>> = parts.iter().map(|part| widen(part)).collect();
                let wide: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
                let mut y = vec![7.0; batch * widths.iter().sum::<usize>()];
                forward(batch, &borrowed, &mut y).expect("lengths fit");
                assert_close((batch, &widths), &y, &reference::forward(batch, &wide), 0.0);
                let mut start = 0;
                for (part, width) in parts.iter().zip(widths) {
                    let mut again = vec![7.0; part.len()];
                    split(batch, &y, start, &mut again).expect("in range");
                    assert_eq!(&again, part, "columns {start} on");
                    start += width;
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let mut out = [7.0; 4];
        assert!(forward(2, &[&[1.0; 2], &[1.0; 3]], &mut out).is_err());
        assert!(forward(0, &[&[1.0; 2]], &mut out).is_err());
        assert!(forward(2, &[&[1.0; 2], &[1.0; 4]], &mut out).is_err());
        assert!(split(2, &[1.0; 6], 2, &mut out).is_err());
        assert!(split(2, &[1.0; 5], 0, &mut out).is_err());
        assert_eq!(out, [7.0; 4]);
    }
}
