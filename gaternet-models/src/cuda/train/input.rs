//! Input of a step: images of a data set on the device, or of the caller.

use std::cell::RefCell;
use std::sync::Arc;

use gaternet_core::Error as ModelError;
use gaternet_core::data::{Batch, MixupDraw, mixup};
use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::augment::{self, Augment, Images, Mix};
use gaternet_kernels::cuda::cross_entropy::Targets;
use gaternet_kernels::cuda::{Activation, Clock, CudaBuffer, CudaDevice, convert};

use crate::cuda::Result;

/// The images of a training.
#[derive(Debug, Clone)]
pub enum TrainImages {
    /// Images on the device, where they are augmented.
    Resident(Arc<Images>),
    /// This number of images elsewhere, of which each step is given a batch.
    Copied(usize),
}

impl From<Images> for TrainImages {
    fn from(images: Images) -> TrainImages {
        TrainImages::Resident(images.into())
    }
}

impl TrainImages {
    pub(super) fn len(&self) -> usize {
        match self {
            TrainImages::Resident(images) => images.len(),
            TrainImages::Copied(count) => *count,
        }
    }
}

/// The settings that all batch sizes share.
pub(super) struct Setup {
    pub(super) images: TrainImages,
    /// Augmentation of images on the device.
    pub(super) augment: Augment,
    /// Whether images are mixed in pairs (mixup).
    pub(super) mixup: bool,
    /// Shape (C, H, W) of an image.
    pub(super) shape: [usize; 3],
}

/// Images and labels of the batches of one size.
#[derive(Debug)]
pub(super) struct Input {
    source: Source,
    /// Labels (N) of the images.
    labels: RefCell<CudaBuffer<i32>>,
    /// Labels and fraction of mixed images.
    mixed: Option<Mixed>,
}

#[derive(Debug)]
struct Mixed {
    /// Labels (N) of the partners.
    labels: RefCell<CudaBuffer<i32>>,
    /// Fraction (1) of the image itself, the rest being its partner's.
    fraction: RefCell<CudaBuffer<f32>>,
}

#[derive(Debug)]
enum Source {
    Resident {
        images: Arc<Images>,
        augment: Augment,
        /// Numbers of the images of an epoch's batches.
        order: CudaBuffer<i32>,
        /// Numbers of the partners, and the fraction of each batch.
        mix: Option<(CudaBuffer<i32>, CudaBuffer<f32>)>,
    },
    Copied {
        /// Images (N, C, H, W) of the caller.
        images: CudaBuffer<f32>,
        planes: PlaneDims,
    },
}

impl Input {
    /// Makes the input for `batches` batches of `batch` images.
    pub(super) fn new(
        device: &CudaDevice,
        setup: &Setup,
        [batch, batches]: [usize; 2],
    ) -> Result<Input> {
        let [channels, height, width] = setup.shape;
        let source = match &setup.images {
            TrainImages::Resident(images) => {
                let partners = || CudaBuffer::zeros(device, batch * batches);
                let mix =
                    || -> Result<_> { Ok((partners()?, CudaBuffer::zeros(device, batches)?)) };
                Source::Resident {
                    images: images.clone(),
                    augment: setup.augment,
                    order: CudaBuffer::zeros(device, batch * batches)?,
                    mix: setup.mixup.then(mix).transpose()?,
                }
            }
            TrainImages::Copied(_) => {
                let planes = PlaneDims { batch, channels, plane: height * width };
                Source::Copied { images: CudaBuffer::zeros(device, planes.len())?, planes }
            }
        };
        let mixed = || -> Result<_> {
            let labels = CudaBuffer::zeros(device, batch)?.into();
            Ok(Mixed { labels, fraction: CudaBuffer::zeros(device, 1)?.into() })
        };
        Ok(Input {
            source,
            labels: CudaBuffer::zeros(device, batch)?.into(),
            mixed: setup.mixup.then(mixed).transpose()?,
        })
    }

    /// Whether each step is given its images.
    pub(super) fn is_copied(&self) -> bool {
        matches!(self.source, Source::Copied { .. })
    }

    /// Sets the images of the batches to come, the one of step `step` (of the clock) first, and
    /// their partners.
    pub(super) fn begin(&mut self, order: &[i32], draws: &[MixupDraw], step: u64) -> Result<()> {
        let batch = self.labels.borrow().len();
        let Source::Resident { order: on_device, mix, .. } = &mut self.source else {
            return refuse("images", "on the device", "a step gets its images by step_on");
        };
        let batches = order.len() / batch;
        // The kernel finds the place of a step modulo the number of batches.
        let first = (step % batches as u64) as usize;
        let mut rotated = order.to_vec();
        rotated.rotate_right(first * batch);
        on_device.copy_from_slice(&rotated)?;
        let Some((partners, fractions)) = mix else { return Ok(()) };
        let fits = |draw: &MixupDraw| {
            draw.partners.len() == batch && draw.partners.iter().all(|&partner| partner < batch)
        };
        if draws.len() != batches || !draws.iter().all(fits) {
            let value = format!("{} draws for {batches} batches of {batch}", draws.len());
            return refuse("mixup", value, "every image of every batch must have a partner in it");
        }
        let pairs = order.chunks(batch).zip(draws);
        let of_batch = |(own, draw): (&[i32], &MixupDraw)| -> Vec<i32> {
            draw.partners.iter().map(|&partner| own[partner]).collect()
        };
        let mut rotated: Vec<i32> = pairs.flat_map(of_batch).collect();
        rotated.rotate_right(first * batch);
        partners.copy_from_slice(&rotated)?;
        let mut rotated: Vec<f32> = draws.iter().map(|draw| draw.lambda).collect();
        rotated.rotate_right(first);
        Ok(fractions.copy_from_slice(&rotated)?)
    }

    /// Copies the images of the next step.
    pub(super) fn copy(
        &mut self,
        batch: &Batch,
        draw: Option<&MixupDraw>,
        classes: usize,
    ) -> Result<()> {
        let Source::Copied { images, .. } = &mut self.source else {
            return refuse("images", "of a step", "the images are on the device already");
        };
        let labels: Vec<i32> = batch.labels.iter().map(|&label| label as i32).collect();
        let wanted = self.mixed.is_some();
        if labels.iter().any(|label| !(0..classes as i32).contains(label))
            || wanted != draw.is_some()
        {
            let value = format!("{:?}, blended: {}", batch.labels, draw.is_some());
            return refuse("batch", value, "labels must be classes, and images blended or not");
        }
        self.labels.get_mut().copy_from_slice(&labels)?;
        if let (Some(Mixed { labels: partners, fraction }), Some(draw)) = (&mut self.mixed, draw) {
            let blended = mixup(batch, classes, draw)?;
            let other: Vec<i32> = draw.partners.iter().map(|&partner| labels[partner]).collect();
            partners.get_mut().copy_from_slice(&other)?;
            fraction.get_mut().copy_from_slice(&[draw.lambda])?;
            return Ok(images.copy_from_slice(blended.images.data())?);
        }
        Ok(images.copy_from_slice(batch.images.data())?)
    }

    /// Fills `batch` (N, P, S) and the labels.
    pub(super) fn load<T: Activation>(
        &self,
        clock: &Clock,
        batch: &mut CudaBuffer<T>,
    ) -> Result<()> {
        match &self.source {
            Source::Resident { images, augment, order, mix } => {
                let mut labels = self.labels.borrow_mut();
                let mixed = self.mixed.as_ref();
                let mut mixed = mixed.map(|m| (m.labels.borrow_mut(), m.fraction.borrow_mut()));
                let mix = mix.as_ref().zip(mixed.as_mut());
                let mix = mix.map(|((partners, fractions), (labels, fraction))| Mix {
                    partners,
                    fractions,
                    labels,
                    fraction,
                });
                Ok(augment::batch(augment, images, order, clock, batch, &mut labels, mix)?)
            }
            Source::Copied { images, planes } => Ok(convert::pack(*planes, images, batch)?),
        }
    }

    /// Calls `work` with the targets of the logits.
    pub(super) fn with_targets<R>(&self, work: impl FnOnce(Targets<'_>) -> R) -> R {
        let labels = self.labels.borrow();
        let mixed = self.mixed.as_ref().map(|m| (m.labels.borrow(), m.fraction.borrow()));
        let partners = mixed.as_ref().map(|(partners, fraction)| (&**partners, &**fraction));
        work(Targets { labels: &labels, partners })
    }
}

fn refuse<T>(field: &'static str, value: impl Into<String>, rule: &'static str) -> Result<T> {
    Err(ModelError::Config { field, value: value.into(), rule }.into())
}
