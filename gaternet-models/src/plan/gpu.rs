//! A plan on a GPU, for calls from any thread.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use gaternet_core::{Error, Result};
use gaternet_kernels::cuda::augment::{Augment, Images};
use gaternet_kernels::cuda::{Activation, CudaDevice};

use super::OP;
use super::options::PlanOptions;
use super::pass::Pass;
use crate::cuda::{self, CudaPlan};
use crate::files::model::Model;
use crate::program::finite;

/// A plan of the GPU behind a lock, which runs one call after the other.
pub(super) struct Gpu<T> {
    plan: Mutex<CudaPlan<T>>,
    batch: usize,
    /// Shape (C, H, W) of an image.
    image: [usize; 3],
    classes: usize,
    gates: usize,
}

impl<T: Activation> Gpu<T> {
    pub(super) fn new(device: &CudaDevice, model: &Model, options: PlanOptions) -> Result<Gpu<T>> {
        let PlanOptions { size, batch, .. } = options;
        let plan = CudaPlan::new(device, model, size, batch)?;
        let (classes, gates) = (plan.classes(), plan.gate_count());
        let image = [model.in_channels(), size[0], size[1]];
        Ok(Gpu { plan: plan.into(), batch, image, classes, gates })
    }

    fn lock(&self) -> MutexGuard<'_, CudaPlan<T>> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Gpu<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).fmt(f)
    }
}

impl<T: Activation> Pass for Gpu<T> {
    fn image(&self) -> [usize; 3] {
        self.image
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn gate_count(&self) -> usize {
        self.gates
    }

    fn run(&self, images: &[f32], logits: &mut [f32]) -> Result<()> {
        let count = logits.len() / self.classes.max(1);
        self.run_with_decisions(images, logits, &mut vec![0.0; count * self.gates])
    }

    fn run_with_decisions(
        &self,
        images: &[f32],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()> {
        let len = self.image.iter().product::<usize>();
        let count = images.len() / len;
        let lengths = [images.len(), logits.len(), gates.len()];
        if lengths != [len, self.classes, self.gates].map(|width| count * width) {
            let got = format!("{lengths:?} values for images of {:?}", self.image);
            let rule = "images, logits and gates must be of N images";
            return Err(Error::Shape { op: OP, rule, got });
        }
        let bad = finite::bad_images(images, len);
        let mut plan = self.lock();
        for first in (0..count).step_by(self.batch) {
            let part = first..(first + self.batch).min(count);
            let of = |width: usize| part.start * width..part.end * width;
            plan.run(&images[of(len)], &mut logits[of(self.classes)], &mut gates[of(self.gates)])?;
        }
        bad.iter().for_each(|n| logits[n * self.classes..(n + 1) * self.classes].fill(f32::NAN));
        finite::check(OP, &bad)
    }

    fn run_on(
        &self,
        (images, augment): (&Images, &Augment),
        numbers: &[usize],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()> {
        Ok(self.lock().run_on(images, augment, numbers, logits, gates)?)
    }
}

impl From<cuda::Error> for Error {
    fn from(error: cuda::Error) -> Error {
        match error {
            cuda::Error::Model(error) => error,
            error => Error::Device(Box::new(error)),
        }
    }
}
