//! The trait [`Op`]: what a step of a network computes, as training, plans, counts and files ask
//! for it.

use std::fmt;
use std::sync::Arc;

use gaternet_core::nn::State;
use gaternet_core::ops::Active;
use gaternet_core::{Ctx, Error, Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep};
use crate::gating::pruning::Pruning;
#[cfg(feature = "onnx")]
use crate::onnx::OnnxStep;
use crate::plan::{PlanContext, Planned};

/// The work of one step of a [`Network`](crate::Network): a convolution, a pool, or an op of a
/// program's own, which [`NetworkBuilder::op`](crate::NetworkBuilder::op) adds.
///
/// An op says what shape it makes, computes it on tensors (with gradients, by the ops of
/// [`gaternet_core::ops`] or its own), and compiles itself for a plan. What follows it in the step
/// is not its own: batch norm, gates, a residual and a ReLU are applied to what it returns. An op
/// with [`filters`](Self::filters) can be gated. Ops that have no CUDA kernel or no ONNX node are
/// refused there by their name.
///
/// Cloning a network shares its ops, as it shares its weights.
pub trait Op: fmt::Debug + Send + Sync {
    /// Name in error messages, as in `max pooling`.
    fn name(&self) -> &str;

    /// Shape (C, H, W) of the output for inputs of these shapes; a vector of C features is (C, 1,
    /// 1). Networks take images of any size, so this holds for any size too.
    ///
    /// # Errors
    /// [`Error::Shape`] if the op cannot be applied to such inputs.
    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]>;

    /// Computes the output (N, C, H, W) or (N, C) for these inputs, in the graph of gradients if
    /// `ctx` tracks them. Channels that `active` does not list may hold anything: the gates make
    /// them 0.
    ///
    /// # Errors
    /// An error if the inputs do not fit the op, naming it and the shapes.
    fn forward(&self, inputs: &[&Tensor], active: &Active, ctx: &mut Ctx) -> Result<Tensor>;

    /// Compiles the op for evaluation on the processor, for inputs of one size.
    ///
    /// # Errors
    /// If the op cannot be applied to such inputs.
    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned>;

    /// Multiply-accumulates for one image with everything active, for inputs of these shapes;
    /// 0 by default, as normalisation, activations and additions count.
    fn macs(&self, inputs: &[[usize; 3]]) -> u64 {
        let _ = inputs;
        0
    }

    /// The filters, one for each channel of the output, if gates can leave them out.
    fn filters(&self) -> Option<Filters> {
        None
    }

    /// Whether its plan reads only the active input channels, so that the step before it need not
    /// set the others to 0. `false` by default: they are 0.
    fn skips_channels(&self) -> bool {
        false
    }

    /// Whether each channel of the output is made of the same channel of the only input, and is 0
    /// where that is 0: then a channel that is inactive in the input is inactive in the output.
    /// `false` by default.
    fn keeps_zeros(&self) -> bool {
        false
    }

    /// Whether the output is the input, so that the step can be left out; in training, if
    /// `training`. `false` by default.
    fn is_identity(&self, training: bool) -> bool {
        let _ = training;
        false
    }

    /// Whether it is a fully connected layer, which computes the logits if it is the last step.
    fn is_linear(&self) -> bool {
        false
    }

    /// Adds its parameters and buffers, each with `prefix` before its name, as
    /// [`Module::collect`](gaternet_core::nn::Module::collect) does. Adds none by default.
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        let _ = (prefix, out);
    }

    /// A copy with weights of its own that has only what `pruning` keeps, for
    /// [`GatedNet::pruned_subnetwork`](crate::GatedNet::pruned_subnetwork); `None` if the op itself
    /// will do, which is the default for an op without state.
    ///
    /// # Errors
    /// [`Error::Config`] if the op cannot be pruned, which is the default for an op with state.
    fn pruned(&self, pruning: Pruning<'_>) -> Result<Option<Arc<dyn Op>>> {
        let mut state = Vec::new();
        self.collect("", &mut state);
        if state.is_empty() && pruning.keeps_all() {
            return Ok(None);
        }
        let rule = "an op with weights or gates must say what is left of it: implement Op::pruned";
        Err(Error::Config { field: "op", value: self.name().to_owned(), rule })
    }

    /// Emits the launches of the op on a GPU and returns the value they compute.
    ///
    /// # Errors
    /// [`cuda::Error::Unsupported`] if there is no kernel for it, which is the default.
    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        step.refuse(self.name())
    }

    /// Writes the nodes of the op into an ONNX graph and returns the name of the value they
    /// compute.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no node for it, which is the default.
    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        step.refuse(self.name())
    }
}

/// The filters of an [`Op`], as placements, counts and tables list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filters {
    /// Number of filters F, the channels of the output.
    pub count: usize,
    /// Input channels that each filter reads: C of a convolution, 1 of a depthwise one.
    pub channels: usize,
    /// Size (KH, KW) of a filter.
    pub kernel: [usize; 2],
    /// The input channels that each filter reads.
    pub reads: Reads,
}

/// The input channels that a filter reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Every filter reads all channels: its work falls with those that are inactive.
    All,
    /// Each filter reads the channel of its own number, as in a depthwise convolution: where its
    /// gate is closed nothing reads that channel, and what computes it need not run either.
    Same,
}
