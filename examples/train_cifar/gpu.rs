//! Training on a GPU: what it cannot do, and its epochs.

use anyhow::{Result, ensure};
use gaternet::kernels::Device;
use gaternet::models::Model;

use crate::args::Args;
use crate::dtype::DTypeName;
use crate::recipe::Recipe;

/// `Err` if an option is only for a GPU.
pub(crate) fn check_options(args: &Args, device: &Device) -> Result<()> {
    let bf16 = args.run.dtype == Some(DTypeName::Bf16) && matches!(device, Device::Cpu);
    ensure!(!bf16, "--dtype bf16 is for --device cuda: a processor trains in f32");
    Ok(())
}

/// `Err` if there is no kernel for something in `model`.
pub(crate) fn check_model(device: &Device, model: &Model, recipe: &Recipe) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return on_cuda::check(device, model, recipe);
    }
    debug_assert!(matches!(device, Device::Cpu), "no other device can be opened");
    let _ = (model, recipe);
    Ok(())
}

#[cfg(feature = "cuda")]
pub(crate) use on_cuda::Gpu;

#[cfg(feature = "cuda")]
mod on_cuda {
    use anyhow::{Result, ensure};
    use gaternet::core::Ctx;
    use gaternet::core::data::{Augment, Dataset, ImageSource, MixupDraw};
    use gaternet::core::nn::Module;
    use gaternet::core::optim::{Ema, Schedule, Sgd};
    use gaternet::kernels::cuda::{Activation, CudaDevice, bf16};
    use gaternet::models::cuda::{
        CudaTrainer, TrainImages, TrainOptions, augment, images as upload,
    };
    use gaternet::models::{DType, Model};

    use crate::images::Images;
    use crate::phase::{Phase, Work};
    use crate::progress::Progress;
    use crate::recipe::Recipe;
    use crate::state::Position;

    /// Steps between two looks at the sums, if anybody is looking: each waits for the device.
    const INTERVAL: usize = 50;

    /// What a phase has on the GPU from epoch to epoch.
    #[derive(Default)]
    pub(crate) struct Gpu {
        bf16: Option<Trainer<bf16>>,
        f32: Option<Trainer<f32>>,
    }

    struct Trainer<T> {
        trainer: CudaTrainer<T>,
        /// Whether each parameter of what is trained is.
        trained: Vec<bool>,
    }

    /// A model for one image says everything that one for a whole batch would.
    pub(super) fn check(device: &CudaDevice, model: &Model, recipe: &Recipe) -> Result<()> {
        let options = options(recipe, vec![0.0], 0, recipe.seed)?;
        let (sgd, options) = (recipe.optimizer(model)?, TrainOptions { batch: 1, ..options });
        let (one, shape) = (TrainImages::Copied(1), shape(recipe));
        match recipe.dtype {
            DType::F32 => drop(CudaTrainer::<f32>::new(device, model, &sgd, one, shape, options)?),
            DType::Bf16 => {
                drop(CudaTrainer::<bf16>::new(device, model, &sgd, one, shape, options)?);
            }
        }
        Ok(())
    }

    fn shape(recipe: &Recipe) -> [usize; 3] {
        let [height, width] = recipe.size();
        [recipe.loader().augment.normalize.channels(), height, width]
    }

    /// Whether the images are kept and augmented on the GPU: those of memory, unless they are resized.
    fn resident(recipe: &Recipe, images: &Images) -> bool {
        let in_memory = matches!(images.train(), ImageSource::Memory(_));
        in_memory && recipe.loader().augment.resized.is_none()
    }

    fn options(
        recipe: &Recipe,
        learning_rates: Vec<f32>,
        open_steps: usize,
        seed: u64,
    ) -> Result<TrainOptions> {
        // Those that are resized come from the loader, which does all of it.
        let on_device = Augment { resized: None, ..recipe.loader().augment };
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
        progress: &'a Progress,
    }

    impl Phase {
        /// The steps that are left of the next epoch, on a GPU.
        pub(crate) fn steps_on_gpu(
            &mut self,
            device: &CudaDevice,
            work: &Work<'_>,
            progress: &Progress,
        ) -> Result<()> {
            let epoch = Epoch { device, work, progress };
            match work.recipe.dtype {
                DType::F32 => self.steps_of(&epoch, |gpu| &mut gpu.f32),
                DType::Bf16 => self.steps_of(&epoch, |gpu| &mut gpu.bf16),
            }
        }

        fn steps_of<T: Activation>(
            &mut self,
            of: &Epoch<'_>,
            slot: impl FnOnce(&mut Gpu) -> &mut Option<Trainer<T>>,
        ) -> Result<()> {
            let Epoch { work, progress, .. } = *of;
            let Work { recipe, images, interrupt, kept, .. } = *work;
            let Position { epoch, step: skipped, .. } = self.position();
            let (epoch, per_epoch) = (epoch + 1, images.steps());
            let (first_epoch, model) = (self.first_epoch(recipe), self.trained());
            let steps = self.epochs().saturating_mul(per_epoch);
            ensure!(steps < 1 << 28, "--device cuda: {steps} steps are more than 2^28");
            let (schedule, mut sums) = (self.schedule().clone(), self.sums().clone());
            let before = sums.clone();
            // What is pre-trained is augmented in its own way.
            let seed = recipe.seed ^ (first_epoch as u64).rotate_right(1);
            let open = self.open_epochs().saturating_mul(per_epoch);
            let options = || options(recipe, rates(&schedule, steps), open, seed);
            let (sgd, mut averages, gpu) = self.on_gpu();
            let state = (&*sgd, averages.as_deref());
            let trainer = of.trainer(slot(gpu), &model, state, options)?;
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
            let (mut shown, mut interrupted) = (skipped, Ok(()));
            for step in skipped + 1..=per_epoch {
                interrupted = interrupt.check();
                let ends = interrupted.is_err();
                let done = if ends { step - 1 } else { step };
                if !ends {
                    match loaded.as_mut().and_then(Iterator::next).transpose()? {
                        Some(batch) => trainer.step_on(&batch, draws.get(step - 1))?,
                        None => trainer.step()?,
                    }
                }
                let looks = !progress.is_hidden() && step % INTERVAL == 0;
                if looks || ends || step == per_epoch {
                    let so_far = trainer.sums()?;
                    sums.set(
                        before.images + trainer.images(),
                        before.correct + so_far.correct,
                        before.loss + so_far.loss,
                        before.open + so_far.open,
                    );
                    progress.step(epoch, &sums, done - shown);
                    shown = done;
                    if ends || !so_far.loss.is_finite() {
                        break;
                    }
                }
            }
            trainer.store(sgd)?;
            averages.as_mut().map_or(Ok(()), |averages| trainer.store_averages(averages))?;
            self.stands(shown, sums.clone());
            let last = (first + shown).max(1);
            self.check_finite(sums.mean_loss(), &model.state(), [last, steps], kept)?;
            interrupted
        }
    }

    impl Epoch<'_> {
        /// The trainer of `model`, with the state that model, `sgd` and `averages` have if there is none, or if something
        /// else is frozen now.
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
                let shape = shape(recipe);
                let mut trainer = CudaTrainer::new(device, model, sgd, data, shape, options()?)?;
                averages.map_or(Ok(()), |averages| trainer.average(averages))?;
                *slot = Some(Trainer { trainer, trained });
            }
            Ok(&mut slot.as_mut().expect("made just now").trainer)
        }

        /// How the batches of the epoch that begins with this step are blended: as on the CPU; none without mixup.
        fn draws(&self, first: usize) -> Result<Vec<MixupDraw>> {
            let Work { recipe, images, .. } = *self.work;
            let Some(mixup) = recipe.mixup else { return Ok(Vec::new()) };
            let count = images.loader().dataset().len();
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
}
