//! The residual unit of two 3x3 convolutions.

use gaternet_core::gate::GateSlice;
use gaternet_core::nn::{BatchNorm2d, Conv2d, Epilogue, Module, State, scoped};
use gaternet_core::ops::{Conv2dOptions, Live};
use gaternet_core::{Ctx, Result, Tensor};
use rand_chacha::ChaCha8Rng;

use crate::cost::ConvSpec;

/// `relu(gate · bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))`
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

    /// `x` (N, C, H, W) -> (N, F, H / stride, W / stride). A gate multiplies its filter of conv2 after
    /// batch norm; where it is 0 the filter adds exactly 0 to the shortcut, and is not computed if
    /// `skip`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        gates: Option<&GateSlice>,
        skip: bool,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let shortcut = match &self.shortcut {
            Some((conv, bn)) => bn.forward(&conv.forward(x, ctx)?, ctx, Epilogue::default())?,
            None => x.clone(),
        };
        let hidden = self.conv1.forward(x, ctx)?;
        let hidden =
            self.bn1.forward(&hidden, ctx, Epilogue { relu: true, ..Epilogue::default() })?;
        let filters = gates.filter(|_| skip).map(|gates| gates.live.clone());
        let output = self.conv2.forward_gated(&hidden, ctx, Live { filters, channels: None })?;
        let epilogue =
            Epilogue { gates: gates.map(|g| &g.values), residual: Some(&shortcut), relu: true };
        self.bn2.forward(&output, ctx, epilogue)
    }

    /// The convolutions of a unit called `name` on maps of `size`, in the order they run, and the size
    /// of its output.
    pub(crate) fn convs(&self, name: &str, size: [usize; 2]) -> (Vec<ConvSpec>, [usize; 2]) {
        let out_size = size.map(|side| side.div_ceil(self.stride));
        let spec = |layer: &str, conv: &Conv2d| {
            ConvSpec::new(scoped(name, layer), conv, out_size, layer == "conv2")
        };
        let mut convs = vec![spec("conv1", &self.conv1), spec("conv2", &self.conv2)];
        convs.extend(self.shortcut.as_ref().map(|(conv, _)| spec("shortcut.conv", conv)));
        (convs, out_size)
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
