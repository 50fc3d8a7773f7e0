//! Images as normalised tensors.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::dataset::no_image;
use super::image::sealed::Sample;
use super::{Dataset, Image, Layout, Pixels};
use crate::{Error, Result, Tensor, storage};

/// `(x - mean) / std` for each channel, of samples on a scale of 0 to 1: torchvision's `Normalize`
/// after `ToTensor`.
///
/// A server needs no data set: it has the images, and the numbers from the metadata of its model.
///
/// ```
/// use gaternet_core::data::{Image, Layout, Normalize};
///
/// // From `Checkpoint::load(path)?.metadata`.
/// let metadata = [("mean", "[0.5, 0.5, 0.5]"), ("std", "[0.25, 0.25, 0.25]")];
/// let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
/// let normalize = Normalize::from_metadata(&metadata)?.expect("both entries");
/// let camera = vec![255; 48 * 64 * 3]; // H, W, C
/// let image = Image::new(camera, Layout::Hwc, [3, 48, 64])?;
/// let batch = normalize.batch(&[image])?;
/// assert_eq!(batch.dims(), [1, 3, 48, 64]);
/// assert_eq!(batch.data()[0], 2.0);
/// # Ok::<_, gaternet_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalize {
    /// Mean of each channel, on a scale of 0 to 1, (C).
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on a scale of 0 to 1, (C).
    pub std: Vec<f32>,
}

impl Normalize {
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn new(mean: impl Into<Vec<f32>>, std: impl Into<Vec<f32>>) -> Result<Normalize> {
        let normalize = Normalize { mean: mean.into(), std: std.into() };
        normalize.check()?;
        Ok(normalize)
    }

    /// The statistics of the training images of CIFAR-10.
    #[must_use]
    pub fn cifar10() -> Normalize {
        Normalize { mean: vec![0.4914, 0.4822, 0.4465], std: vec![0.2470, 0.2435, 0.2616] }
    }

    /// The statistics of ImageNet that torchvision's models are trained with.
    #[must_use]
    pub fn imagenet() -> Normalize {
        Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
    }

    /// Mean and standard deviation (of the population) of each channel over all samples of `data`,
    /// in f64, read on all cores. The result does not depend on the number of threads.
    ///
    /// # Errors
    /// The first error of reading an image; [`Error::Config`] if there is no image, or a channel is
    /// the same everywhere.
    pub fn of(data: &dyn Dataset) -> Result<Normalize> {
        let channels = data.channels();
        let of = |index: usize| -> Result<(usize, Vec<[f64; 2]>)> {
            let image = data.image(index)?;
            if image.channels() != channels {
                return Err(misfit(data, index, &image));
            }
            let sums = match image.pixels() {
                Pixels::U8(samples) => sums(samples, &image, |byte| f64::from(byte) / 255.0),
                Pixels::F32(samples) => sums(samples, &image, f64::from),
            };
            let [height, width] = image.size();
            Ok((height * width, sums))
        };
        // Collected before they are added: the order of a sum decides its rounding.
        let each: Vec<Result<_>> = (0..data.len()).into_par_iter().map(of).collect();
        let (mut count, mut totals) = (0, vec![[0.0; 2]; channels]);
        for image in each {
            let (pixels, sums) = image?;
            count += pixels;
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = [total[0] + sum[0], total[1] + sum[1]];
            }
        }
        let count = count.max(1) as f64;
        let mean = totals.iter().map(|[sum, _]| (sum / count) as f32);
        let variance = |[sum, squares]: &[f64; 2]| squares / count - (sum / count).powi(2);
        let std = totals.iter().map(|totals| variance(totals).max(0.0).sqrt() as f32);
        Normalize::new(mean.collect::<Vec<_>>(), std.collect::<Vec<_>>())
    }

    /// The entries `mean` and `std` of a checkpoint's metadata, lists of numbers as
    /// `[0.4914, 0.4822, 0.4465]`; `None` if it has neither.
    ///
    /// # Errors
    /// [`Error::Config`] if one is missing or is no such list, and those of [`check`](Self::check).
    pub fn from_metadata(metadata: &BTreeMap<String, String>) -> Result<Option<Normalize>> {
        let entry = |key: &'static str| -> Result<Option<Vec<f32>>> {
            let Some(text) = metadata.get(key) else { return Ok(None) };
            let list = serde_json::from_str(text);
            list.map(Some).map_err(|_| Error::Config {
                field: key,
                value: text.clone(),
                rule: "must be a list of numbers, one a channel",
            })
        };
        match (entry("mean")?, entry("std")?) {
            (None, None) => Ok(None),
            (mean, std) => {
                let [mean, std] = [mean, std].map(Option::unwrap_or_default);
                Normalize::new(mean, std).map(Some)
            }
        }
    }

    /// C, the number of channels.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.mean.len()
    }

    /// `Err` unless every number is usable.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field: there is no mean, there is not one standard deviation
    /// for each mean, a mean is not finite or a standard deviation is not a positive finite number.
    pub fn check(&self) -> Result<()> {
        let fail = |field, values: &[f32], rule| {
            Err(Error::Config { field, value: format!("{values:?}"), rule })
        };
        if self.mean.is_empty() || !self.mean.iter().all(|mean| mean.is_finite()) {
            return fail("mean", &self.mean, "must be finite");
        }
        if self.std.len() != self.mean.len() {
            return fail("std", &self.std, "must be as many as means");
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return fail("std", &self.std, "must be positive and finite");
        }
        Ok(())
    }

    /// `Err` unless images of so many channels can be normalised.
    pub(super) fn check_channels(&self, channels: usize) -> Result<()> {
        if self.channels() == channels {
            return Ok(());
        }
        Err(Error::Config {
            field: "mean",
            value: format!("{:?} with images of {channels} channels", self.mean),
            rule: "must have a number for each channel",
        })
    }

    /// The images as one batch, (N, C, H, W), without any augmentation; on all cores.
    ///
    /// # Errors
    /// [`Error::Config`] for numbers that [`check`](Self::check) refuses or of another count than
    /// channels; [`Error::Shape`] if there is no image, or not all have the size of the first.
    pub fn batch(&self, images: &[Image<'_>]) -> Result<Tensor> {
        self.check()?;
        let refuse = |got| Error::Shape {
            op: "Normalize::batch",
            rule: "there must be an image, and all must have the same size",
            got,
        };
        let Some(first) = images.first() else { return Err(refuse("none".to_owned())) };
        let [height, width] = first.size();
        for image in images {
            self.check_channels(image.channels())?;
            if image.size() != first.size() {
                let [other, across] = image.size();
                return Err(refuse(format!("{height}x{width} and {other}x{across} pixels")));
            }
        }
        let shape = [images.len(), self.channels(), height, width];
        let mut out = storage::take(shape.iter().product());
        let each = out.par_chunks_exact_mut(shape[1..].iter().product());
        each.zip(images).for_each(|(out, image)| self.write(image, out));
        Tensor::new(out, shape)
    }

    /// `image` as (C, H, W); it has the right number of channels.
    pub(super) fn write(&self, image: &Image<'_>, out: &mut [f32]) {
        match image.pixels() {
            Pixels::U8(samples) => self.write_samples(samples, image, out),
            Pixels::F32(samples) => self.write_samples(samples, image, out),
        }
    }

    fn write_samples<T: Sample>(&self, samples: &[T], image: &Image<'_>, out: &mut [f32]) {
        let plane = out.len() / self.channels();
        for (channel, out) in out.chunks_exact_mut(plane).enumerate() {
            let put = self.normaliser(channel);
            let channel = channel_of(samples, image.layout(), channel, self.channels());
            out.iter_mut().zip(channel).for_each(|(out, sample)| *out = put(sample));
        }
    }

    /// What becomes of each sample of a channel.
    pub(super) fn normaliser<T: Sample>(&self, channel: usize) -> impl Fn(T) -> f32 {
        T::normaliser(self.mean[channel], self.std[channel])
    }
}

/// The samples of a channel, row by row.
fn channel_of<T: Copy>(
    samples: &[T],
    layout: Layout,
    channel: usize,
    channels: usize,
) -> impl Iterator<Item = T> {
    let plane = samples.len() / channels;
    let (start, step, end) = match layout {
        Layout::Chw => (channel * plane, 1, (channel + 1) * plane),
        Layout::Hwc => (channel, channels, samples.len()),
    };
    samples[start..end].iter().step_by(step).copied()
}

/// The sum of the samples of each channel, and that of their squares.
fn sums<T: Copy>(samples: &[T], image: &Image<'_>, scale: impl Fn(T) -> f64) -> Vec<[f64; 2]> {
    let add = |[sum, squares]: [f64; 2], x: f64| [sum + x, squares + x * x];
    let channel = |channel| {
        let samples = channel_of(samples, image.layout(), channel, image.channels());
        samples.map(&scale).fold([0.0; 2], add)
    };
    (0..image.channels()).map(channel).collect()
}

/// An image that is not as its data set says.
pub(super) fn misfit(data: &dyn Dataset, index: usize, image: &Image<'_>) -> Error {
    if index >= data.len() {
        return no_image(index, data.len());
    }
    let size = |size: Option<[usize; 2]>| match size {
        Some([height, width]) => format!("{width}x{height}"),
        None => "any size".to_owned(),
    };
    let (channels, of) = (image.channels(), data.channels());
    let got = size(Some(image.size()));
    match data.path(index) {
        Some(path) if channels == of => Error::Field {
            path,
            field: "size".to_owned(),
            expected: format!("{} pixels, or a size to resize images to", size(data.size())),
            got,
        },
        _ => Error::Shape {
            op: "Dataset::image",
            rule: "an image must have the channels and the size that its data set says",
            got: format!(
                "{channels} channels of {got} for image {index}, which should have {of} of {}",
                size(data.size())
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::InMemory;
    use super::*;

    fn two_channels() -> Normalize {
        Normalize::new([0.5, 0.25], [0.5, 0.125]).expect("usable")
    }

    #[test]
    fn both_orders_and_both_types_give_the_same_tensor() {
        let bytes: Vec<u8> = (0..24).map(|i| i * 10).collect();
        let planes = Image::new(bytes.clone(), Layout::Chw, [2, 3, 4]).expect("24");
        let numbers: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        let numbers = Image::new(numbers, Layout::Chw, [2, 3, 4]).expect("24");
        let same = [
            planes.clone().into_layout(Layout::Hwc),
            planes,
            numbers.clone().into_layout(Layout::Hwc),
            numbers,
        ];
        let batch = two_channels().batch(&same).expect("of one size");
        assert_eq!(batch.dims(), [4, 2, 3, 4]);
        let (first, rest) = batch.data().split_at(24);
        assert!(rest.chunks(24).all(|image| image == first));
        assert_eq!(first[0], -1.0);
        assert_eq!(first[23], (230.0 / 255.0 - 0.25) / 0.125);
    }

    #[test]
    fn images_that_do_not_fit_each_other_or_the_numbers_are_errors() {
        let image = |shape: [usize; 3]| {
            Image::new(vec![0_u8; shape.iter().product()], Layout::Chw, shape).expect("fits")
        };
        let message =
            |images: &[Image<'_>]| two_channels().batch(images).expect_err("misfit").to_string();
        assert!(message(&[]).contains("got none"));
        let two = message(&[image([2, 3, 4]), image([2, 4, 3])]);
        assert!(two.contains("3x4 and 4x3"), "{two}");
        let grey = message(&[image([1, 3, 4])]);
        assert!(grey.contains("[0.5, 0.25] with images of 1 channels"), "{grey}");
    }

    #[test]
    fn statistics_are_those_of_all_samples_of_a_channel() {
        let samples = vec![0.0, 1.0, 5.0, 5.0, 2.0, 3.0, 7.0, 9.0_f32];
        let names = vec!["any".to_owned()];
        let data = InMemory::new(samples, [2, 1, 2], vec![0, 0], names.clone()).expect("valid");
        let of = Normalize::of(&data).expect("two images");
        // numpy: array([[0, 1, 2, 3], [5, 5, 7, 9]]).mean(1), .std(1)
        assert_eq!(of.mean, [1.5, 6.5]);
        assert!((of.std[0] - 1.118_034).abs() < 1e-6 && (of.std[1] - 1.658_312_4).abs() < 1e-6);
        let flat = InMemory::new(vec![9_u8; 4], [1, 2, 2], vec![0], names).expect("valid");
        let message = Normalize::of(&flat).expect_err("no deviation").to_string();
        assert!(message.contains("std = [0.0]: must be positive"), "{message}");
    }

    #[test]
    fn metadata_name_the_numbers_or_say_what_is_wrong() {
        let read = |entries: &[(&str, &str)]| {
            let own = |(key, text): &(&str, &str)| ((*key).to_owned(), (*text).to_owned());
            Normalize::from_metadata(&entries.iter().map(own).collect())
        };
        assert_eq!(read(&[("data", "cifar10")]).expect("nothing said"), None);
        let both = read(&[("mean", "[0.5,0.25]"), ("std", "[0.5, 0.125]")]);
        assert_eq!(both.expect("lists"), Some(two_channels()));
        for (entries, part) in [
            (&[("mean", "[0.5]")][..], "std = []: must be as many"),
            (&[("mean", "none"), ("std", "[1]")], "mean = none: must be a list"),
            (&[("mean", "[0, 0]"), ("std", "[1]")], "std = [1.0]: must be as many"),
            (&[("std", "[1]")], "mean = []"),
        ] {
            let message = read(entries).expect_err(part).to_string();
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
    }
}
