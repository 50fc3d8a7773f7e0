//! The training of a model's gates: its estimator, and the losses of the gates with their weights.
//! What changes over the training is a value for every step in device memory.

use gaternet_core::gate::{Estimator, block_bounds};
use gaternet_kernels::cuda::gate_loss::{self, Loss};
use gaternet_kernels::cuda::gate_target::{self, ConvWork, GateTarget};
use gaternet_kernels::cuda::gumbel_sigmoid::{self, Noise};
use gaternet_kernels::cuda::sem_hash::{self, Draw};
use gaternet_kernels::cuda::{Activation, Clock, CudaBuffer, CudaDevice, GatedLayers, PerStep};
use gaternet_kernels::cuda::{batch_shaping, straight_through};

use super::metrics::Metrics;
use super::options::TrainOptions;
use crate::cost::MacCosts;
use crate::cuda::buffers::Buffers;
use crate::cuda::error::{Result, unsupported};
use crate::gating::gate_loss::GateLoss;
use crate::gating::gated_config::GatedConfig;
use crate::gating::gated_net::GatedNet;

#[derive(Debug)]
pub(super) struct Gating {
    estimator: Estimator,
    /// Temperature of each step; 1 where the estimator has none.
    taus: CudaBuffer<f32>,
    /// The gated layers of the filters' gates.
    layers: GatedLayers,
    /// Weight of the mean gate at each step.
    l1: CudaBuffer<f32>,
    /// The losses with a target, each with its weight and bounds at each step, (steps, 3).
    targets: Vec<(GateTarget, CudaBuffer<f32>)>,
    /// The batch-shaping losses: parameters of the distribution, and weight at each step.
    shapings: Vec<([f64; 2], CudaBuffer<f32>)>,
}

/// Whether a loss looks at the gates of evaluation, and a training pass has others.
pub(super) fn counts_evaluation(config: &GatedConfig) -> bool {
    let mut losses = config.gate_losses.iter();
    draws(config.estimator) && losses.any(|term| term.weight > 0.0 && term.loss.has_target())
}

/// Length of the scratch buffer that the losses need.
pub(super) fn gate_scratch(model: &GatedNet, batch: usize) -> usize {
    let plan = model.plan();
    let of_target = gate_target::scratch_len(batch, plan.layers().len());
    gate_loss::l1_scratch_len(batch * plan.gates()).max(of_target).max(plan.outputs())
}

/// Whether training gates are others than those of evaluation.
fn draws(estimator: Estimator) -> bool {
    match estimator {
        Estimator::SemHash | Estimator::GumbelSigmoid { .. } => true,
        Estimator::StraightThrough | Estimator::TopK { .. } => false,
    }
}

impl Gating {
    /// The training of the gates of `model`, for images of `shape` (C, H, W).
    pub(super) fn new(
        device: &CudaDevice,
        model: &GatedNet,
        shape: [usize; 3],
        options: &TrainOptions,
    ) -> Result<Gating> {
        let (config, plan) = (model.config(), model.plan());
        let steps = options.learning_rates.len();
        let trained = steps.saturating_sub(options.open_steps).max(1) as f64;
        let progress =
            |step: usize| (step.saturating_sub(options.open_steps) as f64 / trained).min(1.0);
        let table = |row: &dyn Fn(f64) -> Vec<f32>| -> Result<_> {
            let values: Vec<f32> = (0..steps).flat_map(|step| row(progress(step))).collect();
            Ok(CudaBuffer::from_slice(device, &values)?)
        };
        let (mut l1, mut targets, mut shapings) = (Vec::new(), Vec::new(), Vec::new());
        for term in config.gate_losses.iter().filter(|term| term.weight > 0.0) {
            match term.loss {
                GateLoss::L1 => l1.push(term),
                GateLoss::TargetRate { target } => {
                    let block =
                        |layer| vec![ConvWork { work: 1.0, filters: Some(layer), channels: None }];
                    let blocks: Vec<_> = (0..plan.layers().len()).map(block).collect();
                    let schedule = table(&|done| vec![term.weight_at(done), target, target])?;
                    let target = GateTarget::new(device, &blocks, blocks.len(), None)?;
                    targets.push((target, schedule));
                }
                GateLoss::TargetMacs { target } => {
                    let costs = model.mac_costs([shape[1], shape[2]])?;
                    let fraction = costs.block_fraction(target.into())?;
                    let schedule = table(&|done| {
                        let (lower, upper) = block_bounds(fraction, done);
                        vec![term.weight_at(done), lower as f32, upper as f32]
                    })?;
                    let target = of_macs(device, &costs, plan.layers().len(), target)?;
                    targets.push((target, schedule));
                }
                GateLoss::BatchShaping { a, b } => {
                    let weights = table(&|done| vec![term.weight_at(done)])?;
                    shapings.push(([a.into(), b.into()], weights));
                }
                GateLoss::TargetLatency { .. } => {
                    return unsupported(format!("the gate loss {:?}", term.loss));
                }
            }
        }
        let tau = |done| match config.estimator {
            Estimator::GumbelSigmoid { tau, .. } => tau.tau(done),
            _ => 1.0,
        };
        Ok(Gating {
            estimator: config.estimator,
            taus: table(&|done| vec![tau(done)])?,
            layers: GatedLayers::new(device, &plan.widths(), |_| 0)?,
            l1: table(&|done| vec![l1.iter().map(|term| term.weight_at(done)).sum()])?,
            targets,
            shapings,
        })
    }

    /// Whether training gates are others than those of evaluation.
    pub(super) fn draws(&self) -> bool {
        draws(self.estimator)
    }

    /// Computes the gates of gate logits and, if there is noise, `noisy` for the gradient.
    pub(super) fn draw(
        &self,
        batch: usize,
        clock: &Clock,
        gate_logits: &CudaBuffer<f32>,
        noisy: &mut CudaBuffer<f32>,
        gates: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        match self.estimator {
            Estimator::SemHash => {
                let draw = Draw::Random { clock, stream: 0 };
                Ok(sem_hash::forward(batch, gate_logits, draw, noisy, gates)?)
            }
            Estimator::GumbelSigmoid { hard, .. } => {
                let (noise, tau) = (Noise::Random { stream: 0 }, self.tau(clock));
                Ok(gumbel_sigmoid::forward(gate_logits, noise, tau, hard, noisy, gates)?)
            }
            Estimator::StraightThrough | Estimator::TopK { .. } => Ok(()),
        }
    }

    /// Computes the gradient of the gate logits from that of their gates.
    pub(super) fn backward(
        &self,
        clock: &Clock,
        [gate_logits, noisy]: [&CudaBuffer<f32>; 2],
        grad: &CudaBuffer<f32>,
        grad_gate_logits: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let tau = self.tau(clock);
        match self.estimator {
            Estimator::SemHash => sem_hash::backward(noisy, grad, grad_gate_logits)?,
            Estimator::StraightThrough => {
                straight_through::backward(gate_logits, grad, grad_gate_logits)?
            }
            Estimator::GumbelSigmoid { .. } => {
                gumbel_sigmoid::backward(noisy, grad, tau, grad_gate_logits)?;
            }
            // The gradient of the sigmoid.
            Estimator::TopK { .. } => {
                gumbel_sigmoid::backward(gate_logits, grad, tau, grad_gate_logits)?
            }
        }
        Ok(())
    }

    fn tau<'a>(&'a self, clock: &'a Clock) -> PerStep<'a> {
        PerStep { clock, values: &self.taus }
    }

    /// Adds the gradients of the losses of gates to those of the gates. `evaluated` are the gates
    /// of evaluation, if they are others than those of the pass.
    pub(super) fn add_losses<T: Activation>(
        &self,
        (buffers, metrics, clock): (&Buffers<T>, &Metrics, &Clock),
        evaluated: Option<&CudaBuffer<f32>>,
    ) -> Result<()> {
        let (values, mut grad) = (buffers.gates.values.borrow(), buffers.gates.grad.borrow_mut());
        let [mut result, mut totals] =
            [metrics.gate_loss.borrow_mut(), metrics.gate_totals.borrow_mut()];
        let mut scratch = buffers.scratch();
        let mut loss = Loss {
            grad: &mut grad,
            result: &mut result,
            totals: &mut totals,
            scratch: &mut scratch,
        };
        let weight = PerStep { clock, values: &self.l1 };
        gate_loss::l1(buffers.batch, &values, weight, &mut loss)?;
        let gates = evaluated.unwrap_or(&values);
        for (target, schedule) in &self.targets {
            let schedule = PerStep { clock, values: schedule };
            gate_target::forward_backward(target, &self.layers, gates, schedule, &mut loss)?;
        }
        Ok(())
    }

    /// Adds the gradients of the losses of gate logits to `grad_gate_logits`.
    pub(super) fn add_losses_of_logits<T: Activation>(
        &self,
        (buffers, metrics, clock): (&Buffers<T>, &Metrics, &Clock),
        gate_logits: &CudaBuffer<f32>,
        grad_gate_logits: &mut CudaBuffer<f32>,
    ) -> Result<()> {
        let mut loss = Loss {
            grad: grad_gate_logits,
            result: &mut metrics.gate_loss.borrow_mut(),
            totals: &mut metrics.gate_totals.borrow_mut(),
            scratch: &mut buffers.scratch(),
        };
        for (prior, weights) in &self.shapings {
            let weight = PerStep { clock, values: weights };
            batch_shaping::forward_backward(*prior, buffers.batch, gate_logits, weight, &mut loss)?;
        }
        Ok(())
    }
}

/// The target loss of the MACs of a model with `layers` gated layers.
fn of_macs(
    device: &CudaDevice,
    costs: &MacCosts,
    layers: usize,
    target: f32,
) -> Result<GateTarget> {
    let whole = costs.fixed + costs.blocks.iter().flatten().map(|conv| conv.macs).sum::<f64>();
    let fraction = |macs: f64| (macs / whole) as f32;
    let blocks: Vec<Vec<ConvWork>> = costs
        .blocks
        .iter()
        .map(|block| {
            let conv = block.iter().map(|conv| ConvWork {
                work: fraction(conv.macs),
                filters: conv.filters,
                channels: conv.channels,
            });
            conv.collect()
        })
        .collect();
    let always = fraction(costs.gater + costs.fixed);
    Ok(GateTarget::new(device, &blocks, layers, Some([always, target]))?)
}
