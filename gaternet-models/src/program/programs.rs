//! A network lowered for training and for evaluation.

use gaternet_core::{Ctx, Result, Tensor};

use super::lowering::{Mode, Program};
use super::tensors::Gating;
use crate::gating::gate_plan::GatePlan;
use crate::gating::pruning::PruningMap;
use crate::network::Network;

/// A network lowered in both modes.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    train: Program,
    infer: Program,
}

impl Programs {
    /// Lowers `network`; without `plan` no filter has a gate.
    pub(crate) fn new(network: &Network, plan: Option<&GatePlan>) -> Programs {
        let kept = plan.map(|plan| PruningMap::new(plan, None));
        let [train, infer] =
            [Mode::Train, Mode::Infer].map(|mode| Program::new(network, kept.as_ref(), mode));
        Programs { train, infer }
    }

    pub(crate) fn of(&self, mode: Mode) -> &Program {
        match mode {
            Mode::Train => &self.train,
            Mode::Infer => &self.infer,
        }
    }

    /// The output for `images` (N, C, H, W), in training or in evaluation as `ctx` says.
    pub(crate) fn run(
        &self,
        images: &Tensor,
        gating: Option<Gating<'_>>,
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        self.of(Mode::of(ctx)).run(images, gating, ctx)
    }
}
