//! One training step for one batch size: launched once, then replayed as a graph.

use std::cell::RefCell;

use gaternet_kernels::cuda::cross_entropy::{self, Loss};
use gaternet_kernels::cuda::sgd::Sgd;
use gaternet_kernels::cuda::{Activation, Clock, CudaDevice, CudaGraph};

use super::averages::Averages;
use super::builder::Builder;
use super::gating::Gating;
use super::input::{Input, Setup};
use super::metrics::Metrics;
use super::node::{Node, plan_backward};
use super::pass::Pass;
use super::weights::Weights;
use crate::cuda::Result;
use crate::cuda::buffers::Buffers;
use crate::cuda::error::unsupported;
use crate::cuda::lower::lower;
use crate::cuda::value::{Map, Row, Value};
use crate::files::model::Model;
use crate::gating::pruning::PruningMap;
use crate::program::{Mode, Program};

/// The state that the steps of all batch sizes share.
pub(super) struct Shared<T> {
    pub(super) device: CudaDevice,
    pub(super) weights: Weights<T>,
    pub(super) optimizer: RefCell<Sgd>,
    pub(super) averages: Option<Averages>,
    pub(super) clock: RefCell<Clock>,
    /// The training of the gates, if there are any.
    pub(super) gating: Option<Gating>,
    pub(super) metrics: Metrics,
    pub(super) label_smoothing: f32,
}

/// The step of one batch size.
pub(super) struct TrainStep<T> {
    buffers: Buffers<T>,
    nodes: Vec<Node>,
    images: Map,
    logits: Row,
    grad_logits: Row,
    pub(super) classes: usize,
    pub(super) input: Input,
    /// Number of batches of this size in an epoch.
    pub(super) batches: usize,
    ran: bool,
    graph: Option<CudaGraph>,
}

impl<T: Activation> TrainStep<T> {
    /// Makes the step for `batches` batches of `batch` images.
    pub(super) fn new(
        weights: &mut Weights<T>,
        device: &CudaDevice,
        model: &Model,
        setup: &Setup,
        [batch, batches]: [usize; 2],
    ) -> Result<TrainStep<T>> {
        let size = [setup.shape[1], setup.shape[2]];
        let mut builder = Builder::new(weights, batch);
        let images = builder.images(setup.shape);
        let (backbone, gated) = match model {
            Model::Plain(model) => (model.network(), None),
            Model::Gated(model) => {
                let gater = Program::new(model.gater().network(), None, Mode::Train);
                let gater = lower(&gater, images, size, &mut builder)?;
                let Value::Row(gate_logits) = gater else {
                    return unsupported("gates that are maps");
                };
                builder.gates(gate_logits, model);
                (model.backbone().network(), Some(&**model))
            }
        };
        let kept = gated.map(|model| PruningMap::new(model.plan(), None));
        let lowered = Program::new(backbone, kept.as_ref(), Mode::Train);
        let Value::Row(logits) = lower(&lowered, images, size, &mut builder)? else {
            return unsupported("a loss of maps");
        };
        let Builder { mut sizes, mut nodes, constant, computed_by, .. } = builder;
        let grad_logits = sizes.row_like(logits);
        sizes.need_scratch(2 * batch);
        let ends = [logits, grad_logits];
        plan_backward(&mut nodes, device, &mut sizes, &constant, &computed_by, ends)?;
        Ok(TrainStep {
            buffers: Buffers::new(device, batch, &sizes, gated)?,
            nodes,
            images,
            logits,
            grad_logits,
            classes: backbone.features(),
            input: Input::new(device, setup, [batch, batches])?,
            batches,
            ran: false,
            graph: None,
        })
    }

    /// Runs the next step. The first runs as it is, since kernels are loaded when they are first
    /// used; from then on it is a graph if `graphs`.
    pub(super) fn run(&mut self, shared: &Shared<T>, graphs: bool) -> Result<()> {
        if self.ran && graphs && self.graph.is_none() {
            self.graph = Some(crate::cuda::capture(&shared.device, || self.step(shared))?);
        }
        match &self.graph {
            Some(graph) => graph.launch()?,
            None => self.step(shared)?,
        }
        self.ran = true;
        Ok(())
    }

    /// Makes the next step run as it is.
    pub(super) fn forget_graph(&mut self) {
        (self.ran, self.graph) = (false, None);
    }

    fn step(&self, shared: &Shared<T>) -> Result<()> {
        let Shared { weights, metrics, .. } = shared;
        let buffers = &self.buffers;
        {
            let clock = shared.clock.borrow();
            self.input.load(&clock, &mut buffers.map_mut(self.images))?;
            let gating = shared.gating.as_ref();
            let pass = Pass { weights, buffers, gating, metrics, clock: &clock };
            self.nodes.iter().try_for_each(|node| node.forward(pass))?;
            self.loss(metrics, shared.label_smoothing)?;
            self.nodes.iter().rev().try_for_each(|node| node.backward(pass))?;
            shared.optimizer.borrow_mut().step(&clock)?;
        }
        shared.averages.as_ref().map_or(Ok(()), Averages::update)?;
        Ok(shared.clock.borrow_mut().advance()?)
    }

    fn loss(&self, metrics: &Metrics, label_smoothing: f32) -> Result<()> {
        let buffers = &self.buffers;
        let logits = buffers.row(self.logits);
        let mut grad = buffers.row_mut(self.grad_logits);
        let loss = Loss {
            result: &mut metrics.loss.borrow_mut(),
            totals: Some(&mut metrics.totals.borrow_mut()),
            scratch: &mut buffers.scratch(),
        };
        let (classes, grad) = (self.classes, Some(&mut *grad));
        Ok(self.input.with_targets(|targets| {
            cross_entropy::forward_backward(classes, label_smoothing, &logits, targets, grad, loss)
        })?)
    }
}
