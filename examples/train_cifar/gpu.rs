//! Training on a GPU: what it cannot do, and its epochs.

use anyhow::{Result, ensure};
use gaternet::kernels::Device;
use gaternet::models::Model;

use crate::args::Args;
use crate::images::Images;
use crate::recipe::Recipe;

/// `Err` if an option is only for the CPU.
pub(crate) fn check_options(args: &Args, device: &Device) -> Result<()> {
    if matches!(device, Device::Cpu) {
        return Ok(());
    }
    for (flag, given) in [
        ("--gater-batch-norm", args.gater.gater_batch_norm),
        ("--image-size", args.augment.image_size.is_some()),
        ("--mixup", args.augment.mixup > 0.0),
    ] {
        ensure!(!given, "{flag} cannot be combined with --device cuda: use --device cpu");
    }
    Ok(())
}

/// `Err` if there is no kernel for something in `model`, or its images are not in memory.
pub(crate) fn check_model(
    device: &Device,
    model: &Model,
    recipe: &Recipe,
    images: &Images,
) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return on_cuda::check(device, model, recipe, images);
    }
    debug_assert!(matches!(device, Device::Cpu), "no other device can be opened");
    let _ = (model, recipe, images);
    Ok(())
}

#[cfg(feature = "cuda")]
pub(crate) use on_cuda::Gpu;

#[cfg(feature = "cuda")]
mod on_cuda {
    use anyhow::{Result, ensure};
    use gaternet::core::data::{CHANNELS, ImageSource, SIDE};
    use gaternet::core::nn::Module;
    use gaternet::core::optim::{Ema, Optimizer, Schedule, Sgd};
    use gaternet::kernels::cuda::augment::Images as CudaImages;
    use gaternet::kernels::cuda::{CudaBuffer, CudaDevice, bf16};
    use gaternet::models::Model;
    use gaternet::models::cuda::{CudaTrainer, TrainOptions, augment, images as upload};

    use crate::images::Images;
    use crate::phase::Phase;
    use crate::progress::{EpochSums, Progress};
    use crate::recipe::Recipe;

    /// Steps between two looks at the sums, if anybody is looking: each waits for the device.
    const INTERVAL: usize = 50;
    const SHAPE: [usize; 3] = [CHANNELS, SIDE, SIDE];

    /// What a phase has on the GPU from epoch to epoch.
    #[derive(Default)]
    pub(crate) struct Gpu(Option<Trainer>);

    struct Trainer {
        trainer: CudaTrainer<bf16>,
        /// Whether each parameter of what is trained is.
        trained: Vec<bool>,
    }

    /// A model for one image says everything that one for a whole batch would.
    pub(super) fn check(
        device: &CudaDevice,
        model: &Model,
        recipe: &Recipe,
        images: &Images,
    ) -> Result<()> {
        let options = options(recipe, vec![0.0], 0, recipe.seed)?;
        let in_memory = matches!(images.loader().dataset(), ImageSource::Memory(_));
        ensure!(in_memory, "--device cuda trains on CIFAR or the built-in set, not on image files");
        let image = CudaBuffer::zeros(device, CHANNELS * SIDE * SIDE)?;
        let one = CudaImages::new(image, CudaBuffer::zeros(device, 1)?, CHANNELS, [SIDE; 2])?;
        let (sgd, options) = (recipe.optimizer(model)?, TrainOptions { batch: 1, ..options });
        CudaTrainer::<bf16>::new(device, model, &sgd, one, SHAPE, options)?;
        Ok(())
    }

    fn options(
        recipe: &Recipe,
        learning_rates: Vec<f32>,
        open_steps: usize,
        seed: u64,
    ) -> Result<TrainOptions> {
        Ok(TrainOptions {
            batch: recipe.batch_size,
            augment: augment(&recipe.loader().augment)?,
            label_smoothing: recipe.label_smoothing,
            clip_grad_norm: recipe.clip_grad_norm,
            seed,
            learning_rates,
            open_steps,
            graphs: true,
        })
    }

    impl Gpu {
        /// The trainer of `model`, with the state that model, `sgd` and `averages` have if there is none, or if something else is
        /// frozen now.
        fn trainer(
            &mut self,
            device: &CudaDevice,
            model: &Model,
            (sgd, averages): (&Sgd, Option<&Ema>),
            images: &Images,
            options: impl FnOnce() -> Result<TrainOptions>,
        ) -> Result<&mut CudaTrainer<bf16>> {
            let parameters = model.parameters();
            let trained: Vec<bool> = parameters.iter().map(|(_, p)| p.requires_grad()).collect();
            if self.0.as_ref().is_none_or(|trainer| trainer.trained != trained) {
                self.0 = None; // its memory first
                let data = upload(device, images.loader().dataset())?;
                let mut trainer = CudaTrainer::new(device, model, sgd, data, SHAPE, options()?)?;
                averages.map_or(Ok(()), |averages| trainer.average(averages))?;
                self.0 = Some(Trainer { trainer, trained });
            }
            Ok(&mut self.0.as_mut().expect("made just now").trainer)
        }
    }

    impl Phase {
        /// The steps of the next epoch, on a GPU.
        pub(crate) fn steps_on_gpu(
            &mut self,
            device: &CudaDevice,
            recipe: &Recipe,
            images: &Images,
            progress: &Progress,
            kept: &str,
            sums: &mut EpochSums,
        ) -> Result<()> {
            let (epoch, per_epoch) = (self.epoch() + 1, images.steps());
            let (first_epoch, model) = (self.first_epoch(recipe), self.trained());
            let steps = self.epochs().saturating_mul(per_epoch);
            ensure!(steps < 1 << 28, "--device cuda: {steps} steps are more than 2^28");
            let schedule = self.schedule().clone();
            // What is pre-trained is augmented in its own way.
            let seed = recipe.seed ^ (first_epoch as u64).rotate_right(1);
            let open = self.open_epochs().saturating_mul(per_epoch);
            let options = || options(recipe, rates(&schedule, steps), open, seed);
            let (sgd, mut averages, gpu) = self.on_gpu();
            let state = (&*sgd, averages.as_deref());
            let trainer = gpu.trainer(device, &model, state, images, options)?;
            let first = (epoch - 1) * per_epoch;
            trainer.begin(first, &images.loader().order((first_epoch + epoch) as u64))?;
            let mut shown = 0;
            for step in 1..=per_epoch {
                trainer.step()?;
                let looks = !progress.is_hidden() && step % INTERVAL == 0;
                if looks || step == per_epoch {
                    let so_far = trainer.sums()?;
                    sums.set(trainer.images(), so_far.correct, so_far.loss, so_far.open);
                    progress.step(epoch, sums, step - shown);
                    shown = step;
                    if !so_far.loss.is_finite() {
                        break;
                    }
                }
            }
            trainer.store(sgd)?;
            averages.as_mut().map_or(Ok(()), |averages| trainer.store_averages(averages))?;
            sgd.set_learning_rate(schedule.learning_rate(first + per_epoch - 1, steps))?;
            self.check_loss(sums.loss(), first + shown, steps, kept)
        }
    }

    fn rates(schedule: &Schedule, steps: usize) -> Vec<f32> {
        (0..steps).map(|step| schedule.learning_rate(step, steps)).collect()
    }
}
