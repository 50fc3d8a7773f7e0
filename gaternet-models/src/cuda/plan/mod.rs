//! Evaluation on a GPU: active filters only, one launch for most convolutions.

mod builder;
mod op;
mod weights;

use std::fmt;

use gaternet_core::Error as ModelError;
use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::augment::{self, Augment, Images};
use gaternet_kernels::cuda::{Activation, Clock, CudaBuffer, CudaDevice, CudaGraph, convert};

use self::builder::Builder;
use self::op::Op;
use super::buffers::Buffers;
use super::error::{Result, unsupported};
use super::lower::lower;
use super::value::{Map, Row, Value};
use crate::files::model::Model;
use crate::gating::pruning::PruningMap;
use crate::program::{Mode, Program};

/// A model's evaluation pass on a GPU, for images of one size: batch norm is folded into the
/// convolutions, gates are made and the active filters listed on the device, and inactive filters
/// are not computed. Activations and products are in T (bf16 or f32), vectors and gates in f32.
///
/// It keeps the layers of its model: later changes of their weights are copied by
/// [`refresh`](Self::refresh).
pub struct CudaPlan<T> {
    buffers: Buffers<T>,
    ops: Vec<Op<T>>,
    images: Map,
    logits: Row,
    /// Images (N, C, H, W) of the caller.
    host_images: CudaBuffer<f32>,
    chosen: Chosen,
    /// Dims of the images.
    planes: PlaneDims,
    classes: usize,
    ran: bool,
    graph: Option<CudaGraph>,
    device: CudaDevice,
}

/// The images of a data set on the device that a pass takes.
struct Chosen {
    /// Numbers (N) of the images.
    order: CudaBuffer<i32>,
    /// Labels (N) of the images.
    labels: CudaBuffer<i32>,
    clock: Clock,
}

impl<T: Activation> CudaPlan<T> {
    /// Makes a plan for up to `batch` images of `size` (H, W) at once.
    ///
    /// # Errors
    /// [`Error::Unsupported`](super::Error::Unsupported) if there is no kernel for a layer;
    /// [`Error::Model`](super::Error::Model) if the images do not fit, or `batch` is 0; errors of
    /// the GPU.
    pub fn new(
        device: &CudaDevice,
        model: &Model,
        size: [usize; 2],
        batch: usize,
    ) -> Result<CudaPlan<T>> {
        if batch == 0 {
            let (value, rule) = (batch.to_string(), "must not be 0");
            return Err(ModelError::Config { field: "batch", value, rule }.into());
        }
        let (backbone, gated) = match model {
            Model::Plain(model) => (model.network(), None),
            Model::Gated(model) => (model.backbone().network(), Some(&**model)),
        };
        let shape = [backbone.channels(), size[0], size[1]];
        let mut builder = Builder::new(device, batch);
        let images = builder.sizes.maps(shape);
        if let Some(model) = gated {
            let gater = Program::new(model.gater().network(), None, Mode::Infer);
            let gater = lower(&gater, images, size, &mut builder)?;
            let Value::Row(gate_logits) = gater else { return unsupported("gates that are maps") };
            builder.ops.push(Op::Gates { gate_logits });
        }
        let kept = gated.map(|model| PruningMap::new(model.plan(), None));
        let program = Program::new(backbone, kept.as_ref(), Mode::Infer);
        let Value::Row(logits) = lower(&program, images, size, &mut builder)? else {
            return unsupported("logits that are maps");
        };
        let planes = PlaneDims { batch, channels: shape[0], plane: shape[1] * shape[2] };
        let Builder { sizes, ops, .. } = builder;
        Ok(CudaPlan {
            buffers: Buffers::new(device, batch, &sizes, gated)?,
            ops,
            images,
            logits,
            host_images: CudaBuffer::zeros(device, planes.len())?,
            chosen: Chosen {
                order: CudaBuffer::zeros(device, batch)?,
                labels: CudaBuffer::zeros(device, batch)?,
                clock: Clock::new(device, 0, 0)?,
            },
            planes,
            classes: backbone.features(),
            ran: false,
            graph: None,
            device: device.clone(),
        })
    }

    /// Copies the weights and statistics that the model has now.
    ///
    /// # Errors
    /// Errors of the GPU.
    pub fn refresh(&mut self) -> Result<()> {
        self.ops.iter_mut().try_for_each(Op::refresh)
    }

    /// Number of gates, c; 0 without a gater.
    #[must_use]
    pub fn gate_count(&self) -> usize {
        self.buffers.gates.count()
    }

    /// Number of classes, the width of the output layer.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Writes logits (N, classes) and gates (N, c), 0 or 1, of `images` (N, C, H, W), N up to the
    /// batch of the plan. A gate whose logit is NaN is neither, and its filter is computed.
    ///
    /// # Errors
    /// [`Error::Model`](super::Error::Model) if a length is not that of N samples; errors of the
    /// GPU.
    pub fn run(&mut self, images: &[f32], logits: &mut [f32], gates: &mut [f32]) -> Result<()> {
        let PlaneDims { channels, plane, .. } = self.planes;
        let sample = (channels * plane).max(1);
        let count = images.len() / sample;
        self.check(images.len() == count * sample, count, [logits.len(), gates.len()])?;
        // The other images may be anything: no sample depends on another.
        let mut whole = vec![0.0; self.planes.len()];
        whole[..images.len()].copy_from_slice(images);
        self.host_images.copy_from_slice(&whole)?;
        convert::pack(self.planes, &self.host_images, &mut self.buffers.map_mut(self.images))?;
        self.launch()?;
        self.read(logits, gates)
    }

    /// Runs as [`run`](Self::run) on the images with these `numbers` (N) in a data set on the
    /// device, changed as `augment` says, which is to normalise them: at step 0 of seed 0.
    ///
    /// # Errors
    /// [`Error::Model`](super::Error::Model) if a length is not that of N samples or a number is
    /// not one of the data set; errors of the GPU, also if its images are of another size.
    pub fn run_on(
        &mut self,
        images: &Images,
        augment: &Augment,
        numbers: &[usize],
        logits: &mut [f32],
        gates: &mut [f32],
    ) -> Result<()> {
        let known = numbers.iter().all(|&number| number < images.len());
        self.check(known, numbers.len(), [logits.len(), gates.len()])?;
        let mut order = vec![0; self.planes.batch];
        // Numbers are below the length of a buffer of labels, which fits in an i32.
        order.iter_mut().zip(numbers).for_each(|(place, &number)| *place = number as i32);
        let Chosen { order: chosen, labels, clock } = &mut self.chosen;
        chosen.copy_from_slice(&order)?;
        let mut batch = self.buffers.map_mut(self.images);
        augment::batch(augment, images, chosen, clock, &mut batch, labels, None)?;
        drop(batch);
        self.launch()?;
        self.read(logits, gates)
    }

    fn check(&self, fits: bool, count: usize, lengths: [usize; 2]) -> Result<()> {
        let batch = self.planes.batch;
        let wanted = [count * self.classes, count * self.gate_count()];
        if fits && count <= batch && lengths == wanted {
            return Ok(());
        }
        let rule = "images, logits and gates must be of N samples, at most the batch";
        let got = format!("{count} images and {lengths:?} values for a batch of {batch}");
        Err(ModelError::Shape { op: "CUDA plan", rule, got }.into())
    }

    fn read(&self, logits: &mut [f32], gates: &mut [f32]) -> Result<()> {
        let all = self.buffers.row(self.logits).to_vec()?;
        logits.copy_from_slice(&all[..logits.len()]);
        let all = self.buffers.gates.values.borrow().to_vec()?;
        gates.copy_from_slice(&all[..gates.len()]);
        Ok(())
    }

    /// Launches a pass. The first one loads kernels, which a graph cannot, so it runs as it is.
    fn launch(&mut self) -> Result<()> {
        if self.ran && self.graph.is_none() {
            self.graph = Some(super::capture(&self.device, || self.pass())?);
        }
        match &self.graph {
            Some(graph) => graph.launch()?,
            None => self.pass()?,
        }
        self.ran = true;
        Ok(())
    }

    fn pass(&self) -> Result<()> {
        self.ops.iter().try_for_each(|op| op.run(&self.buffers))
    }
}

impl<T> fmt::Debug for CudaPlan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaPlan({} launches, {:?})", self.ops.len(), self.device)
    }
}
