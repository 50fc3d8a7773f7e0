//! The residual unit of two 3x3 convolutions.

use gaternet_core::gate::GateSlice;
use gaternet_core::nn::{BatchNorm2d, Conv2d, Epilogue, Module, State};
use gaternet_core::{Ctx, Result, Tensor};
use rand_chacha::ChaCha8Rng;

use super::resnet::join;
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
        let conv1 = Conv2d::new(in_channels, channels, 3, stride, 1, rng)?;
        let conv2 = Conv2d::new(channels, channels, 3, 1, 1, rng)?;
        let shortcut = if stride == 1 && in_channels == channels {
            None
        } else {
            let conv = Conv2d::new(in_channels, channels, 1, stride, 0, rng)?;
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
        ctx: &mut Ctx,
    ) -> Result<Tensor> {
        let shortcut = match &self.shortcut {
            Some((conv, bn)) => bn.forward(&conv.forward(x, ctx)?, Epilogue::default(), ctx)?,
            None => x.clone(),
        };
        let hidden = self.conv1.forward(x, ctx)?;
        let hidden = self.bn1.forward(&hidden, Epilogue::relu(), ctx)?;
        let live = gates.filter(|_| skip).map(|gates| &gates.live);
        let output = self.conv2.forward_live(&hidden, live, None, ctx)?;
        let epilogue =
            Epilogue { gates: gates.map(|g| &g.values), residual: Some(&shortcut), relu: true };
        self.bn2.forward(&output, epilogue, ctx)
    }

    /// The convolutions of a unit called `name` on maps of `size`, in the order they run, and the size
    /// of its output.
    pub(crate) fn convs(&self, name: &str, size: [usize; 2]) -> (Vec<ConvSpec>, [usize; 2]) {
        let out_size = size.map(|side| side.div_ceil(self.stride));
        let spec = |layer: &str, conv: &Conv2d| ConvSpec {
            name: join(name, layer),
            in_channels: conv.in_channels(),
            out_channels: conv.out_channels(),
            kernel: conv.kernel(),
            out_size,
            ends_unit: layer == "conv2",
        };
        let mut convs = vec![spec("conv1", &self.conv1), spec("conv2", &self.conv2)];
        convs.extend(self.shortcut.as_ref().map(|(conv, _)| spec("shortcut.conv", conv)));
        (convs, out_size)
    }
}

impl Module for BasicBlock {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.conv1.collect(&join(prefix, "conv1"), out);
        self.bn1.collect(&join(prefix, "bn1"), out);
        self.conv2.collect(&join(prefix, "conv2"), out);
        self.bn2.collect(&join(prefix, "bn2"), out);
        if let Some((conv, bn)) = &self.shortcut {
            conv.collect(&join(prefix, "shortcut.conv"), out);
            bn.collect(&join(prefix, "shortcut.bn"), out);
        }
    }
}
