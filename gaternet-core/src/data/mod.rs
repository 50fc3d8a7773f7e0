//! Images and how they reach a model: [`Cifar`] from disk or [`synthetic`] from a seed, both as a
//! [`Dataset`] of bytes, or an [`ImageFolder`] of files; [`Augment`] turns them into normalised tensors;
//! [`Loader`] prepares shuffled batches in the background, and [`Mixup`] blends them.
//!
//! Everything random here is a function of a seed, an epoch and the index of an image: it does not
//! depend on the number of threads, and an interrupted run that resumes at an epoch sees the same
//! batches.

mod augment;
mod cifar;
mod dataset;
mod decode;
mod image_check;
mod image_folder;
mod image_source;
mod loader;
mod mixup;
mod resized_crop;
mod shapes;
mod synthetic;

pub use augment::{Augment, PaddingMode};
pub use cifar::Cifar;
pub use dataset::{CHANNELS, Dataset, IMAGE_LEN, SIDE};
pub use image_check::BadImage;
pub use image_folder::ImageFolder;
pub use image_source::ImageSource;
pub use loader::{Batch, Batches, Loader, LoaderConfig};
pub use mixup::{MixedBatch, Mixup, MixupDraw, mixup};
pub use resized_crop::ResizedCrop;
pub use synthetic::synthetic;

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
