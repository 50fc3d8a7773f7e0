//! The residual unit of two 3x3 convolutions.

use gaternet_core::nn::{BatchNorm2d, Conv2d, Epilogue, Module, State, scoped};
use gaternet_core::ops::Conv2dOptions;
use gaternet_core::{Ctx, Result, Tensor, ops};
use rand_chacha::ChaCha8Rng;

use super::gating::{ConvGating, Gating};
use crate::conv_spec::{ConvSpec, unit_convs};
use crate::plan::steps::{Steps, Value};

/// `relu(output gate · bn2(conv2(hidden gate · relu(bn1(conv1(x))))) + shortcut(x))`, where a filter
/// without a gate has the gate 1.
#[derive(Debug, Clone)]
pub(crate) struct BasicBlock {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    /// 1x1 convolution and batch norm where the shape changes; identity elsewhere.
    shortcut: Option<(Conv2d, BatchNorm2d)>,
    stride: usize,
}

impl BasicBlock {
    pub(crate) fn new(
        in_channels: usize,
        channels: usize,
        stride: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<BasicBlock> {
        let options =
            |stride, padding| Conv2dOptions { stride: [stride; 2], padding: [padding; 2] };
        let conv1 = Conv2d::new(in_channels, channels, [3, 3], options(stride, 1), rng)?;
        let conv2 = Conv2d::new(channels, channels, [3, 3], options(1, 1), rng)?;
        let shortcut = if stride == 1 && in_channels == channels {
            None
        } else {
            let conv = Conv2d::new(in_channels, channels, [1, 1], options(stride, 0), rng)?;
            Some((conv, BatchNorm2d::new(channels)?))
        };
        let (bn1, bn2) = (BatchNorm2d::new(channels)?, BatchNorm2d::new(channels)?);
        Ok(BasicBlock { conv1, bn1, conv2, bn2, shortcut, stride })
    }

    /// `x` (N, C, H, W) -> (N, F, H / stride, W / stride). Where a gate is 0, its filter gives exactly 0
    /// to conv2 or to the shortcut, and is not computed if the gating skips. `first` is the number
    /// of conv1 in the gating's plan.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        gating: Option<Gating<'_>>,
        first: usize,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let gates = |conv| gating.map_or(Ok(ConvGating::default()), |gating| gating.conv(conv));
        let (hidden_gates, output_gates) = (gates(first)?, gates(first + 1)?);
        let shortcut = match &self.shortcut {
            Some((conv, bn)) => bn.forward(&conv.forward(x, ctx)?, ctx, Epilogue::default())?,
            None => x.clone(),
        };
        let mut hidden = self.conv1.forward_gated(x, ctx, hidden_gates.live)?;
        // In the same pass as batch norm and before the ReLU, a gate that is off would get no gradient.
        let (fused, after) = match hidden_gates.values {
            Some(gates) if ctx.tracks() => (None, Some(gates)),
            gates => (gates, None),
        };
        let epilogue = Epilogue { gates: fused.as_ref(), residual: None, relu: true };
        hidden = self.bn1.forward(&hidden, ctx, epilogue)?;
        if let Some(gates) = after {
            hidden = ops::gate(&hidden, &gates)?;
        }
        let output = self.conv2.forward_gated(&hidden, ctx, output_gates.live)?;
        let gates = output_gates.values.as_ref();
        let epilogue = Epilogue { gates, residual: Some(&shortcut), relu: true };
        self.bn2.forward(&output, ctx, epilogue)
    }

    /// Appends the steps of [`forward`](Self::forward) in evaluation; `first` is the number of conv1.
    pub(crate) fn trace<'a>(
        &'a self,
        steps: &mut Steps<'a>,
        x: Value,
        first: usize,
    ) -> Result<Value> {
        let shortcut = match &self.shortcut {
            Some((conv, bn)) => steps.conv(first + 2, (conv, Some(bn)), x, None, false)?,
            None => x,
        };
        let hidden = steps.conv(first, (&self.conv1, Some(&self.bn1)), x, None, true)?;
        steps.conv(first + 1, (&self.conv2, Some(&self.bn2)), hidden, Some(shortcut), true)
    }

    /// Number of convolutions in [`convs`](Self::convs).
    pub(crate) fn conv_count(&self) -> usize {
        2 + usize::from(self.shortcut.is_some())
    }

    /// The convolutions of a unit called `name` on maps of `size`, the shortcut's last, and the size of
    /// its output.
    pub(crate) fn convs(&self, name: &str, size: [usize; 2]) -> (Vec<ConvSpec>, [usize; 2]) {
        let shortcut = self.shortcut.as_ref().map(|(conv, _)| ("shortcut.conv", conv));
        unit_convs(name, size, self.stride, [&self.conv1, &self.conv2], shortcut)
    }
}

impl Module for BasicBlock {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.conv1.collect(&scoped(prefix, "conv1"), out);
        self.bn1.collect(&scoped(prefix, "bn1"), out);
        self.conv2.collect(&scoped(prefix, "conv2"), out);
        self.bn2.collect(&scoped(prefix, "bn2"), out);
        if let Some((conv, bn)) = &self.shortcut {
            conv.collect(&scoped(prefix, "shortcut.conv"), out);
            bn.collect(&scoped(prefix, "shortcut.bn"), out);
        }
    }
}
