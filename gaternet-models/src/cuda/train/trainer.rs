//! A model that is trained on a GPU.

use std::fmt;

use gaternet_core::Error as ModelError;
use gaternet_core::data::{Batch, MixupDraw};
use gaternet_core::optim::{Ema, Sgd};
use gaternet_kernels::cuda::{Activation, Clock, CudaDevice};

use super::averages::Averages;
use super::gating::Gating;
use super::input::{Setup, TrainImages};
use super::metrics::{Metrics, TrainSums};
use super::options::TrainOptions;
use super::train_step::{Shared, TrainStep};
use super::weights::Weights;
use crate::cuda::error::Result;
use crate::files::model::Model;

/// A model on a GPU with its optimiser: activations and products in T (bf16, or f32 to compare with
/// the CPU); parameters, gradients of parameters, statistics, gates and loss in f32.
///
/// A step is a fixed list of launches, forward, backward and update, on buffers that are made here.
/// Nothing is copied but the images of [`step_on`](Self::step_on), and nobody waits from
/// [`begin`](Self::begin) to [`sums`](Self::sums).
pub struct CudaTrainer<T> {
    shared: Shared<T>,
    /// The step of a whole batch, and that of the smaller batch at the end of an epoch.
    programs: Vec<TrainStep<T>>,
    options: TrainOptions,
    /// Number of images of an epoch.
    count: usize,
    /// Number of the next step.
    step: u64,
    /// Number of steps of the epoch that are over, those that were skipped included.
    done: usize,
    /// Number of steps of the epoch that were trained before.
    skipped: usize,
    /// Number of steps since the last `store`.
    unsaved: i64,
    /// Number of steps since the last `store_averages`.
    unaveraged: usize,
}

impl<T: Activation> CudaTrainer<T> {
    /// Copies `model` to `device`, to be trained with the settings of `sgd` on `images`, usually
    /// [those of a data set](crate::cuda::images); parameters that do not require a gradient stay
    /// frozen. `shape` (C, H, W) is the shape of an image.
    ///
    /// # Errors
    /// [`Error::Unsupported`](crate::cuda::Error::Unsupported) if there is no kernel for a layer or
    /// a gate loss; [`Error::Model`](crate::cuda::Error::Model) if the images do not fit, there is
    /// no batch, or the gates cannot meet a target; errors of the GPU.
    pub fn new(
        device: &CudaDevice,
        model: &Model,
        sgd: &Sgd,
        images: impl Into<TrainImages>,
        shape: [usize; 3],
        options: TrainOptions,
    ) -> Result<CudaTrainer<T>> {
        let setup =
            Setup { images: images.into(), augment: options.augment, mixup: options.mixup, shape };
        let count = setup.images.len();
        if options.batch == 0 || options.learning_rates.is_empty() {
            let value = format!("{}, {} rates", options.batch, options.learning_rates.len());
            let rule = "there must be an image in a batch and a learning rate";
            return Err(ModelError::Config { field: "batch", value, rule }.into());
        }
        let gating = match model {
            Model::Plain(_) => None,
            Model::Gated(model) => Some(Gating::new(device, model, shape, &options)?),
        };
        let mut weights = Weights::new(device, sgd, &options.learning_rates)?;
        let mut programs = Vec::new();
        for (batch, batches) in [(options.batch, count / options.batch), (count % options.batch, 1)]
        {
            if batch > 0 && batches > 0 {
                programs.push(TrainStep::new(
                    &mut weights,
                    device,
                    model,
                    &setup,
                    [batch, batches],
                )?);
            }
        }
        let shared = Shared {
            device: device.clone(),
            optimizer: weights.optimizer(options.clip_grad_norm)?.into(),
            weights,
            averages: None,
            clock: Clock::new(device, options.seed, 0)?.into(),
            metrics: Metrics::new(device, gating.is_some())?,
            gating,
            label_smoothing: options.label_smoothing,
        };
        let (step, done, skipped, unsaved, unaveraged) = (0, 0, 0, 0, 0);
        Ok(CudaTrainer {
            shared,
            programs,
            options,
            count,
            step,
            done,
            skipped,
            unsaved,
            unaveraged,
        })
    }

    /// From the next step on, averages the parameters and statistics that `ema` averages, beginning
    /// with its averages.
    ///
    /// # Errors
    /// Errors of the GPU.
    pub fn average(&mut self, ema: &Ema) -> Result<()> {
        let Shared { device, weights, .. } = &self.shared;
        let steps = self.options.learning_rates.len();
        self.shared.averages = Some(Averages::new(device, weights, ema, steps)?);
        self.unaveraged = 0;
        self.programs.iter_mut().for_each(TrainStep::forget_graph);
        Ok(())
    }

    /// Number of steps of an epoch.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.programs.iter().map(|program| program.batches).sum()
    }

    /// Begins an epoch with step `step` of the training, through the images on the device in this
    /// order.
    ///
    /// # Errors
    /// The errors of [`begin_mixed`](Self::begin_mixed).
    pub fn begin(&mut self, step: usize, order: &[usize]) -> Result<()> {
        self.begin_mixed(step, order, &[])
    }

    /// Begins an epoch as [`begin`](Self::begin) does, with images mixed as `draws` say, one for
    /// each batch: after their augmentation, each with its partner.
    ///
    /// # Errors
    /// [`Error::Model`](crate::cuda::Error::Model) unless `order` has every image's number once and
    /// there are draws for all batches if images are to be mixed, else none; or if the images are
    /// not on the device; errors of the GPU.
    pub fn begin_mixed(&mut self, step: usize, order: &[usize], draws: &[MixupDraw]) -> Result<()> {
        let count = self.count;
        let mut seen = vec![false; count];
        for &image in order.iter().filter(|&&image| image < count) {
            seen[image] = true;
        }
        if order.len() != count || seen.contains(&false) {
            let value = format!("{} numbers for {count} images", order.len());
            let rule = "must hold the number of every image once";
            return Err(ModelError::Config { field: "order", value, rule }.into());
        }
        let batches = if self.options.mixup { self.steps() } else { 0 };
        if draws.len() != batches {
            let value = format!("{} draws, not {batches}", draws.len());
            let rule = "there must be a draw for every batch, if images are blended";
            return Err(ModelError::Config { field: "mixup", value, rule }.into());
        }
        // Numbers are below the length of a buffer of labels, which fits in an i32.
        let order: Vec<i32> = order.iter().map(|&i| i as i32).collect();
        let (mut rest, mut draws) = (&order[..], draws);
        self.begin_copied(step)?;
        for program in &mut self.programs {
            let len = match program.batches {
                _ if rest.len() < self.options.batch => rest.len(),
                batches => batches * self.options.batch,
            };
            let (own, after) = rest.split_at(len);
            let (of_own, of_others) = draws.split_at(program.batches.min(draws.len()));
            program.input.begin(own, of_own, self.step)?;
            (rest, draws) = (after, of_others);
        }
        Ok(())
    }

    /// Begins an epoch with step `step` of the training, whose steps are given their images.
    ///
    /// # Errors
    /// Errors of the GPU.
    pub fn begin_copied(&mut self, step: usize) -> Result<()> {
        self.step = step as u64;
        self.shared.clock.borrow_mut().set(self.options.seed, self.step)?;
        (self.done, self.skipped) = (0, 0);
        self.shared.metrics.reset()
    }

    /// Leaves out the first `steps` steps of the epoch that has just begun: they were trained
    /// before, and their effect is in the model.
    ///
    /// # Errors
    /// [`Error::Model`](crate::cuda::Error::Model) if the epoch has fewer steps; errors of the GPU.
    pub fn skip(&mut self, steps: usize) -> Result<()> {
        if steps > self.steps() {
            let rule = "must be at most the steps of an epoch";
            let value = format!("{steps} of {}", self.steps());
            return Err(ModelError::Config { field: "skip", value, rule }.into());
        }
        (self.done, self.skipped) = (steps, steps);
        self.step += steps as u64;
        self.shared.clock.borrow_mut().set(self.options.seed, self.step)?;
        Ok(())
    }

    /// Starts the next step of the epoch on the device, without waiting for it.
    ///
    /// # Errors
    /// [`Error::Model`](crate::cuda::Error::Model) if the epoch is over, or the step needs images;
    /// errors of the GPU.
    pub fn step(&mut self) -> Result<()> {
        let at = self.next()?;
        if self.programs[at].input.is_copied() {
            let (value, rule) = ("without images".to_owned(), "a step gets its images by step_on");
            return Err(ModelError::Config { field: "step", value, rule }.into());
        }
        self.run(at)
    }

    /// Starts the next step of the epoch on these images, which are mixed as `draw` says after all
    /// else: copies them and does not wait for the device.
    ///
    /// # Errors
    /// [`Error::Model`](crate::cuda::Error::Model) if the epoch is over, the images are not as many
    /// as the step has, or are on the device, or there is a draw and none is wanted, or the other
    /// way round; errors of the GPU.
    pub fn step_on(&mut self, batch: &Batch, draw: Option<&MixupDraw>) -> Result<()> {
        let at = self.next()?;
        let TrainStep { input, classes, .. } = &mut self.programs[at];
        input.copy(batch, draw, *classes)?;
        self.run(at)
    }

    /// The index of the next step's program.
    fn next(&self) -> Result<usize> {
        let mut before = 0;
        let at = self.programs.iter().position(|program| {
            before += program.batches;
            self.done < before
        });
        at.ok_or_else(|| {
            let rule = "must be below the steps of an epoch";
            ModelError::Config { field: "step", value: self.done.to_string(), rule }.into()
        })
    }

    fn run(&mut self, at: usize) -> Result<()> {
        self.programs[at].run(&self.shared, self.options.graphs)?;
        self.step += 1;
        self.done += 1;
        self.unsaved += 1;
        self.unaveraged += 1;
        Ok(())
    }

    /// Number of images of the epoch that have been trained, without those of skipped steps.
    #[must_use]
    pub fn images(&self) -> usize {
        let [done, skipped] = [self.done, self.skipped];
        let images = |steps: usize| (steps * self.options.batch).min(self.count);
        images(done) - images(skipped)
    }

    /// Reads the sums over the [`images`](Self::images) trained; waits for the device. A loss that
    /// is not finite stays so.
    ///
    /// # Errors
    /// Errors of the GPU, also of the steps before.
    pub fn sums(&self) -> Result<TrainSums> {
        self.shared.metrics.read(self.images())
    }

    /// Copies parameters and statistics back into the model and velocities into `sgd`; waits for
    /// the device.
    ///
    /// # Errors
    /// Errors of the GPU; [`Error::Model`](crate::cuda::Error::Model) if `sgd` is of another model.
    pub fn store(&mut self, sgd: &mut Sgd) -> Result<()> {
        self.shared.weights.store(sgd, self.unsaved)?;
        self.unsaved = 0;
        Ok(())
    }

    /// Brings `ema`, which must be that of [`average`](Self::average), up to date; waits for the
    /// device. Everything else that it averages has been frozen.
    ///
    /// # Errors
    /// Errors of the GPU; [`Error::Model`](crate::cuda::Error::Model) if `ema` is another.
    pub fn store_averages(&mut self, ema: &mut Ema) -> Result<()> {
        if let Some(averages) = &self.shared.averages {
            averages.store(ema, self.unaveraged)?;
        }
        self.unaveraged = 0;
        Ok(())
    }
}

impl<T> fmt::Debug for CudaTrainer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaTrainer(step {}, {:?})", self.step, self.shared.device)
    }
}
