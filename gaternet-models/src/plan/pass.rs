//! The trait of the plans of all devices.

use std::fmt;

#[cfg(feature = "cuda")]
use gaternet_core::Error;
use gaternet_core::Result;
#[cfg(feature = "cuda")]
use gaternet_kernels::cuda::augment::{Augment, Images};

/// A plan of some device.
pub(super) trait Pass: fmt::Debug + Send + Sync {
    /// Shape (C, H, W) of an image.
    fn image(&self) -> [usize; 3];

    fn classes(&self) -> usize;

    fn gate_count(&self) -> usize;

    fn run(&self, images: &[f32], logits: &mut [f32]) -> Result<()>;

    fn run_with_decisions(
        &self,
        images: &[f32],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()>;

    #[cfg(feature = "cuda")]
    fn run_on(
        &self,
        _: (&Images, &Augment),
        _: &[usize],
        _: &mut [f32],
        _: &mut [f32],
    ) -> Result<()> {
        let rule = "must be on the GPU, as the images are";
        Err(Error::Config { field: "plan", value: "CPU".to_owned(), rule })
    }
}
