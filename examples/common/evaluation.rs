//! How well a model does on a test set, and at what cost.

use std::cell::OnceCell;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use gaternet::core::data::{Augment, Dataset, ImageSource, Loader, LoaderConfig};
use gaternet::core::gate::Gates;
use gaternet::core::{Ctx, Tensor, ops};
use gaternet::kernels::Device;
#[cfg(feature = "cuda")]
use gaternet::kernels::cuda::{Activation, augment, bf16};
#[cfg(feature = "cuda")]
use gaternet::models::cuda::{self, CudaPlan};
use gaternet::models::{Calibration, Cost, DType, InferencePlan, Model, PlanOptions};

/// Test images, and what is done to them before a model sees them.
pub(crate) struct TestSet {
    pub(crate) images: ImageSource,
    pub(crate) augment: Augment,
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
    pub(crate) fn new(images: ImageSource, augment: Augment) -> TestSet {
        TestSet { images, augment, resident: OnceCell::new() }
    }

    /// The images on `device`; `None` on the processor, and of images that are files or resized.
    fn resident(&self, device: &Device) -> Result<Option<&Resident>> {
        #[cfg(feature = "cuda")]
        if let (Device::Cuda(device), ImageSource::Memory(_), None) =
            (device, &self.images, self.augment.resized)
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
pub(crate) struct Evaluation {
    /// Share of images classified correctly, 0 to 1.
    pub(crate) accuracy: f64,
    /// Cross-entropy.
    pub(crate) loss: f64,
    /// Share of gates that are open, 0 to 1; 1 without gates.
    pub(crate) gate_density: f64,
    /// MACs of an image.
    pub(crate) cost: Cost,
    /// Share of open gates in each gated convolution.
    pub(crate) densities: Vec<f64>,
    /// Gated convolutions of which no image opened a filter.
    pub(crate) dead_layers: Vec<String>,
}

/// Runs a plan of `model` on `device`, so many images at a time and with convolutions of this type,
/// on every image of `test`: closed filters are not computed. The batch size changes the speed,
/// never the numbers beyond rounding. `each` gets, for each batch, its labels (N), logits (N,
/// classes), MACs image by image (N) and the time of the pass; its `Err` ends it.
pub(crate) fn evaluate(
    model: &Model,
    test: &TestSet,
    (batch_size, dtype): (usize, DType),
    device: &Device,
    mut each: impl FnMut(&[usize], &Tensor, &[f64], Duration) -> Result<()>,
) -> Result<Evaluation> {
    let (classes, expected) = (test.images.classes().len(), model.classes());
    ensure!(classes == expected, "the data set has {classes} classes, the model {expected}");
    let batch_size = batch_size.min(test.images.len());
    let augment = test.augment.clone();
    let size = augment.output_size(&test.images)?;
    let config = LoaderConfig { batch_size, drop_last: false, shuffle: false, seed: 0, augment };
    let loader = Loader::new(test.images.clone(), config)?;
    let options = PlanOptions { size, batch: batch_size, dtype, ..PlanOptions::default() };
    let mut plan = Plan::new(model, options, device)?;

    let (mut correct_images, mut loss, mut open) = (0, 0.0, 0.0);
    let mut macs = [0.0; 3];
    let mut opened = Calibration::new(plan.widths()[0]);
    let resident = test.resident(device)?;
    let mut batches = resident.is_none().then(|| loader.epoch(0));
    for numbers in loader.order(0).chunks(batch_size) {
        let labels = numbers.iter().map(|&image| test.images.label(image));
        let labels: Vec<usize> = labels.collect::<Result<_, _>>()?;
        let from_host = batches.as_mut().and_then(Iterator::next).transpose()?;
        let input = match (&from_host, resident) {
            (Some(batch), _) => Input::Host(&batch.images),
            (None, Some(resident)) => Input::Resident(resident, numbers),
            (None, None) => bail!("the test set ended early"),
        };
        let start = Instant::now();
        let (logits, gates) = plan.infer(model, input)?;
        let time = start.elapsed();
        correct_images += correct(&logits, &labels);
        let images = labels.len() as f64;
        loss += images * f64::from(ops::cross_entropy(&logits, &labels)?.item()?);
        open += images * gates.as_ref().map_or(1.0, |gates| gates.density());
        let Cost { backbone, executed, gater } = model.cost(size, gates.as_ref())?;
        for (sum, macs) in macs.iter_mut().zip([backbone, executed, gater]) {
            *sum += images * macs;
        }
        let image_macs = match (model, &gates) {
            (Model::Gated(model), Some(gates)) => {
                opened.add(gates.values().data())?;
                model.image_macs(size, gates)?
            }
            _ => vec![backbone; labels.len()],
        };
        each(&labels, &logits, &image_macs, time)?;
    }
    let (densities, dead_layers) = match model {
        Model::Plain(_) => (Vec::new(), Vec::new()),
        Model::Gated(model) => (opened.densities(model.plan())?, opened.dead_layers(model.plan())?),
    };
    let images = test.images.len() as f64;
    let [backbone, executed, gater] = macs.map(|sum| sum / images);
    Ok(Evaluation {
        accuracy: correct_images as f64 / images,
        loss: loss / images,
        gate_density: open / images,
        cost: Cost { backbone, executed, gater },
        densities,
        dead_layers: dead_layers.into_iter().map(str::to_owned).collect(),
    })
}

/// What to say of a layer that is [dead](Evaluation::dead_layers).
pub(crate) fn dead_warning(layer: &str) -> String {
    format!("warning: {layer} is dead: no image of the test set opens one of its gates")
}

/// Images of a batch.
enum Input<'a> {
    /// (N, C, H, W).
    Host(&'a Tensor),
    /// Their numbers (N).
    #[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only a GPU reads them"))]
    Resident(&'a Resident, &'a [usize]),
}

/// A plan on a device.
enum Plan {
    Cpu(InferencePlan),
    #[cfg(feature = "cuda")]
    F32(CudaPlan<f32>),
    #[cfg(feature = "cuda")]
    Bf16(CudaPlan<bf16>),
}

impl Plan {
    fn new(model: &Model, options: PlanOptions, device: &Device) -> Result<Plan> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = device {
            let PlanOptions { size, batch, dtype, .. } = options;
            return Ok(match dtype {
                DType::F32 => Plan::F32(CudaPlan::new(device, model, size, batch)?),
                DType::Bf16 => Plan::Bf16(CudaPlan::new(device, model, size, batch)?),
            });
        }
        debug_assert!(matches!(device, Device::Cpu), "no other device can be opened");
        Ok(Plan::Cpu(InferencePlan::new(model, options)?))
    }

    /// Numbers of gates and classes.
    fn widths(&self) -> [usize; 2] {
        match self {
            Plan::Cpu(plan) => [plan.gate_count(), plan.classes()],
            #[cfg(feature = "cuda")]
            Plan::F32(plan) => [plan.gate_count(), plan.classes()],
            #[cfg(feature = "cuda")]
            Plan::Bf16(plan) => [plan.gate_count(), plan.classes()],
        }
    }

    /// Logits (N, classes) and gates of these images; the plan is of `model`.
    fn infer(&mut self, model: &Model, input: Input<'_>) -> Result<(Tensor, Option<Gates>)> {
        let batch = match input {
            Input::Host(images) => images.dims()[0],
            Input::Resident(_, numbers) => numbers.len(),
        };
        let [count, classes] = self.widths();
        let (mut gates, mut logits) = (vec![0.0; batch * count], vec![0.0; batch * classes]);
        match (self, input) {
            (Plan::Cpu(plan), Input::Host(images)) => {
                plan.gates(images.data(), &mut gates)?;
                if gates.iter().any(|gate| gate.is_nan()) {
                    // Training diverged. A plan refuses such gates; the model shows them in its logits.
                    return Ok(model.forward(images, &mut Ctx::eval())?);
                }
                plan.run_with_gates(images.data(), &gates, &mut logits)?;
            }
            (Plan::Cpu(_), Input::Resident(..)) => bail!("the images are on a GPU"),
            #[cfg(feature = "cuda")]
            (Plan::F32(plan), input) => run(plan, input, &mut logits, &mut gates)?,
            #[cfg(feature = "cuda")]
            (Plan::Bf16(plan), input) => run(plan, input, &mut logits, &mut gates)?,
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
}

#[cfg(feature = "cuda")]
fn run<T: Activation>(
    plan: &mut CudaPlan<T>,
    input: Input<'_>,
    logits: &mut [f32],
    gates: &mut [f32],
) -> Result<()> {
    match input {
        Input::Host(images) => plan.run(images.data(), logits, gates)?,
        Input::Resident(Resident { images, augment }, numbers) => {
            plan.run_on(images, augment, numbers, logits, gates)?;
        }
    }
    Ok(())
}

/// Number of rows of `logits` (N, classes) whose largest entry is at the label.
pub(crate) fn correct(logits: &Tensor, labels: &[usize]) -> usize {
    let classes = predictions(logits, labels.len());
    classes.zip(labels).filter(|(class, label)| class == *label).count()
}

/// Where the largest entry of each of the `rows` rows of `logits` is.
pub(crate) fn predictions(logits: &Tensor, rows: usize) -> impl Iterator<Item = usize> {
    let rows = logits.data().chunks_exact(logits.len() / rows.max(1));
    let best = |row: &[f32]| (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]));
    rows.map(move |row| best(row).unwrap_or_default())
}
