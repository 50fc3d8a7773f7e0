//! The samples of a decoded image.

use super::header::View;

/// `Err` unless there are so many `channels` of an image.
pub(super) fn check_len(
    samples: &[u8],
    [width, height]: [usize; 2],
    channels: usize,
) -> Result<(), String> {
    if samples.len() != width * height * channels {
        return Err(format!("{} bytes of pixels for {width}x{height}", samples.len()));
    }
    Ok(())
}

/// What lies in `view` of samples (rows, columns, channels). In place: there may be no memory for
/// both.
pub(super) fn cut(mut samples: Vec<u8>, [columns, channels]: [usize; 2], view: View) -> Vec<u8> {
    let [left, top, width, height] = view;
    let kept = width * channels;
    if kept < columns * channels || top > 0 {
        for y in 0..height {
            let start = ((top + y) * columns + left) * channels;
            samples.copy_within(start..start + kept, y * kept);
        }
    }
    samples.truncate(height * kept);
    samples
}
