//! Data sets and augmentation of the processor, as far as a GPU can take them.

use gaternet_core::data;
use gaternet_kernels::cuda::CudaDevice;
use gaternet_kernels::cuda::augment::{Augment, Images};

use crate::cuda::error::{Result, unsupported};

/// Of an image that the kernel augments.
const MAX_CHANNELS: usize = 4;

/// Copies the images of a data set of bytes in memory, with their labels, to `device`.
///
/// # Errors
/// [`Error::Unsupported`](crate::cuda::Error::Unsupported) for image files and other data sets;
/// errors of the GPU.
pub fn images(device: &CudaDevice, source: &data::ImageSource) -> Result<Images> {
    use gaternet_kernels::cuda::CudaBuffer;
    let data::ImageSource::Memory(data) = source else {
        return unsupported("training on images that are not bytes in memory");
    };
    // Labels are below the number of classes, which have names in memory.
    let labels: Vec<i32> = data.labels().iter().map(|&label| label as i32).collect();
    let bytes = CudaBuffer::from_slice(device, data.samples())?;
    let labels = CudaBuffer::from_slice(device, &labels)?;
    let [channels, height, width] = data.shape();
    Ok(Images::new(bytes, labels, channels, [height, width])?)
}

/// The augmentation on a GPU that does the same as this one of the processor.
///
/// # Errors
/// [`Error::Unsupported`](crate::cuda::Error::Unsupported) if it resizes images, or they have more
/// than four channels.
pub fn augment(host: &data::Augment) -> Result<Augment> {
    if host.resized.is_some() {
        return unsupported("resizing images");
    }
    let data::Normalize { mean, std } = &host.normalize;
    if mean.len() > MAX_CHANNELS || mean.len() != std.len() {
        return unsupported("augmenting images of more than four channels");
    }
    let mut augment = Augment {
        crop_padding: host.crop_padding,
        reflect: host.padding_mode == data::PaddingMode::Reflect,
        flip: host.flip,
        cutout: host.cutout,
        mean: [0.0; MAX_CHANNELS],
        std: [1.0; MAX_CHANNELS],
    };
    augment.mean[..mean.len()].copy_from_slice(mean);
    augment.std[..std.len()].copy_from_slice(std);
    Ok(augment)
}
