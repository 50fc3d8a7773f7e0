//! Random crops, horizontal flip, normalisation, cutout.

mod pixels;
#[cfg(test)]
mod tests;

use std::array;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use pixels::PaddingMode;
use pixels::{Crop, cut_out};

use super::dataset::{CHANNELS, Dataset, SIDE};
use super::decode::{Encoded, Rgb};
use super::image_folder::ImageFolder;
use super::resized_crop::ResizedCrop;
use super::stream;
use crate::{Error, Result, Tensor, storage};

/// Images of one task of the thread pool: enough work to be worth handing over.
const IMAGES_PER_TASK: usize = 16;

/// Pixels of padding, below.
const MAX_PADDING: usize = 32;

/// What is done to an image on its way to the model:
///
/// 1. pad by `crop_padding` pixels of `padding_mode` on each side and crop as much as the image had
///    at a random place; or with `resized`, cut out a part and resize it,
/// 2. with `flip`, mirror left and right with probability 1/2,
/// 3. normalise: `(x / 255 - mean) / std` per channel,
/// 4. cutout (DeVries & Taylor 2017, arXiv 1708.04552): set a square with a side of `cutout` pixels
///    to 0, the mean colour; its centre is anywhere in the image, so part of it may lie outside.
///
/// The same order as torchvision's `RandomCrop(32, padding, padding_mode)` or `RandomResizedCrop`,
/// `RandomHorizontalFlip()`, `ToTensor()`, `Normalize(mean, std)` and the paper's
/// `Cutout(n_holes=1, length=cutout)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Images of any size to one; without, they stay as large as they are, and files have to be
    /// 32x32.
    pub resized: Option<ResizedCrop>,
    /// Pixels of padding before the crop, below 32 and the sides of the images; 0 for no crop. With
    /// `resized`, 0.
    pub crop_padding: usize,
    /// What the padding shows.
    pub padding_mode: PaddingMode,
    /// Whether to mirror half of the images.
    pub flip: bool,
    /// Side of the square that is cut out, in pixels (16 is usual on CIFAR-10, 8 on CIFAR-100); 0
    /// for none.
    pub cutout: usize,
    /// Mean of each channel, on a scale of 0 to 1.
    pub mean: [f32; CHANNELS],
    /// Standard deviation of each channel, on a scale of 0 to 1.
    pub std: [f32; CHANNELS],
}

impl Augment {
    /// The usual training augmentation of CIFAR: 4 pixels of padding, flips.
    #[must_use]
    pub fn train() -> Augment {
        Augment { crop_padding: 4, flip: true, ..Augment::eval() }
    }

    /// Nothing but the normalisation with the statistics of CIFAR-10.
    #[must_use]
    pub fn eval() -> Augment {
        Augment {
            resized: None,
            crop_padding: 0,
            padding_mode: PaddingMode::Constant,
            flip: false,
            cutout: 0,
            mean: [0.4914, 0.4822, 0.4465],
            std: [0.2470, 0.2435, 0.2616],
        }
    }

    /// The usual training augmentation of ImageNet, for models that see `size` x `size` pixels:
    /// random parts of at least 8 % of an image, flips.
    #[must_use]
    pub fn train_resized(size: usize) -> Augment {
        let resized = Some(ResizedCrop::Random { size, scale: [0.08, 1.0] });
        Augment { resized, flip: true, ..Augment::eval_resized(size) }
    }

    /// The middle `size` x `size` pixels of images whose shorter side is resized to 8/7 of that
    /// (256 for 224), and the normalisation with the statistics of ImageNet.
    #[must_use]
    pub fn eval_resized(size: usize) -> Augment {
        let resize = (size as f64 * 8.0 / 7.0).round() as usize;
        Augment {
            resized: Some(ResizedCrop::Center { size, resize }),
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            ..Augment::eval()
        }
    }

    /// Side of the images that come out, in pixels: without [`resized`](Self::resized) that of
    /// CIFAR.
    #[must_use]
    pub fn side(&self) -> usize {
        self.resized.map_or(SIDE, ResizedCrop::size)
    }

    /// [H, W] of what comes out of images that are in memory with this size, in pixels.
    #[must_use]
    pub fn size_of(&self, size: [usize; 2]) -> [usize; 2] {
        self.resized.map_or(size, |crop| [crop.size(); 2])
    }

    /// The images `indices` of `data`, augmented on all cores: (`indices.len()`, 3, H, W), as large
    /// as those of `data` or with `resized` of its size.
    ///
    /// What happens to image `i` depends on `seed`, `epoch` and `i` only.
    ///
    /// # Errors
    /// [`Error::Config`] if an index is not below N, the padding is 32 or more or as large as an
    /// image, a mean is not finite, a standard deviation is not a positive finite number or
    /// `resized` is out of range.
    pub fn batch(
        &self,
        data: &Dataset,
        indices: &[usize],
        seed: u64,
        epoch: u64,
    ) -> Result<Tensor> {
        let images = self.each(indices, data.len(), |index| data.image(index))?;
        let size = data.size();
        self.check_padding(size)?;
        let tasks = (IMAGES_PER_TASK, self.size_of(size));
        self.tensor(indices, &images, tasks, [seed, epoch], |image, rng, out| {
            match self.resized {
                Some(crop) => {
                    let [height, width] = size;
                    let view = |view| Ok(Rgb::from_planes(image, size, view));
                    let pixels = crop.apply([width, height], rng, view)?;
                    self.put(&pixels, crop.size(), rng, out);
                }
                None => self.shift(image, size, rng, out),
            }
            Ok(())
        })
    }

    /// The same of files, which are decoded on all cores; of a JPEG only the rows down to the end
    /// of the part that `resized` takes, so damage to the data below is not found.
    ///
    /// # Errors
    /// Those of [`batch`](Self::batch); and of the first of these files that cannot be read, is no
    /// whole image of a kind that [`ImageFolder`] lists, or without `resized` is not 32x32:
    /// [`Error::Io`] or [`Error::Field`], naming it.
    pub fn batch_of_files(
        &self,
        data: &ImageFolder,
        indices: &[usize],
        seed: u64,
        epoch: u64,
    ) -> Result<Tensor> {
        let paths = self.each(indices, data.len(), |index| data.path(index))?;
        let size = [SIDE; 2];
        self.check_padding(size)?;
        self.tensor(indices, &paths, (1, self.size_of(size)), [seed, epoch], |path, rng, out| {
            if let Some(crop) = self.resized {
                let file = Encoded::open(path)?;
                let pixels = crop.apply(file.size(), rng, |view| file.decode(view))?;
                self.put(&pixels, crop.size(), rng, out);
                return Ok(());
            }
            let image = Rgb::decode(path)?;
            if [image.height, image.width] != size {
                return Err(Error::Field {
                    path: path.clone(),
                    field: "size".to_owned(),
                    expected: "32x32 pixels, or a size to resize images to".to_owned(),
                    got: format!("{}x{}", image.width, image.height),
                });
            }
            self.shift(&image.planes(), size, rng, out);
            Ok(())
        })
    }

    /// The images at `indices` of `len`.
    fn each<I>(
        &self,
        indices: &[usize],
        len: usize,
        image: impl Fn(usize) -> Option<I>,
    ) -> Result<Vec<I>> {
        self.check()?;
        let images = indices.iter().map(|&index| image(index).ok_or(index));
        images.collect::<Result<_, _>>().map_err(|index| Error::Config {
            field: "indices",
            value: format!("{index} of {len} images"),
            rule: "must be below the number of images",
        })
    }

    /// Fills (N, 3, H, W) on all cores, `at_least` images a task; `fill` gets an image and its
    /// random stream under [seed, epoch].
    fn tensor<I: Sync>(
        &self,
        indices: &[usize],
        images: &[I],
        (at_least, size): (usize, [usize; 2]),
        [seed, epoch]: [u64; 2],
        fill: impl Fn(&I, &mut ChaCha8Rng, &mut [f32]) -> Result<()> + Sync,
    ) -> Result<Tensor> {
        let [height, width] = size;
        let len = CHANNELS * height * width;
        let mut out = storage::take(images.len() * len);
        let results =
            out.par_chunks_exact_mut(len).zip(images).zip(indices).with_min_len(at_least).map(
                |((out, image), &index)| {
                    let rng = &mut stream(seed, epoch, index as u64);
                    fill(image, rng, out)?;
                    if self.cutout > 0 {
                        let centre = size.map(|side| rng.random_range(0..side));
                        cut_out(self.cutout, centre, size, out);
                    }
                    Ok(())
                },
            );
        // The first error in the order of the images, whichever thread was first.
        results.collect::<Vec<Result<()>>>().into_iter().collect::<Result<()>>()?;
        Tensor::new(out, [indices.len(), CHANNELS, height, width])
    }

    /// `Err` unless every field is usable.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field: the padding is 32 or more, a mean is not finite, a
    /// standard deviation is not a positive finite number, or `resized` is out of range or beside a
    /// padding.
    pub fn check(&self) -> Result<()> {
        let fail = |field, value, rule| Err(Error::Config { field, value, rule });
        if self.crop_padding >= MAX_PADDING {
            return fail("crop_padding", self.crop_padding.to_string(), "must be below 32");
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return fail("mean", format!("{:?}", self.mean), "must be finite");
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return fail("std", format!("{:?}", self.std), "must be positive and finite");
        }
        if self.resized.is_some() && self.crop_padding > 0 {
            let value = self.crop_padding.to_string();
            return fail("crop_padding", value, "must be 0 where images are resized");
        }
        self.resized.map_or(Ok(()), ResizedCrop::check)
    }

    /// Images of `size` have to be larger than the padding.
    pub(super) fn check_padding(&self, size: [usize; 2]) -> Result<()> {
        if size.iter().any(|side| self.crop_padding >= *side) {
            let [height, width] = size;
            return Err(Error::Config {
                field: "crop_padding",
                value: format!("{} with images of {height}x{width}", self.crop_padding),
                rule: "must be below the sides of the images",
            });
        }
        Ok(())
    }

    /// `image` (3, H, W) of `size`.
    fn shift(&self, image: &[u8], size: [usize; 2], rng: &mut ChaCha8Rng, out: &mut [f32]) {
        self.apply(Crop::sample(self, rng), image, size, out);
    }

    /// `pixels` (side, side, 3).
    fn put(&self, pixels: &[u8], side: usize, rng: &mut ChaCha8Rng, out: &mut [f32]) {
        let flip = self.flip && rng.random();
        for (channel, plane) in out.chunks_exact_mut(side * side).enumerate() {
            let levels = self.levels(channel);
            let rows = pixels.chunks_exact(CHANNELS * side).zip(plane.chunks_exact_mut(side));
            for (pixels, row) in rows {
                for (out, pixel) in row.iter_mut().zip(pixels.as_chunks::<CHANNELS>().0) {
                    *out = levels[usize::from(pixel[channel])];
                }
                if flip {
                    row.reverse();
                }
            }
        }
    }

    /// What becomes of each byte of a channel.
    fn levels(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std)
    }

    fn apply(&self, crop: Crop, image: &[u8], [height, width]: [usize; 2], out: &mut [f32]) {
        let len = height * width;
        let planes = image.chunks_exact(len).zip(out.chunks_exact_mut(len));
        for (channel, (plane, out)) in planes.enumerate() {
            let levels = self.levels(channel);
            for (y, row) in out.chunks_exact_mut(width).enumerate() {
                let normalised = |pixel| levels[usize::from(pixel)];
                crop.row(self.padding_mode, plane, y, row, normalised);
            }
        }
    }
}
