//! What a GPU can take of the data sets and the augmentation of the processor.

use gaternet_core::data;
use gaternet_kernels::cuda::CudaDevice;
use gaternet_kernels::cuda::augment::{Augment, Images};

use crate::cuda::error::{Result, unsupported};

/// The images of a data set in memory, with their labels, on `device`.
///
/// # Errors
/// [`Error::Unsupported`](super::Error::Unsupported) for image files; the GPU's errors.
pub fn images(device: &CudaDevice, source: &data::ImageSource) -> Result<Images> {
    use gaternet_kernels::cuda::CudaBuffer;
    let data::ImageSource::Memory(data) = source else {
        return unsupported("training on image files");
    };
    // Labels are below the number of classes, which have names in memory.
    let labels: Vec<i32> = data.labels().iter().map(|&label| label as i32).collect();
    let bytes = CudaBuffer::from_slice(device, data.bytes())?;
    let labels = CudaBuffer::from_slice(device, &labels)?;
    Ok(Images::new(bytes, labels, data::CHANNELS, data.size())?)
}

/// What a GPU can do of this augmentation.
///
/// # Errors
/// [`Error::Unsupported`](super::Error::Unsupported) if it resizes images.
pub fn augment(host: &data::Augment) -> Result<Augment> {
    if host.resized.is_some() {
        return unsupported("resizing images");
    }
    let mut augment = Augment {
        crop_padding: host.crop_padding,
        reflect: host.padding_mode == data::PaddingMode::Reflect,
        flip: host.flip,
        cutout: host.cutout,
        mean: [0.0; 4],
        std: [1.0; 4],
    };
    augment.mean[..data::CHANNELS].copy_from_slice(&host.mean);
    augment.std[..data::CHANNELS].copy_from_slice(&host.std);
    Ok(augment)
}
