//! Labelled images in memory.

use std::ops::Range;
use std::sync::Arc;

use super::dataset::{no_image, relabelling};
use super::image::samples_of;
use super::{Dataset, Image, Layout, Pixel};
use crate::{Error, Result};

/// Largest side of an image, in pixels.
const MAX_SIDE: usize = 4096;

/// Labelled images of one size and number of channels: samples (N, C, H, W) of type `T`, one label
/// each, and the names of the classes. Clones share the samples.
#[derive(Debug, Clone, PartialEq)]
pub struct InMemory<T = u8> {
    name: String,
    samples: Arc<Vec<T>>,
    labels: Vec<usize>,
    classes: Vec<String>,
    /// C, H, W.
    shape: [usize; 3],
}

impl<T: Pixel> InMemory<T> {
    /// `samples` is (N, C, H, W) with `shape` [C, H, W], bytes of 0 to 255 or `f32` of 0 to 1 (see
    /// [`Pixels`](super::Pixels)); `labels` is (N).
    ///
    /// # Errors
    /// [`Error::Config`] if C is 0, a side is 0 or above 4096, `samples` has not C · H · W entries
    /// per label or a label is not below the number of classes.
    pub fn new(
        samples: Vec<T>,
        shape: [usize; 3],
        labels: Vec<usize>,
        classes: Vec<String>,
    ) -> Result<InMemory<T>> {
        let [channels, height, width] = shape;
        let small = height <= MAX_SIDE && width <= MAX_SIDE;
        let Some(len) = samples_of(shape).filter(|_| small) else {
            return Err(Error::Config {
                field: "shape",
                value: format!("({channels}, {height}, {width})"),
                rule: "must be at least one channel and sides of 1 to 4096 pixels",
            });
        };
        if labels.len().checked_mul(len) != Some(samples.len()) {
            return Err(Error::Config {
                field: "images",
                value: format!(
                    "{} {} for {} labels of {channels} channels of {height}x{width} pixels",
                    samples.len(),
                    if size_of::<T>() == 1 { "bytes" } else { "numbers" },
                    labels.len()
                ),
                rule: "every label needs an image of C H W samples",
            });
        }
        if let Some(i) = labels.iter().position(|&label| label >= classes.len()) {
            return Err(Error::Config {
                field: "labels",
                value: format!("{} of image {i}, with {} classes", labels[i], classes.len()),
                rule: "a label must be below the number of classes",
            });
        }
        let (name, samples) = ("images".to_owned(), samples.into());
        Ok(InMemory { name, samples, labels, classes, shape })
    }

    /// A copy of `data`, whose images are all read, on all cores.
    ///
    /// # Errors
    /// The first error of reading an image or a label; [`Error::Config`] if the images have no one
    /// size or are not of type `T`, and those of [`new`](Self::new).
    pub fn read(data: &dyn Dataset) -> Result<InMemory<T>> {
        use rayon::prelude::*;
        let refuse = |value: String| Error::Config {
            field: "data set",
            value,
            rule: "all images must be of the set's size and channels and of one type",
        };
        let name = data.name();
        let [height, width] =
            data.size().ok_or_else(|| refuse(format!("{name}, of different sizes")))?;
        let shape = [data.channels(), height, width];
        let of = |index: usize| -> Result<(Vec<T>, usize)> {
            let image = data.image(index)?.into_layout(Layout::Chw);
            let fits = image.size() == [height, width] && image.channels() == shape[0];
            match T::samples(image.pixels()).filter(|_| fits) {
                Some(samples) => Ok((samples.to_vec(), data.label(index)?)),
                None => Err(refuse(format!("{name}, image {index}"))),
            }
        };
        let each: Vec<Result<_>> = (0..data.len()).into_par_iter().map(of).collect();
        let (samples, labels): (Vec<_>, Vec<_>) =
            each.into_iter().collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let copy = InMemory::new(samples.concat(), shape, labels, data.classes().to_vec())?;
        Ok(copy.with_name(name))
    }

    /// The same images under another [`name`](Dataset::name), which is `images` at first.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> InMemory<T> {
        self.name = name.into();
        self
    }

    fn image_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The samples of all images, (N, C, H, W).
    #[must_use]
    pub fn samples(&self) -> &[T] {
        &self.samples
    }

    /// The class of every image, (N).
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        &self.labels
    }

    /// [C, H, W].
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// A copy of the images in `range`, for a validation or a calibration set.
    ///
    /// # Errors
    /// [`Error::Config`] if the range does not lie within `0..N`.
    pub fn slice(&self, range: Range<usize>) -> Result<InMemory<T>> {
        let Some(labels) = self.labels.get(range.clone()) else {
            return Err(Error::Config {
                field: "range",
                value: format!("{range:?} of {} images", self.len()),
                rule: "must lie within the data set",
            });
        };
        let len = self.image_len();
        let samples = self.samples[range.start * len..range.end * len].to_vec().into();
        let (name, classes) = (self.name.clone(), self.classes.clone());
        Ok(InMemory { name, samples, labels: labels.to_vec(), classes, shape: self.shape })
    }

    /// The same images with the classes in the order of `names`; each keeps its class, whose label
    /// is then another number.
    ///
    /// # Errors
    /// [`Error::Config`] unless `names` has every class once, and nothing else.
    pub fn with_classes(&self, names: &[String]) -> Result<InMemory<T>> {
        let places = relabelling(&self.classes, names)?;
        let labels = self.labels.iter().map(|&label| places[label]).collect();
        Ok(InMemory { labels, classes: names.to_vec(), ..self.clone() })
    }
}

impl<T: Pixel> Dataset for InMemory<T> {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn channels(&self) -> usize {
        self.shape[0]
    }

    fn size(&self) -> Option<[usize; 2]> {
        Some([self.shape[1], self.shape[2]])
    }

    fn label(&self, index: usize) -> Result<usize> {
        self.labels.get(index).copied().ok_or_else(|| no_image(index, self.len()))
    }

    fn image(&self, index: usize) -> Result<Image<'_>> {
        let samples = self.samples.chunks_exact(self.image_len()).nth(index);
        let samples = samples.ok_or_else(|| no_image(index, self.len()))?;
        Image::new(T::pixels(samples), Layout::Chw, self.shape)
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn is_in_memory(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RGB: [usize; 3] = [3, 32, 32];
    const IMAGE_LEN: usize = 3072;

    fn names(n: usize) -> Vec<String> {
        (0..n).map(|i| i.to_string()).collect()
    }

    #[test]
    fn images_and_labels_must_match() {
        let error =
            InMemory::new(vec![0_u8; IMAGE_LEN], RGB, vec![0, 1], names(2)).expect_err("lengths");
        let parts = "3072 bytes for 2 labels of 3 channels of 32x32";
        assert!(error.to_string().contains(parts), "{error}");
        let wide = |[h, w]: [usize; 2]| {
            InMemory::new(vec![7_u8; 2 * 3 * 48 * 40], [3, h, w], vec![0, 1], names(2))
        };
        let data = wide([48, 40]).expect("two images");
        assert_eq!((data.len(), data.size()), (2, Some([48, 40])));
        assert_eq!(data.image(1).expect("in range").pixels().len(), 5760);
        assert_eq!(data.slice(1..2).expect("in range").samples().len(), 5760);
        for size in [[48, 41], [0, 40], [48, usize::MAX]] {
            assert!(wide(size).is_err(), "{size:?}");
        }
        let error = InMemory::new(vec![0_u8; 2 * IMAGE_LEN], RGB, vec![0, 2], names(2));
        let error = error.expect_err("label");
        assert!(error.to_string().contains("2 of image 1, with 2 classes"), "{error}");
    }

    #[test]
    fn slice_copies_the_images_of_its_labels() {
        let images = (0..4).flat_map(|i| vec![i as u8; IMAGE_LEN]).collect();
        let data = InMemory::new(images, RGB, vec![0, 1, 2, 3], names(4)).expect("valid");
        let middle = data.slice(1..3).expect("in range");
        assert_eq!(middle.labels(), [1, 2]);
        assert_eq!(middle.image(1).expect("in range").bytes().map(|image| image[0]), Some(2));
        assert!(middle.image(2).is_err() && middle.label(2).is_err());
        assert!(data.slice(3..5).is_err());
    }

    #[test]
    fn classes_in_another_order_are_the_same_images() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let before = names(&["cat", "dog", "eel"]);
        let source = InMemory::new(vec![0_u8; 4 * IMAGE_LEN], RGB, vec![2, 0, 1, 0], before);
        let source = source.expect("valid");
        let after = source.with_classes(&names(&["dog", "eel", "cat"])).expect("a permutation");
        assert_eq!(after.labels(), [1, 2, 0, 2]);
        assert_eq!(after.classes(), ["dog", "eel", "cat"]);
        for bad in [&["dog", "eel"][..], &["dog", "dog", "cat"], &["dog", "eel", "cat", "cat"]] {
            let message = source.with_classes(&names(bad)).expect_err("other names").to_string();
            assert!(message.contains("each once"), "{message}");
        }
    }

    #[test]
    fn a_copy_of_a_data_set_is_the_data_set() {
        let samples = (0..4 * 5 * 6 * 2).map(|i| i as f32 / 8.0).collect();
        let data = InMemory::new(samples, [2, 5, 6], vec![0, 1, 1, 0], names(2)).expect("valid");
        let data = data.with_name("ramps");
        assert_eq!(InMemory::<f32>::read(&data).expect("of one size"), data);
        let message = InMemory::<u8>::read(&data).expect_err("no bytes").to_string();
        assert!(message.contains("ramps, image 0"), "{message}");
    }
}
