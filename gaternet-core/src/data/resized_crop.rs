//! Which part of an image a model sees, at which size.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Largest side of an image for a model, in pixels: bounds what a setting can make us allocate.
const MAX_SIDE: usize = 4096;

/// Which part of an image becomes the `size` x `size` pixels that a model sees. Resizing is
/// bilinear and averages over what it leaves out, as Pillow's and so torchvision's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ResizedCrop {
    /// A random part, for training: torchvision's `RandomResizedCrop(size, scale)`. Its fraction of
    /// the image's area is uniform in `scale`, the logarithm of width over height uniform between
    /// those of 3/4 and 4/3. If ten draws do not fit into the image, it is the largest part in the
    /// middle with such a ratio.
    Random {
        /// Side in pixels.
        size: usize,
        /// Least and largest fraction of the area, 0 to 1; 0.08 and 1 are usual.
        scale: [f64; 2],
    },
    /// The middle, for evaluation: torchvision's `Resize(resize)` and `CenterCrop(size)`.
    Center {
        /// Side in pixels.
        size: usize,
        /// Pixels of the shorter side before the crop, at least `size`; 256 is usual for a size of
        /// 224.
        resize: usize,
    },
}

impl ResizedCrop {
    /// Side of the result, in pixels.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            ResizedCrop::Random { size, .. } | ResizedCrop::Center { size, .. } => size,
        }
    }

    pub(super) fn check(self) -> Result<()> {
        let fail = |field, value: String, rule| Err(Error::Config { field, value, rule });
        if !(1..=MAX_SIDE).contains(&self.size()) {
            return fail("size", self.size().to_string(), "must be between 1 and 4096");
        }
        match self {
            ResizedCrop::Random { scale: [least, most], .. } => {
                if !(least > 0.0 && least <= most && most <= 1.0) {
                    let rule = "must be two fractions above 0 and up to 1, the smaller one first";
                    return fail("scale", format!("[{least}, {most}]"), rule);
                }
            }
            ResizedCrop::Center { size, resize } => {
                if !(size..=MAX_SIDE).contains(&resize) {
                    let value = format!("{resize} with size = {size}");
                    return fail("resize", value, "must be at least the size, and at most 4096");
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_settings_are_errors() {
        let random = |scale| ResizedCrop::Random { size: 8, scale };
        for (crop, part) in [
            (ResizedCrop::Center { size: 0, resize: 1 }, "size = 0"),
            (ResizedCrop::Center { size: 224, resize: 200 }, "resize = 200 with size = 224"),
            (ResizedCrop::Random { size: 5000, scale: [0.1, 1.0] }, "size = 5000"),
            (random([0.0, 1.0]), "scale = [0, 1]"),
            (random([0.6, 0.5]), "scale = [0.6, 0.5]"),
            (random([0.5, f64::NAN]), "scale = [0.5, NaN]"),
        ] {
            let message = crop.check().expect_err(part).to_string();
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
    }
}
