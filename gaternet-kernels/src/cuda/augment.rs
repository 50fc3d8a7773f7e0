//! Batches of augmented images from a data set of bytes that stays on the device.

use bytemuck::NoUninit;

use super::buffer::CudaBuffer;
use super::clock::Clock;
use super::error::Result;
use super::launch::{Launch, address, grid_yz, int};
use super::layout::stride;
use super::planes::{Activation, ForBoth, for_both};
use super::source::{Source, source};
use crate::dims::checked_len;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("augment.cu", ["plane.cuh", "random.cuh", "dev.cuh"]);
static BATCH: ForBoth = for_both!(&SOURCE, "augment_batch");
const THREADS: u32 = 256;
/// The most channels that augment.cu can do.
const MAX_CHANNELS: usize = 4;
const OP: &str = "augment";

/// A data set of images of one size in device memory, with their labels.
#[derive(Debug)]
pub struct Images {
    bytes: CudaBuffer<u8>,
    labels: CudaBuffer<i32>,
    channels: usize,
    size: [usize; 2],
}

impl Images {
    /// Makes a data set of M images: `bytes` is (M, C, H, W) with C = `channels` from 1 to 4 and
    /// (H, W) = `size`, `labels` is (M).
    ///
    /// # Errors
    /// [`KernelError`] if there is no image or pixel, there are more channels, or the lengths do
    /// not fit.
    pub fn new(
        bytes: CudaBuffer<u8>,
        labels: CudaBuffer<i32>,
        channels: usize,
        size: [usize; 2],
    ) -> Result<Images, KernelError> {
        let len = checked_len(OP, &[labels.len(), channels, size[0], size[1]])?;
        if len == 0 || channels > MAX_CHANNELS {
            let rule = "there must be an image, a pixel and 1 to 4 channels";
            let got = format!("{} images of {channels} channels of {size:?}", labels.len());
            return Err(KernelError::Dims { op: OP, rule, got });
        }
        check_len(OP, "bytes", len, bytes.len())?;
        Ok(Images { bytes, labels, channels, size })
    }

    /// Returns the number of images, M.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether there is no image, which is never so.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// The random changes to each image of a batch, in this order: pad by `crop_padding` and crop at a
/// random place, mirror left and right with probability 1/2 (`flip`), `(x/255 - mean)/std`, set a
/// square with a side of `cutout` pixels around a random pixel to 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Augment {
    /// Width of the padding in pixels, less than height and width; 0 does not crop.
    pub crop_padding: usize,
    /// Whether the padding mirrors the image at its outermost pixels; otherwise it is black.
    pub reflect: bool,
    /// Whether to mirror half of the images.
    pub flip: bool,
    /// Side of the square in pixels; 0 cuts nothing out.
    pub cutout: usize,
    /// The mean of each channel on a scale of 0 to 1; entries beyond the channels are not used.
    pub mean: [f32; MAX_CHANNELS],
    /// The standard deviation of each channel on a scale of 0 to 1; entries beyond the channels are
    /// not used.
    pub std: [f32; MAX_CHANNELS],
}

/// Mixup: how each image is blended with another of its batch.
#[derive(Debug)]
pub struct Mix<'a> {
    /// The number of the image that is blended into the one at the same place of the order; as long
    /// as the order.
    pub partners: &'a CudaBuffer<i32>,
    /// The fraction of the image itself in the blend, one for each batch of the order.
    pub fractions: &'a CudaBuffer<f32>,
    /// (N), which gets the labels of the partners.
    pub labels: &'a mut CudaBuffer<i32>,
    /// (1), which gets the fraction of this batch.
    pub fraction: &'a mut CudaBuffer<f32>,
}

/// Fills `batch`, dense (N, H·W, stride(C)), and its `labels` (N).
///
/// At step s the images are `order[(s mod (len/N))·N ..][..N]`; with `mix` each is
/// `fraction·x + (1 - fraction)·y` of image x and partner y. What happens to an image depends on
/// the clock's seed and step and its number only. A number that is not below M gives NaN and the
/// label -1.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit, `order` is not a positive number of batches, or
/// `augment` is not possible for these images; the driver's errors.
pub fn batch<T: Activation>(
    augment: &Augment,
    images: &Images,
    order: &CudaBuffer<i32>,
    clock: &Clock,
    batch: &mut CudaBuffer<T>,
    labels: &mut CudaBuffer<i32>,
    mix: Option<Mix<'_>>,
) -> Result<()> {
    let fail = |rule, got| Err(KernelError::Dims { op: OP, rule, got }.into());
    let n = labels.len();
    let [height, width] = images.size;
    if order.is_empty() || order.len().checked_rem(n) != Some(0) {
        let got = format!("{} places for batches of {n}", order.len());
        return fail("the order must be a positive number of batches", got);
    }
    if augment.crop_padding >= height.min(width) {
        let got = format!("{} for {:?}", augment.crop_padding, images.size);
        return fail("the padding must be below height and width", got);
    }
    let used = augment.mean.iter().zip(&augment.std).take(images.channels);
    if !used.into_iter().all(|(mean, std)| mean.is_finite() && std.is_finite() && *std > 0.0) {
        let got = format!("mean {:?}, std {:?}", augment.mean, augment.std);
        return fail("means must be finite, standard deviations positive and finite", got);
    }
    let pixels = height * width;
    let channel_stride = stride(images.channels);
    check_len(OP, "batch", n * pixels * channel_stride, batch.len())?;
    if let Some(mix) = &mix {
        check_len(OP, "partners", order.len(), mix.partners.len())?;
        check_len(OP, "fractions", order.len() / n, mix.fractions.len())?;
        check_len(OP, "labels of partners", n, mix.labels.len())?;
        check_len(OP, "fraction", 1, mix.fraction.len())?;
    }
    // A larger square covers the same.
    let cutout = augment.cutout.min(2 * height.max(width));
    let options = Options {
        batch: int(OP, "batch", n)?,
        order: int(OP, "order", order.len())?,
        images: int(OP, "images", images.len())?,
        channels: int(OP, "channels", images.channels)?,
        size: [int(OP, "height", height)?, int(OP, "width", width)?],
        stride: int(OP, "channels", channel_stride)?,
        padding: int(OP, "padding", augment.crop_padding)?,
        reflect: i32::from(augment.reflect),
        flip: i32::from(augment.flip),
        cutout: int(OP, "cutout", cutout)?,
        mean: augment.mean,
        std: augment.std,
    };
    int(OP, "pixels", pixels)?;
    let grid = [pixels.div_ceil(THREADS as usize) as u32, grid_yz(OP, "images", n)?, 1];
    let device = &batch.device().clone();
    let mix = mix.as_ref();
    let (partners, fractions) = (mix.map(|mix| mix.partners), mix.map(|mix| mix.fractions));
    let (mixed, fraction) = (mix.map(|mix| &*mix.labels), mix.map(|mix| &*mix.fraction));
    // Mirrors `Mix` of augment.cu.
    let raw = [address(partners), address(fractions), address(mixed), address(fraction)];
    let launch = Launch::new(device, BATCH.of::<T>())?
        .uses(partners)
        .uses(fractions)
        .uses(mixed)
        .uses(fraction)
        .read(&images.bytes)
        .read(&images.labels)
        .read(order)
        .read(&clock.state)
        .write(batch)
        .write(labels)
        .value(&raw)
        .value(&options);
    // SAFETY: the parameters of augment_batch; the lengths are checked, and numbers of images are
    // before they are used.
    unsafe { launch.run(grid, THREADS, 0) }
}

/// Mirrors `Options` of augment.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Options {
    batch: i32,
    order: i32,
    images: i32,
    channels: i32,
    size: [i32; 2],
    stride: i32,
    padding: i32,
    reflect: i32,
    flip: i32,
    cutout: i32,
    mean: [f32; MAX_CHANNELS],
    std: [f32; MAX_CHANNELS],
}
