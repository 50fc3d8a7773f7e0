//! The residual unit of two 3x3 convolutions whose batch norms and ReLUs come first (He et al. 2016b).

use gaternet_core::nn::{BatchNorm2d, Conv2d, Epilogue, Module, State, scoped};
use gaternet_core::ops::Conv2dOptions;
use gaternet_core::{Ctx, Result, Tensor, ops};
use rand_chacha::ChaCha8Rng;

use super::gating::{ConvGating, Gating};
use crate::conv_spec::{ConvSpec, unit_convs};
use crate::plan::steps::{Steps, Value};

/// `output gate · conv2(hidden gate · relu(bn2(conv1(h)))) + shortcut` with `h = relu(bn1(x))`, where a
/// filter without a gate has the gate 1.
#[derive(Debug, Clone)]
pub(crate) struct PreActBlock {
    bn1: BatchNorm2d,
    conv1: Conv2d,
    bn2: BatchNorm2d,
    conv2: Conv2d,
    /// 1x1 convolution of h where the shape changes; x itself elsewhere.
    shortcut: Option<Conv2d>,
    stride: usize,
}

impl PreActBlock {
    pub(crate) fn new(
        in_channels: usize,
        channels: usize,
        stride: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<PreActBlock> {
        let options =
            |stride, padding| Conv2dOptions { stride: [stride; 2], padding: [padding; 2] };
        let conv1 = Conv2d::new(in_channels, channels, [3, 3], options(stride, 1), rng)?;
        let conv2 = Conv2d::new(channels, channels, [3, 3], options(1, 1), rng)?;
        let fits = stride == 1 && in_channels == channels;
        let conv = || Conv2d::new(in_channels, channels, [1, 1], options(stride, 0), rng);
        let shortcut = (!fits).then(conv).transpose()?;
        let (bn1, bn2) = (BatchNorm2d::new(in_channels)?, BatchNorm2d::new(channels)?);
        Ok(PreActBlock { bn1, conv1, bn2, conv2, shortcut, stride })
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
        let rectified = Epilogue { relu: true, ..Epilogue::default() };
        let h = self.bn1.forward(x, ctx, rectified)?;
        let shortcut = match &self.shortcut {
            Some(conv) => conv.forward(&h, ctx)?,
            None => x.clone(),
        };
        let hidden = self.conv1.forward_gated(&h, ctx, hidden_gates.live)?;
        let hidden = gated(self.bn2.forward(&hidden, ctx, rectified)?, hidden_gates.values)?;
        let output = self.conv2.forward_gated(&hidden, ctx, output_gates.live)?;
        ops::add(&gated(output, output_gates.values)?, &shortcut)
    }

    /// Appends the steps of [`forward`](Self::forward) in evaluation; `first` is the number of conv1.
    pub(crate) fn trace<'a>(
        &'a self,
        steps: &mut Steps<'a>,
        x: Value,
        first: usize,
    ) -> Result<Value> {
        let h = steps.batch_norm(&self.bn1, x, true);
        let shortcut = match &self.shortcut {
            Some(conv) => steps.conv(first + 2, (conv, None), h, None, false)?,
            None => x,
        };
        let hidden = steps.conv(first, (&self.conv1, Some(&self.bn2)), h, None, true)?;
        steps.conv(first + 1, (&self.conv2, None), hidden, Some(shortcut), false)
    }

    /// Number of convolutions in [`convs`](Self::convs).
    pub(crate) fn conv_count(&self) -> usize {
        2 + usize::from(self.shortcut.is_some())
    }

    /// The convolutions of a unit called `name` on maps of `size`, the shortcut's last, and the size of
    /// its output.
    pub(crate) fn convs(&self, name: &str, size: [usize; 2]) -> (Vec<ConvSpec>, [usize; 2]) {
        let shortcut = self.shortcut.as_ref().map(|conv| ("shortcut", conv));
        unit_convs(name, size, self.stride, [&self.conv1, &self.conv2], shortcut)
    }
}

fn gated(x: Tensor, gates: Option<Tensor>) -> Result<Tensor> {
    match gates {
        Some(gates) => ops::gate(&x, &gates),
        None => Ok(x),
    }
}

impl Module for PreActBlock {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.bn1.collect(&scoped(prefix, "bn1"), out);
        self.conv1.collect(&scoped(prefix, "conv1"), out);
        self.bn2.collect(&scoped(prefix, "bn2"), out);
        self.conv2.collect(&scoped(prefix, "conv2"), out);
        if let Some(conv) = &self.shortcut {
            conv.collect(&scoped(prefix, "shortcut"), out);
        }
    }
}
