//! Training on a GPU: whether a model can be, and the steps of its epochs.

use std::ops::ControlFlow;

use gaternet_core::Ctx;
use gaternet_core::data::{Augment, Dataset, MixupDraw};
use gaternet_core::nn::Module;
use gaternet_core::optim::{Ema, Schedule, Sgd};
use gaternet_kernels::cuda::{Activation, CudaDevice, bf16};

use super::data::fits_on_gpu;
use super::error::Result;
use super::gpu_state::{Gpu, Trainer};
use super::images::Images;
use super::observer::{Observer, Steps};
use super::phase::{Phase, Work};
use super::position::Position;
use super::recipe::Recipe;
use crate::cuda::{CudaTrainer, TrainImages, TrainOptions, augment, images as upload};
use crate::{DType, Model};

/// Steps between two looks at the sums, if anybody is looking: each waits for the device.
const INTERVAL: usize = 50;

/// A model for one image says everything that one for a whole batch would.
pub(super) fn check(
    device: &CudaDevice,
    model: &Model,
    recipe: &Recipe,
    images: &Images,
) -> Result<()> {
    let options = options(recipe, vec![0.0], 0, recipe.seed)?;
    let (sgd, options) = (recipe.optimizer(model)?, TrainOptions { batch: 1, ..options });
    let (one, shape) = (TrainImages::Copied(1), shape(images));
    match recipe.dtype {
        DType::F32 => drop(CudaTrainer::<f32>::new(device, model, &sgd, one, shape, options)?),
        DType::Bf16 => {
            drop(CudaTrainer::<bf16>::new(device, model, &sgd, one, shape, options)?);
        }
    }
    Ok(())
}

fn shape(images: &Images) -> [usize; 3] {
    let [height, width] = images.size();
    [images.train().channels(), height, width]
}

/// Whether the images are kept and augmented on the GPU.
fn resident(recipe: &Recipe, images: &Images) -> bool {
    fits_on_gpu(images.train(), &recipe.augment)
}

fn options(
    recipe: &Recipe,
    learning_rates: Vec<f32>,
    open_steps: usize,
    seed: u64,
) -> Result<TrainOptions> {
    // Those that are resized come from the loader, which does all of it.
    let on_device = Augment { resized: None, ..recipe.augment.clone() };
    Ok(TrainOptions {
        batch: recipe.batch_size,
        augment: augment(&on_device)?,
        label_smoothing: recipe.label_smoothing,
        mixup: recipe.mixup.is_some(),
        clip_grad_norm: recipe.clip_grad_norm,
        seed,
        learning_rates,
        open_steps,
        graphs: true,
    })
}

/// Steps of an epoch.
struct Epoch<'a> {
    device: &'a CudaDevice,
    work: &'a Work<'a>,
}

impl Phase {
    /// The steps that are left of the next epoch, on a GPU.
    pub(super) fn steps_on_gpu(
        &mut self,
        device: &CudaDevice,
        work: &Work<'_>,
        observer: &mut dyn Observer,
    ) -> Result<ControlFlow<()>> {
        let epoch = Epoch { device, work };
        match work.recipe.dtype {
            DType::F32 => self.steps_of(&epoch, observer, |gpu| &mut gpu.f32),
            DType::Bf16 => self.steps_of(&epoch, observer, |gpu| &mut gpu.bf16),
        }
    }

    fn steps_of<T: Activation>(
        &mut self,
        of: &Epoch<'_>,
        observer: &mut dyn Observer,
        slot: impl FnOnce(&mut Gpu) -> &mut Option<Trainer<T>>,
    ) -> Result<ControlFlow<()>> {
        let Work { recipe, images, kept, .. } = *of.work;
        let Position { epoch, step: skipped, .. } = self.position();
        let (epoch, per_epoch) = (epoch + 1, images.steps());
        let (first_epoch, model) = (self.first_epoch(recipe), self.trained());
        let steps = self.epochs.saturating_mul(per_epoch);
        if steps >= 1 << 28 {
            let (value, rule) = (steps.to_string(), "a GPU counts steps up to 2^28");
            return Err(gaternet_core::Error::Config { field: "steps", value, rule }.into());
        }
        let (schedule, mut sums) = (self.schedule.clone(), self.sums.clone());
        let before = sums.clone();
        // What is pre-trained is augmented in its own way.
        let seed = recipe.seed ^ (first_epoch as u64).rotate_right(1);
        let open = self.warm_up.open_epochs.saturating_mul(per_epoch);
        let options = || options(recipe, rates(&schedule, steps), open, seed);
        let (sgd, mut averages) = (&mut self.optimizer, self.averages.as_mut());
        let state = (&*sgd, averages.as_deref());
        let trainer = of.trainer(slot(&mut self.gpu), &model, state, options)?;
        let first = (epoch - 1) * per_epoch;
        let numbered = first_epoch.saturating_mul(per_epoch) + first;
        let draws = of.draws(numbered)?;
        let loaded_epoch = (first_epoch + epoch) as u64;
        let mut loaded = match resident(recipe, images) {
            true => {
                let order = images.loader().order(loaded_epoch);
                trainer.begin_mixed(first, &order, &draws)?;
                None
            }
            false => {
                trainer.begin_copied(first)?;
                Some(images.loader().epoch_from(loaded_epoch, skipped))
            }
        };
        trainer.skip(skipped)?;
        let (mut shown, mut stopped) = (skipped, false);
        for step in skipped + 1..=per_epoch {
            stopped = observer.should_stop();
            let done = if stopped { step - 1 } else { step };
            if !stopped {
                match loaded.as_mut().and_then(Iterator::next).transpose()? {
                    Some(batch) => trainer.step_on(&batch, draws.get(step - 1))?,
                    None => trainer.step()?,
                }
            }
            let looks = observer.watches_steps() && step % INTERVAL == 0;
            if looks || stopped || step == per_epoch {
                let so_far = trainer.sums()?;
                sums.set(
                    before.images + trainer.images(),
                    before.correct + so_far.correct,
                    before.loss + so_far.loss,
                    before.open_gates + so_far.open_gates,
                );
                observer.steps_done(&Steps { epoch, steps: done - shown, sums: &sums });
                shown = done;
                if stopped || !so_far.loss.is_finite() {
                    break;
                }
            }
        }
        trainer.store(sgd)?;
        averages.as_mut().map_or(Ok(()), |averages| trainer.store_averages(averages))?;
        (self.step, self.sums) = (shown, sums.clone());
        let last = (first + shown).max(1);
        self.check_finite(sums.mean_loss(), &model.state(), [last, steps], kept)?;
        Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

impl Epoch<'_> {
    /// The trainer of `model`, with the state that model, `sgd` and `averages` have if there is
    /// none, or if something else is frozen now.
    fn trainer<'a, T: Activation>(
        &self,
        slot: &'a mut Option<Trainer<T>>,
        model: &Model,
        (sgd, averages): (&Sgd, Option<&Ema>),
        options: impl FnOnce() -> Result<TrainOptions>,
    ) -> Result<&'a mut CudaTrainer<T>> {
        let Epoch { device, work: Work { recipe, images, .. }, .. } = *self;
        let parameters = model.parameters();
        let trained: Vec<bool> = parameters.iter().map(|(_, p)| p.requires_grad()).collect();
        if slot.as_ref().is_none_or(|trainer| trainer.trained != trained) {
            *slot = None; // its memory first
            let data = images.train();
            let data = match resident(recipe, images) {
                true => upload(device, data)?.into(),
                false => TrainImages::Copied(data.len()),
            };
            let shape = shape(images);
            let mut trainer = CudaTrainer::new(device, model, sgd, data, shape, options()?)?;
            averages.map_or(Ok(()), |averages| trainer.average(averages))?;
            *slot = Some(Trainer { trainer, trained });
        }
        Ok(&mut slot.as_mut().expect("made just now").trainer)
    }

    /// How the batches of the epoch that begins with this step are blended: as on the CPU; none
    /// without mixup.
    fn draws(&self, first: usize) -> Result<Vec<MixupDraw>> {
        let Work { recipe, images, .. } = *self.work;
        let Some(mixup) = recipe.mixup else { return Ok(Vec::new()) };
        let count = images.train().len();
        let draw = |step: usize| {
            let batch = recipe.batch_size.min(count - step * recipe.batch_size);
            let mut ctx = Ctx::train(recipe.seed).with_stream((first + step + 1) as u64);
            Ok(mixup.draw(batch, ctx.rng())?)
        };
        // A last batch that is dropped has its place on the device all the same.
        (0..count.div_ceil(recipe.batch_size)).map(draw).collect()
    }
}

fn rates(schedule: &Schedule, steps: usize) -> Vec<f32> {
    (0..steps).map(|step| schedule.learning_rate(step, steps)).collect()
}
