//! Labelled images in memory, as bytes.

use std::ops::Range;

use crate::{Error, Result};

/// Channels of an image: red, green, blue.
pub const CHANNELS: usize = 3;
/// Height and width of an image of CIFAR.
pub const SIDE: usize = 32;
/// Bytes of an image of CIFAR: three planes, each row by row.
pub const IMAGE_LEN: usize = CHANNELS * SIDE * SIDE;

/// Largest side of an image, in pixels.
const MAX_SIDE: usize = 4096;

/// Labelled RGB images of one size: bytes (N, 3, H, W), one label each, and the names of the
/// classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dataset {
    pub(super) images: Vec<u8>,
    pub(super) labels: Vec<usize>,
    pub(super) classes: Vec<String>,
    /// H, W.
    pub(super) size: [usize; 2],
}

impl Dataset {
    /// `images` is (N, 3, 32, 32), `labels` (N).
    ///
    /// # Errors
    /// Those of [`with_size`](Self::with_size).
    pub fn new(images: Vec<u8>, labels: Vec<usize>, classes: Vec<String>) -> Result<Dataset> {
        Dataset::with_size(images, [SIDE; 2], labels, classes)
    }

    /// `images` is (N, 3, H, W) with `size` [H, W], `labels` (N).
    ///
    /// # Errors
    /// [`Error::Config`] if a side is 0 or above 4096, `images` is not 3 H W bytes per label or a
    /// label is not below the number of classes.
    pub fn with_size(
        images: Vec<u8>,
        size: [usize; 2],
        labels: Vec<usize>,
        classes: Vec<String>,
    ) -> Result<Dataset> {
        let [height, width] = size;
        if size.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(Error::Config {
                field: "size",
                value: format!("{height}x{width}"),
                rule: "must be between 1 and 4096 each",
            });
        }
        let len = CHANNELS * height * width;
        if labels.len().checked_mul(len) != Some(images.len()) {
            return Err(Error::Config {
                field: "images",
                value: format!(
                    "{} bytes for {} labels of {height}x{width} pixels",
                    images.len(),
                    labels.len()
                ),
                rule: "every label needs an image of 3 H W bytes",
            });
        }
        if let Some(i) = labels.iter().position(|&label| label >= classes.len()) {
            return Err(Error::Config {
                field: "labels",
                value: format!("{} of image {i}, with {} classes", labels[i], classes.len()),
                rule: "a label must be below the number of classes",
            });
        }
        Ok(Dataset { images, labels, classes, size })
    }

    /// N.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// True if there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// [H, W] in pixels.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    fn image_len(&self) -> usize {
        CHANNELS * self.size[0] * self.size[1]
    }

    /// The bytes of image `index`, (3, H, W); `None` from N on.
    #[must_use]
    pub fn image(&self, index: usize) -> Option<&[u8]> {
        self.images.chunks_exact(self.image_len()).nth(index)
    }

    /// The bytes of all images, (N, 3, H, W).
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.images
    }

    /// The class of every image, (N).
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// The names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// A copy of the images in `range`, for a validation or a calibration set.
    ///
    /// # Errors
    /// [`Error::Config`] if the range does not lie within `0..N`.
    pub fn slice(&self, range: Range<usize>) -> Result<Dataset> {
        let Some(labels) = self.labels.get(range.clone()) else {
            return Err(Error::Config {
                field: "range",
                value: format!("{range:?} of {} images", self.len()),
                rule: "must lie within the data set",
            });
        };
        Ok(Dataset {
            images: self.images[range.start * self.image_len()..range.end * self.image_len()]
                .to_vec(),
            labels: labels.to_vec(),
            classes: self.classes.clone(),
            size: self.size,
        })
    }
}

impl Dataset {
    /// The same images; `labels` (N) are below the number of `classes`.
    pub(super) fn relabelled(&self, labels: Vec<usize>, classes: Vec<String>) -> Dataset {
        Dataset { labels, classes, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| i.to_string()).collect()
    }

    #[test]
    fn images_and_labels_must_match() {
        let error = Dataset::new(vec![0; IMAGE_LEN], vec![0, 1], names(2)).expect_err("lengths");
        assert!(error.to_string().contains("3072 bytes for 2 labels of 32x32"), "{error}");
        let wide = |size| Dataset::with_size(vec![7; 2 * 3 * 48 * 40], size, vec![0, 1], names(2));
        let data = wide([48, 40]).expect("two images");
        assert_eq!((data.len(), data.size()), (2, [48, 40]));
        assert_eq!(data.image(1).map(<[u8]>::len), Some(5760));
        assert_eq!(data.slice(1..2).expect("in range").bytes().len(), 5760);
        for size in [[48, 41], [0, 40], [48, usize::MAX]] {
            assert!(wide(size).is_err(), "{size:?}");
        }
        let error = Dataset::new(vec![0; 2 * IMAGE_LEN], vec![0, 2], names(2)).expect_err("label");
        assert!(error.to_string().contains("2 of image 1, with 2 classes"), "{error}");
    }

    #[test]
    fn slice_copies_the_images_of_its_labels() {
        let images = (0..4).flat_map(|i| vec![i as u8; IMAGE_LEN]).collect();
        let data = Dataset::new(images, vec![0, 1, 2, 3], names(4)).expect("valid");
        let middle = data.slice(1..3).expect("in range");
        assert_eq!(middle.labels(), [1, 2]);
        assert_eq!(middle.image(1).map(|image| image[0]), Some(2));
        assert_eq!(middle.image(2), None);
        assert!(data.slice(3..5).is_err());
    }
}
