//! How well a model does on a test set, and at what cost.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gaternet_core::data::{Augment, Batches, Dataset, ImageSource, Loader, LoaderConfig};
use gaternet_core::gate::Gates;
use gaternet_core::{Ctx, Tensor, ops};
use gaternet_kernels::Device;
#[cfg(feature = "cuda")]
use gaternet_kernels::cuda::augment;

#[cfg(feature = "cuda")]
use super::data::fits_on_gpu;
use super::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{Calibration, Cost, DType, Model, Plan, PlanOptions};

/// Test images, and what is done to them before a model sees them.
pub struct TestSet {
    /// The images.
    pub images: ImageSource,
    /// What is done to them.
    pub augment: Augment,
    /// The images on a GPU, once it has evaluated a model.
    resident: OnceCell<Resident>,
}

/// A data set on a GPU, and how it is normalised there.
#[cfg(feature = "cuda")]
struct Resident {
    images: augment::Images,
    augment: augment::Augment,
}

/// No data set on a GPU.
#[cfg(not(feature = "cuda"))]
enum Resident {}

impl TestSet {
    /// `images` are a data set in memory or a folder of image files.
    pub fn new(images: impl Into<ImageSource>, augment: Augment) -> TestSet {
        TestSet { images: images.into(), augment, resident: OnceCell::new() }
    }

    /// The images on `device`; `None` on the processor, and of images that are files or resized.
    fn resident(&self, device: &Device) -> Result<Option<&Resident>> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device
            && fits_on_gpu(&self.images, &self.augment)
        {
            if self.resident.get().is_none() {
                let images = cuda::images(device, &self.images)?;
                let resident = Resident { images, augment: cuda::augment(&self.augment)? };
                self.resident.set(resident).ok();
            }
            return Ok(self.resident.get());
        }
        let on_gpu = !matches!(device, Device::Cpu);
        Ok(self.resident.get().filter(|_| on_gpu))
    }
}

/// Means over the images of a test set.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// Share of images classified correctly, 0 to 1.
    pub accuracy: f64,
    /// Cross-entropy.
    pub loss: f64,
    /// Share of gates that are open, 0 to 1; 1 without gates.
    pub gate_density: f64,
    /// MACs of an image.
    pub cost: Cost,
    /// Share of open gates in each gated convolution, 0 to 1.
    pub densities: Vec<f64>,
    /// Gated convolutions of which no image opened a filter.
    pub inactive_layers: Vec<String>,
}

/// How a model is evaluated.
#[derive(Debug, Clone)]
pub struct EvaluationOptions {
    /// Images of a pass; it changes the speed, never the numbers beyond rounding. 128 by default.
    pub batch_size: usize,
    /// What convolutions multiply; f32 by default.
    pub dtype: DType,
    /// Where the model runs; the processor by default.
    pub device: Device,
}

impl Default for EvaluationOptions {
    fn default() -> EvaluationOptions {
        EvaluationOptions { batch_size: 128, dtype: DType::F32, device: Device::Cpu }
    }
}

/// What an evaluation has found out about a batch of N images.
#[derive(Debug)]
pub struct EvaluatedBatch<'a> {
    /// (N).
    pub labels: &'a [usize],
    /// (N, classes).
    pub logits: &'a Tensor,
    /// MACs of each image, gater included (N).
    pub macs: &'a [f64],
    /// What the pass took.
    pub time: Duration,
}

/// Runs a plan of `model` on every image of `test`: closed filters are not computed.
///
/// # Errors
/// [`gaternet_core::Error::Config`] if the model has other numbers of classes than the images, or a
/// setting is out of range; those of reading the images; the device's.
pub fn evaluate(model: &Model, test: &TestSet, options: &EvaluationOptions) -> Result<Evaluation> {
    evaluate_with(model, test, options, |_| Ok(()))
}

/// [`evaluate`], and `each` gets every batch; its `Err` ends the evaluation.
///
/// # Errors
/// Those of [`evaluate`] and of `each`.
pub fn evaluate_with<E: From<Error>>(
    model: &Model,
    test: &TestSet,
    options: &EvaluationOptions,
    mut each: impl FnMut(&EvaluatedBatch<'_>) -> Result<(), E>,
) -> Result<Evaluation, E> {
    let mut pass = Pass::new(model, test, options)?;
    while let Some(batch) = pass.next()? {
        each(&EvaluatedBatch {
            labels: &batch.labels,
            logits: &batch.logits,
            macs: &batch.macs,
            time: batch.time,
        })?;
    }
    Ok(pass.finish()?)
}

/// A pass over a test set.
struct Pass<'a> {
    model: &'a Model,
    test: &'a TestSet,
    resident: Option<&'a Resident>,
    plan: Plan,
    size: [usize; 2],
    /// Numbers of the images that are left, in the order of the batches.
    left: VecDeque<usize>,
    batch_size: usize,
    /// Their images, unless they are on a GPU.
    batches: Option<Batches>,
    correct_images: usize,
    loss: f64,
    open_gates: f64,
    /// Of the backbone, executed, of the gater.
    macs: [f64; 3],
    opened: Calibration,
}

/// As [`EvaluatedBatch`].
struct Done {
    labels: Vec<usize>,
    logits: Tensor,
    macs: Vec<f64>,
    time: Duration,
}

impl<'a> Pass<'a> {
    fn new(model: &'a Model, test: &'a TestSet, options: &EvaluationOptions) -> Result<Pass<'a>> {
        let EvaluationOptions { batch_size, dtype, ref device } = *options;
        let (classes, expected) = (test.images.classes().len(), model.classes());
        if classes != expected {
            return Err(gaternet_core::Error::Config {
                field: "classes",
                value: format!("{classes} of the data set, {expected} of the model"),
                rule: "must be as many",
            }
            .into());
        }
        let batch_size = batch_size.min(test.images.len());
        let augment = test.augment.clone();
        let size = augment.output_size(&test.images)?;
        let config =
            LoaderConfig { batch_size, drop_last: false, shuffle: false, seed: 0, augment };
        let loader = Loader::new(test.images.clone(), config)?;
        let options = PlanOptions { size, batch: batch_size, dtype, ..PlanOptions::default() };
        let plan = Plan::new(model, options, device)?;
        let resident = test.resident(device)?;
        Ok(Pass {
            model,
            test,
            resident,
            size,
            left: loader.order(0).into(),
            batch_size,
            batches: resident.is_none().then(|| loader.epoch(0)),
            correct_images: 0,
            loss: 0.0,
            open_gates: 0.0,
            macs: [0.0; 3],
            opened: Calibration::new(plan.gate_count()),
            plan,
        })
    }

    /// The next batch; `None` at the end.
    fn next(&mut self) -> Result<Option<Done>> {
        let (model, test, size) = (self.model, self.test, self.size);
        let numbers: Vec<usize> = self.left.drain(..self.batch_size.min(self.left.len())).collect();
        if numbers.is_empty() {
            return Ok(None);
        }
        let labels = numbers.iter().map(|&image| test.images.label(image));
        let labels = labels.collect::<Result<Vec<usize>, _>>()?;
        let from_host = self.batches.as_mut().and_then(Iterator::next).transpose()?;
        let input = match (&from_host, self.resident) {
            (Some(batch), _) => Input::Host(&batch.images),
            (None, Some(resident)) => Input::Resident(resident, &numbers),
            (None, None) => unreachable!("the loader has a batch for every image"),
        };
        let start = Instant::now();
        let (logits, gates) = infer(&self.plan, model, input)?;
        let time = start.elapsed();
        self.correct_images += correct(&logits, &labels);
        let images = labels.len() as f64;
        self.loss += images * f64::from(ops::cross_entropy(&logits, &labels)?.item()?);
        self.open_gates += images * gates.as_ref().map_or(1.0, |gates| gates.density());
        let Cost { backbone, executed, gater } = model.cost(size, gates.as_ref())?;
        for (sum, macs) in self.macs.iter_mut().zip([backbone, executed, gater]) {
            *sum += images * macs;
        }
        let macs = match (model, &gates) {
            (Model::Gated(model), Some(gates)) => {
                self.opened.add(gates.values().data())?;
                model.image_macs(size, gates)?
            }
            _ => vec![backbone; labels.len()],
        };
        Ok(Some(Done { labels, logits, macs, time }))
    }

    fn finish(self) -> Result<Evaluation> {
        let (densities, inactive_layers) = match self.model {
            Model::Plain(_) => (Vec::new(), Vec::new()),
            Model::Gated(model) => {
                let plan = model.plan();
                (self.opened.densities(plan)?, self.opened.inactive_layers(plan)?)
            }
        };
        let images = self.test.images.len() as f64;
        let [backbone, executed, gater] = self.macs.map(|sum| sum / images);
        Ok(Evaluation {
            accuracy: self.correct_images as f64 / images,
            loss: self.loss / images,
            gate_density: self.open_gates / images,
            cost: Cost { backbone, executed, gater },
            densities,
            inactive_layers: inactive_layers.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// Images of a batch.
enum Input<'a> {
    /// (N, 3, H, W).
    Host(&'a Tensor),
    /// Their numbers (N).
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only a GPU reads them"))]
    Resident(&'a Resident, &'a [usize]),
}

/// Logits (N, classes) and gates of these images; `plan` is of `model`.
fn infer(plan: &Plan, model: &Model, input: Input<'_>) -> Result<(Tensor, Option<Gates>)> {
    let batch = match input {
        Input::Host(images) => images.dims()[0],
        Input::Resident(_, numbers) => numbers.len(),
    };
    let [count, classes] = [plan.gate_count(), plan.classes()];
    let (mut gates, mut logits) = (vec![0.0; batch * count], vec![0.0; batch * classes]);
    match input {
        Input::Host(images) => {
            let run = plan.run_with_decisions(images.data(), &mut logits, &mut gates);
            if run.is_err() && gates.iter().any(|gate| gate.is_nan()) {
                // Training diverged. A plan refuses such gates; the model shows them in its logits.
                return Ok(model.forward(images, &mut Ctx::eval())?);
            }
            run?;
        }
        #[cfg(feature = "cuda")]
        Input::Resident(Resident { images, augment }, numbers) => {
            plan.run_on((images, augment), numbers, &mut logits, &mut gates)?;
        }
        #[cfg(not(feature = "cuda"))]
        Input::Resident(resident, _) => match *resident {},
    }
    let gates = match model {
        Model::Plain(_) => None,
        Model::Gated(model) => {
            let values = Tensor::new(gates, [batch, count])?;
            Some(Gates::new(values, &model.plan().widths())?)
        }
    };
    Ok((Tensor::new(logits, [batch, classes])?, gates))
}

/// Number of rows of `logits` (N, classes) whose largest entry is at the label.
pub(super) fn correct(logits: &Tensor, labels: &[usize]) -> usize {
    let classes = predictions(logits, labels.len());
    classes.zip(labels).filter(|(class, label)| class == *label).count()
}

/// Where the largest entry of each of the `rows` rows of `logits` (N, classes) is.
pub fn predictions(logits: &Tensor, rows: usize) -> impl Iterator<Item = usize> {
    let rows = logits.data().chunks_exact(logits.len() / rows.max(1));
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    rows.map(move |row| best(row).unwrap_or_default())
}
