//! Checks for images with pixels that are not finite.

use gaternet_core::{Error, Result, Tensor};

/// Most images that a message names.
const NAMED: usize = 10;

/// Numbers of the images, of `len` floats each, that hold a NaN or an infinity.
pub(crate) fn bad_images(images: &[f32], len: usize) -> Vec<usize> {
    if is_finite(images) {
        return Vec::new();
    }
    let images = images.chunks_exact(len).enumerate();
    images.filter(|(_, image)| !is_finite(image)).map(|(n, _)| n).collect()
}

/// Returns an error with the numbers of these images, if there are any.
pub(crate) fn check(op: &'static str, bad: &[usize]) -> Result<()> {
    if bad.is_empty() {
        return Ok(());
    }
    let mut names = bad.iter().take(NAMED).map(usize::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more @ 1..) = bad.len().checked_sub(NAMED) {
        names += &format!(" and {more} more");
    }
    let rule = "every pixel must be a finite number";
    Err(Error::Shape {
        op,
        rule,
        got: format!("a NaN or an infinity in image {names} of the batch"),
    })
}

/// Returns an error with the numbers of the images (N, ...) that hold a NaN or an infinity, if
/// there are any.
pub(crate) fn check_images(op: &'static str, images: &Tensor) -> Result<()> {
    let len = images.dims().iter().skip(1).product::<usize>().max(1);
    check(op, &bad_images(images.data(), len))
}

fn is_finite(values: &[f32]) -> bool {
    // NaN and infinity have the largest exponent; a maximum of integers runs on vectors.
    let largest = values.iter().fold(0, |largest, x| largest.max(x.to_bits() & 0x7fff_ffff));
    f32::from_bits(largest).is_finite()
}
