//! Images and how they reach a model. A [`Dataset`] has them: images [`InMemory`], [`Cifar`] from
//! disk, [`synthetic`] ones from a seed, a folder of image files (with the feature `images`), or a
//! type of yours. [`Augment`] turns them into normalised tensors; [`Loader`] prepares shuffled
//! batches in the background, and [`Mixup`] blends them. A server needs [`Normalize`] and
//! [`top_k`].
//!
//! Everything random here is a function of a seed, an epoch and the index of an image: it does not
//! depend on the number of threads, and an interrupted run that resumes at an epoch sees the same
//! batches.

mod augment;
mod cifar;
mod dataset;
#[cfg(feature = "images")]
mod decode;
mod image;
#[cfg(feature = "images")]
mod image_check;
#[cfg(feature = "images")]
mod image_folder;
mod image_source;
mod in_memory;
mod loader;
mod mixup;
mod normalize;
#[cfg(feature = "images")]
mod resize;
mod resized_crop;
mod shapes;
mod subset;
mod synthetic;
mod top_k;

pub use augment::{Augment, PaddingMode};
pub use cifar::Cifar;
pub use dataset::{Dataset, bad_images};
pub use image::{Image, Layout, Pixel, Pixels};
#[cfg(feature = "images")]
pub use image_check::BadImage;
#[cfg(feature = "images")]
pub use image_folder::ImageFolder;
pub use image_source::ImageSource;
pub use in_memory::InMemory;
pub use loader::{Batch, Batches, Loader, LoaderConfig};
pub use mixup::{MixedBatch, Mixup, MixupDraw, mixup};
pub use normalize::Normalize;
pub use resized_crop::ResizedCrop;
pub use subset::Subset;
pub use synthetic::{SYNTHETIC, synthetic};
pub use top_k::{Prediction, top_k};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The random stream `index` of epoch `epoch` under `seed`.
fn stream(seed: u64, epoch: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&epoch.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}
