//! Inference: a trained model as a fixed sequence of kernels.

mod conv;
mod layout;
mod live;
mod op;
mod program;
#[cfg(test)]
mod tests;

use gaternet_core::{Error, Result};
use gaternet_kernels::DType;

use crate::calibration::Calibration;
use crate::gate_rule::GateRule;
use crate::gated_net::GatedNet;
use crate::kept::Kept;
use crate::model::Model;
use crate::plain_net::PlainNet;
#[cfg(feature = "onnx")]
pub(crate) use conv::fold;
use live::LiveLists;
use program::Program;

const OP: &str = "inference plan";

/// A model's evaluation pass, prepared for images of one size: batch norm is folded into the convolutions'
/// weights, weights and buffers are laid out, the live filters of the whole network are listed once a batch.
///
/// In a batch with an image for every thread, each thread runs some images through the whole network; in a
/// smaller one all threads share each convolution. Once every thread has done its share nothing is allocated, but
/// for the lists by which [`Estimator::TopK`](gaternet_core::gate::Estimator::TopK) and a floor sort.
/// A network of more than 2^20 weights, 2^21 in bf16, runs layer by layer over the batch, and needs memory for
/// the activations of all its images.
///
/// Weights are copied: training the model further does not change its plan. Logits differ from
/// [`Model::forward`]'s by rounding, to f32 or the type of the products, and so may a gate whose
/// pre-activation is about 0; they depend neither on the number of threads nor on the other samples of a batch.
pub struct InferencePlan {
    backbone: Program,
    gating: Option<Gating>,
}

/// How a plan is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Height and width of the images; 32x32 by default.
    pub size: [usize; 2],
    /// Leave out closed filters, the default. Otherwise they are computed and their output is set to 0, with
    /// the same bits: what gates cost in an implementation that masks.
    pub skip: bool,
    /// Images of a usual run, 64 by default. Any number can be run; with many weights, other algorithms are
    /// the fastest for one image than for several that share them.
    pub batch: usize,
    /// What all convolutions multiply, those of the gater included; f32 by default. Activations, sums and all
    /// other layers are f32 with each.
    pub dtype: DType,
}

impl Default for PlanOptions {
    fn default() -> PlanOptions {
        PlanOptions { size: [32, 32], skip: true, batch: 64, dtype: DType::F32 }
    }
}

struct Gating {
    decider: Decider,
    /// (N, c), the latest.
    gates: Vec<f32>,
    live: LiveLists,
}

/// What makes gates of images.
struct Decider {
    gater: Program,
    rule: GateRule,
}

impl InferencePlan {
    /// # Errors
    /// [`Error::Kernel`] if images of this size do not fit the network, or `GATERNET_ISA` names an
    /// instruction set that the machine does not have; [`Error::Shape`] if one image takes more
    /// memory than there is.
    pub fn new(model: &Model, options: PlanOptions) -> Result<InferencePlan> {
        match model {
            Model::Plain(model) => InferencePlan::plain(model, options),
            Model::Gated(model) => InferencePlan::gated(model, options),
        }
    }

    /// [`new`](Self::new) of a network without gates.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn plain(model: &PlainNet, options: PlanOptions) -> Result<InferencePlan> {
        let backbone = Program::new(model.network(), options, None)?;
        Ok(InferencePlan { backbone, gating: None })
    }

    /// [`new`](Self::new) of a gated network.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn gated(model: &GatedNet, options: PlanOptions) -> Result<InferencePlan> {
        InferencePlan::keeping(model, options, &Kept::new(model.plan(), None))
    }

    /// [`gated`](Self::gated) without the filters that no image of the calibration set opens: they have
    /// no weights, nor have the channels that read them, and a gate that opens one counts as closed. Filters
    /// that every image of the set opens always run: a gate that closes one counts as open. If that leaves
    /// nothing to decide, [`run`](Self::run) leaves out the gater. An image that opens none of the
    /// former and all of the latter has the logits of the whole plan, bit for bit.
    ///
    /// # Errors
    /// Those of [`new`](Self::new), and [`Error::Shape`] if the calibration is of another number of gates.
    pub fn calibrated(
        model: &GatedNet,
        options: PlanOptions,
        calibration: &Calibration,
    ) -> Result<InferencePlan> {
        let fates = calibration.fates(model.plan())?;
        InferencePlan::keeping(model, options, &Kept::new(model.plan(), Some(&fates)))
    }

    fn keeping(model: &GatedNet, options: PlanOptions, kept: &Kept<'_>) -> Result<InferencePlan> {
        let backbone = Program::new(model.backbone().network(), options, Some(kept))?;
        let gater = Program::new(model.gater().network(), options, None)?;
        let decider = Decider { gater, rule: model.rule() };
        let gating = Gating { decider, gates: Vec::new(), live: LiveLists::new(kept) };
        Ok(InferencePlan { backbone, gating: Some(gating) })
    }

    /// Logits (N, classes) of `images` (N, 3, H, W): gater, gates, backbone.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is not that of N samples, or the gater's output is not a number.
    pub fn run(&mut self, images: &[f32], logits: &mut [f32]) -> Result<()> {
        let batch = self.samples(images)?;
        check("the logits must be (N, classes)", logits.len(), batch, self.classes())?;
        let live = match &mut self.gating {
            None => &[],
            Some(Gating { decider, gates, live }) => {
                gates.resize(batch * live.gates(), 0.0);
                if !live.settled() {
                    decider.decide(images, gates)?;
                }
                live.fill(gates)?
            }
        };
        self.backbone.run(live, images, logits)
    }

    /// The gates (N, c), 0 or 1, that the gater decides on for `images` (N, 3, H, W); c is 0 without a
    /// gater.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is not that of N samples.
    pub fn gates(&self, images: &[f32], gates: &mut [f32]) -> Result<()> {
        let batch = self.samples(images)?;
        check("the gates must be (N, c)", gates.len(), batch, self.gate_count())?;
        match &self.gating {
            Some(gating) => gating.decider.decide(images, gates),
            None => Ok(()),
        }
    }

    /// Logits (N, classes) of `images` (N, 3, H, W) with these gates (N, c), each 0 or 1.
    ///
    /// # Errors
    /// [`Error::Shape`] if a length is not that of N samples or a gate is neither 0 nor 1.
    pub fn run_with_gates(
        &mut self,
        images: &[f32],
        gates: &[f32],
        logits: &mut [f32],
    ) -> Result<()> {
        let batch = self.samples(images)?;
        check("the logits must be (N, classes)", logits.len(), batch, self.classes())?;
        check("the gates must be (N, c)", gates.len(), batch, self.gate_count())?;
        let live = match &mut self.gating {
            None => &[],
            Some(gating) => gating.live.fill(gates)?,
        };
        self.backbone.run(live, images, logits)
    }

    /// Number of gates, c; 0 without a gater.
    #[must_use]
    pub fn gate_count(&self) -> usize {
        self.gating.as_ref().map_or(0, |gating| gating.live.gates())
    }

    /// Width of the output layer.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.backbone.output_len()
    }

    /// Bytes of the weights as they are laid out for the kernels, gater included, without biases.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        let gater = self.gating.as_ref().map_or(0, |gating| gating.decider.gater.weight_bytes());
        self.backbone.weight_bytes() + gater
    }

    /// From here on, the time of each step of the backbone is measured.
    pub(crate) fn time_steps(&mut self) {
        self.backbone.time_steps();
    }

    /// Seconds of each step of the backbone since the last call, all threads together.
    pub(crate) fn take_step_seconds(&self) -> Vec<f64> {
        self.backbone.take_step_seconds()
    }

    /// N of images (N, 3, H, W).
    fn samples(&self, images: &[f32]) -> Result<usize> {
        let len = self.backbone.input_len();
        if images.len().is_multiple_of(len) {
            return Ok(images.len() / len);
        }
        let got = format!("{} values for images of {len}", images.len());
        Err(Error::Shape { op: OP, rule: "the images must be (N, 3, H, W)", got })
    }
}

impl Decider {
    fn decide(&self, images: &[f32], gates: &mut [f32]) -> Result<()> {
        let batch = images.len() / self.gater.input_len();
        // The pre-activations, no more than there are gates.
        self.gater.run(&[], images, &mut gates[..batch * self.rule.outputs()])?;
        self.rule.eval_in_place(batch, gates)
    }
}

fn check(rule: &'static str, got: usize, batch: usize, width: usize) -> Result<()> {
    if got == batch * width {
        return Ok(());
    }
    Err(Error::Shape { op: OP, rule, got: format!("{got} values for ({batch}, {width})") })
}
