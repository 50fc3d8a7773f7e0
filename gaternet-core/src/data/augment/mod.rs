//! Random crops, horizontal flip, normalisation, cutout.

mod pixels;
#[cfg(all(test, feature = "images"))]
mod resized_tests;
#[cfg(test)]
mod tests;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

pub use pixels::PaddingMode;
use pixels::{Crop, cut_out};

use super::dataset::no_image;
use super::image::sealed::Sample;
use super::normalize::misfit;
use super::resized_crop::ResizedCrop;
use super::{Dataset, Image, Layout, Normalize, Pixels, stream};
use crate::{Error, Result, Tensor, storage};

/// Samples of one task of the thread pool, where reading an image costs nothing: enough work to be
/// worth handing over.
const SAMPLES_PER_TASK: usize = 1 << 15;

/// Pixels of padding, below.
const MAX_PADDING: usize = 32;

/// What is done to an image on its way to the model:
///
/// 1. pad by `crop_padding` pixels of `padding_mode` on each side and crop as much as the image had
///    at a random place; or with `resized` (feature `images`), cut out a part and resize it,
/// 2. with `flip`, mirror left and right with probability 1/2,
/// 3. [`Normalize`]: `(x - mean) / std` per channel, with bytes on a scale of 0 to 1,
/// 4. cutout (DeVries & Taylor 2017, arXiv 1708.04552): set a square with a side of `cutout` pixels
///    to 0, the mean colour; its centre is anywhere in the image, so part of it may lie outside.
///
/// Images have any size and any number of channels, which is that of the normalisation.
///
/// The same order as torchvision's `RandomCrop(32, padding, padding_mode)` or `RandomResizedCrop`,
/// `RandomHorizontalFlip()`, `ToTensor()`, `Normalize(mean, std)` and the paper's
/// `Cutout(n_holes=1, length=cutout)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Augment {
    /// Images of any size to one; without, they stay as large as they are, and all have to be of
    /// the [size](Dataset::size) that their data set says. It takes the feature `images`.
    pub resized: Option<ResizedCrop>,
    /// Pixels of padding before the crop, below 32 and the sides of the images; 0 for no crop, and
    /// where images are resized.
    pub crop_padding: usize,
    /// What the padding shows, where black is the sample 0.
    pub padding_mode: PaddingMode,
    /// Whether to mirror half of the images.
    pub flip: bool,
    /// Side of the square that is cut out, in pixels (16 is usual on CIFAR-10, 8 on CIFAR-100); 0
    /// for none.
    pub cutout: usize,
    /// Mean and standard deviation of each channel.
    pub normalize: Normalize,
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
            normalize: Normalize::cifar10(),
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
            normalize: Normalize::imagenet(),
            ..Augment::eval()
        }
    }

    /// [H, W] of a batch of `data`, in pixels.
    ///
    /// # Errors
    /// [`Error::Config`] if `data` does not fit: it has another number of channels than the
    /// normalisation, the padding is as large as an image, or images of different sizes are not
    /// resized.
    pub fn output_size(&self, data: &dyn Dataset) -> Result<[usize; 2]> {
        self.normalize.check_channels(data.channels())?;
        if let Some(crop) = self.resized {
            return Ok([crop.size(); 2]);
        }
        let Some(size) = data.size() else {
            return Err(Error::Config {
                field: "resized",
                value: format!("none with {}, whose images differ in size", data.name()),
                rule: "must be a size to resize images to",
            });
        };
        if size.iter().any(|side| self.crop_padding >= *side) {
            let [height, width] = size;
            return Err(Error::Config {
                field: "crop_padding",
                value: format!("{} with images of {height}x{width}", self.crop_padding),
                rule: "must be below the sides of the images",
            });
        }
        Ok(size)
    }

    /// The images `indices` of `data`, read and augmented on all cores: (`indices.len()`, C, H, W)
    /// with H and W of [`output_size`](Self::output_size). Of an image file that is resized only
    /// the part that is taken may be decoded, and damage to the rest is not found.
    ///
    /// What happens to image `i` depends on `seed`, `epoch` and `i` only.
    ///
    /// # Errors
    /// Those of [`check`](Self::check) and [`output_size`](Self::output_size); [`Error::Config`] if
    /// an index is not below N; the error of the first of these images that cannot be read;
    /// [`Error::Field`] naming the file, or [`Error::Shape`], if an image has not the channels or,
    /// without `resized`, the size that `data` says.
    pub fn batch(
        &self,
        data: &dyn Dataset,
        indices: &[usize],
        seed: u64,
        epoch: u64,
    ) -> Result<Tensor> {
        self.check()?;
        if let Some(index) = indices.iter().find(|index| **index >= data.len()) {
            return Err(no_image(*index, data.len()));
        }
        let size @ [height, width] = self.output_size(data)?;
        let shape = [indices.len(), data.channels(), height, width];
        let len: usize = shape[1..].iter().product();
        let mut out = storage::take(indices.len() * len);
        let each = out.par_chunks_exact_mut(len).zip(indices).with_min_len(
            match data.is_in_memory() && self.resized.is_none() {
                true => SAMPLES_PER_TASK.div_ceil(len),
                false => 1,
            },
        );
        let results = each.map(|(out, &index)| {
            let rng = &mut stream(seed, epoch, index as u64);
            self.fill(data, index, rng, out)?;
            if self.cutout > 0 {
                let centre = size.map(|side| rng.random_range(0..side));
                cut_out(self.cutout, centre, size, out);
            }
            Ok(())
        });
        // The first error in the order of the images, whichever thread was first.
        results.collect::<Vec<Result<()>>>().into_iter().collect::<Result<()>>()?;
        Tensor::new(out, shape)
    }

    /// Images that are in no data set, as one batch: what a server does with those of its requests,
    /// where [`Normalize::batch`] does not resize. They are taken for image 0, 1, ... of epoch 0 of
    /// a data set under seed 0.
    ///
    /// # Errors
    /// Those of [`batch`](Self::batch); [`Error::Shape`] if there is no image.
    pub fn batch_of_images(&self, images: &[Image<'_>]) -> Result<Tensor> {
        let Some(first) = images.first() else {
            return Err(Error::Shape {
                op: "Augment::batch_of_images",
                rule: "there must be an image",
                got: "none".to_owned(),
            });
        };
        let same = images.iter().all(|image| image.size() == first.size());
        let loose = Loose { images, channels: first.channels(), size: same.then(|| first.size()) };
        self.batch(&loose, &(0..images.len()).collect::<Vec<_>>(), 0, 0)
    }

    /// Image `index` without cutout, (C, H, W).
    fn fill(
        &self,
        data: &dyn Dataset,
        index: usize,
        rng: &mut ChaCha8Rng,
        out: &mut [f32],
    ) -> Result<()> {
        #[cfg(feature = "images")]
        if let Some(crop) = self.resized {
            let image = crop.read(data, index, rng)?;
            self.normalize.write(&image, out);
            if self.flip && rng.random() {
                out.chunks_exact_mut(crop.size()).for_each(<[f32]>::reverse);
            }
            return Ok(());
        }
        let image = data.image(index)?;
        if Some(image.size()) != data.size() || image.channels() != data.channels() {
            return Err(misfit(data, index, &image));
        }
        let image = image.into_layout(Layout::Chw);
        let crop = Crop::sample(self.crop_padding, self.flip, rng);
        match image.pixels() {
            Pixels::U8(samples) => self.shift(crop, samples, image.size(), out),
            Pixels::F32(samples) => self.shift(crop, samples, image.size(), out),
        }
        Ok(())
    }

    /// `Err` unless every field is usable.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field: the padding is 32 or more, the normalisation is unusable
    /// ([`Normalize::check`]), or `resized` is out of range or beside a padding.
    pub fn check(&self) -> Result<()> {
        let fail = |field, value, rule| Err(Error::Config { field, value, rule });
        if self.crop_padding >= MAX_PADDING {
            return fail("crop_padding", self.crop_padding.to_string(), "must be below 32");
        }
        self.normalize.check()?;
        let Some(crop) = self.resized else { return Ok(()) };
        if self.crop_padding > 0 {
            let value = self.crop_padding.to_string();
            return fail("crop_padding", value, "must be 0 where images are resized");
        }
        if cfg!(not(feature = "images")) {
            let rule = "resizing takes the feature `images` of gaternet-core";
            return fail("resized", format!("{crop:?}"), rule);
        }
        crop.check()
    }

    /// `image` (C, H, W) of this size, cropped and normalised.
    fn shift<T: Sample>(
        &self,
        crop: Crop,
        image: &[T],
        [height, width]: [usize; 2],
        out: &mut [f32],
    ) {
        let len = height * width;
        let planes = image.chunks_exact(len).zip(out.chunks_exact_mut(len));
        for (channel, (plane, out)) in planes.enumerate() {
            let put = self.normalize.normaliser(channel);
            for (y, row) in out.chunks_exact_mut(width).enumerate() {
                crop.row(self.padding_mode, plane, y, row, &put);
            }
        }
    }
}

/// Images without labels.
struct Loose<'a> {
    images: &'a [Image<'a>],
    channels: usize,
    size: Option<[usize; 2]>,
}

impl Dataset for Loose<'_> {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn size(&self) -> Option<[usize; 2]> {
        self.size
    }

    fn label(&self, index: usize) -> Result<usize> {
        Err(no_image(index, 0))
    }

    fn image(&self, index: usize) -> Result<Image<'_>> {
        let image = self.images.get(index).map(Image::view);
        image.ok_or_else(|| no_image(index, self.len()))
    }

    fn is_in_memory(&self) -> bool {
        true
    }
}
