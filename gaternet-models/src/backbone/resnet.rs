//! CIFAR ResNets of depth 6n + 2, and Wide ResNets of depth 6n + 4.

use std::collections::BTreeMap;
use std::path::Path;

use gaternet_core::nn::{BatchNorm2d, Conv2d, Epilogue, Linear, Module, State, scoped};
use gaternet_core::ops::Conv2dOptions;
use gaternet_core::{Ctx, Result, Tensor, ops};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::basic_block::BasicBlock;
use super::block::Block;
use super::gating::Gating;
use super::pre_act_block::PreActBlock;
use crate::config::ResNetConfig;
use crate::conv_spec::{ConvRole, ConvSpec};
use crate::cost::{Cost, linear_macs};
use crate::model;
use crate::plan::steps::{Steps, Value};

/// A ResNet without its output layer: images to features.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    conv: Conv2d,
    /// After the first convolution, or with pre-activation after the last unit.
    bn: BatchNorm2d,
    stages: Vec<Vec<Block>>,
    pre_activation: bool,
    features: usize,
}

impl Body {
    /// Of an image.
    pub(crate) const CHANNELS: usize = 3;

    pub(crate) fn new(config: &ResNetConfig, rng: &mut ChaCha8Rng) -> Result<Body> {
        let pre_activation = config.widen.is_some();
        let mut channels = ResNetConfig::CHANNELS[0];
        let options = Conv2dOptions { padding: [1, 1], ..Conv2dOptions::default() };
        let conv = Conv2d::new(Body::CHANNELS, channels, [3, 3], options, rng)?;
        let blocks = config.blocks()?;
        let mut stages = Vec::new();
        for (stage, width) in config.widths().into_iter().enumerate() {
            let mut units = Vec::with_capacity(blocks);
            for unit in 0..blocks {
                let stride = if stage > 0 && unit == 0 { 2 } else { 1 };
                units.push(if pre_activation {
                    Block::PreAct(PreActBlock::new(channels, width, stride, rng)?)
                } else {
                    Block::Basic(BasicBlock::new(channels, width, stride, rng)?)
                });
                channels = width;
            }
            stages.push(units);
        }
        let bn = BatchNorm2d::new(if pre_activation { channels } else { conv.shape()[0] })?;
        Ok(Body { conv, bn, stages, pre_activation, features: channels })
    }

    /// Width of the output.
    pub(crate) fn features(&self) -> usize {
        self.features
    }

    /// (N, 3, H, W) -> (N, features), globally average pooled.
    pub(crate) fn forward(
        &self,
        images: &Tensor,
        gating: Option<Gating<'_>>,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let bn = |x: Tensor, here| {
            let rectified = Epilogue { relu: true, ..Epilogue::default() };
            if here { self.bn.forward(&x, ctx, rectified) } else { Ok(x) }
        };
        let mut x = bn(self.conv.forward(images, ctx)?, !self.pre_activation)?;
        let mut first = 1; // The stem is convolution 0.
        for block in self.stages.iter().flatten() {
            x = block.forward(&x, gating, first, ctx)?;
            first += block.conv_count();
        }
        ops::global_avg_pool(&bn(x, self.pre_activation)?)
    }

    /// Appends the steps of [`forward`](Self::forward) in evaluation.
    pub(crate) fn trace<'a>(&'a self, steps: &mut Steps<'a>, images: Value) -> Result<Value> {
        let bn = (!self.pre_activation).then_some(&self.bn);
        let mut x = steps.conv(0, (&self.conv, bn), images, None, bn.is_some())?;
        let mut first = 1;
        for block in self.stages.iter().flatten() {
            x = block.trace(steps, x, first)?;
            first += block.conv_count();
        }
        if self.pre_activation {
            x = steps.batch_norm(&self.bn, x, true);
        }
        Ok(steps.global_avg_pool(x))
    }

    /// MACs for one image of `size`: the convolutions, and one for each pixel of the pooled maps.
    pub(crate) fn macs(&self, size: [usize; 2]) -> u64 {
        let convs = self.convs(size);
        let pooled = convs.last().map_or(0, |last| last.out_size.iter().product::<usize>());
        convs.iter().map(ConvSpec::macs).sum::<u64>() + (pooled * self.features) as u64
    }

    /// Every convolution for images of `size`, in the order they run.
    pub(crate) fn convs(&self, size: [usize; 2]) -> Vec<ConvSpec> {
        let mut convs =
            vec![ConvSpec::new("conv".to_owned(), &self.conv, size, ConvRole::Stem, None)];
        let mut size = size;
        for (name, block) in self.blocks() {
            let (unit, out_size) = block.convs(&name, size);
            convs.extend(unit);
            size = out_size;
        }
        convs
    }

    /// Blocks with their state-dict names: `stage1.block1`, ...
    fn blocks(&self) -> impl Iterator<Item = (String, &Block)> {
        self.stages.iter().enumerate().flat_map(|(stage, blocks)| {
            let named =
                move |(unit, block)| (format!("stage{}.block{}", stage + 1, unit + 1), block);
            blocks.iter().enumerate().map(named)
        })
    }
}

impl Module for Body {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.conv.collect(&scoped(prefix, "conv"), out);
        self.bn.collect(&scoped(prefix, "bn"), out);
        for (name, block) in self.blocks() {
            block.collect(&scoped(prefix, &name), out);
        }
    }
}

/// A plain CIFAR ResNet or Wide ResNet classifier.
#[derive(Debug, Clone)]
pub struct ResNet {
    config: ResNetConfig,
    body: Body,
    fc: Linear,
}

impl ResNet {
    /// With fresh weights drawn from `seed`: convolutions Kaiming normal (fan-out), batch norm 1 and 0,
    /// linear bias 0.
    ///
    /// # Errors
    /// [`gaternet_core::Error::Config`] if a field of the configuration is out of range.
    pub fn new(config: ResNetConfig, seed: u64) -> Result<ResNet> {
        ResNet::from_rng(config, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn from_rng(config: ResNetConfig, rng: &mut ChaCha8Rng) -> Result<ResNet> {
        config.validate()?;
        let body = Body::new(&config, rng)?;
        let fc = Linear::new(body.features(), config.classes, rng)?;
        Ok(ResNet { config, body, fc })
    }

    /// Logits (N, classes) of `images` (N, 3, H, W).
    ///
    /// # Errors
    /// If the images do not fit the network, naming the op and the shapes.
    pub fn forward(&self, images: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.run(images, None, ctx)
    }

    pub(crate) fn run(
        &self,
        images: &Tensor,
        gating: Option<Gating<'_>>,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        let features = self.body.forward(images, gating, ctx)?;
        self.fc.forward(&features, ctx)
    }

    /// The steps of [`forward`](Self::forward) in evaluation on images of `size` (H, W).
    pub(crate) fn steps(&self, [h, w]: [usize; 2]) -> Result<Steps<'_>> {
        let (mut steps, images) = Steps::new([Body::CHANNELS, h, w]);
        let features = self.body.trace(&mut steps, images)?;
        steps.linear(&self.fc, features, false)?;
        Ok(steps)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// Every convolution for images of `size` (H, W), in the order they run.
    #[must_use]
    pub fn convs(&self, size: [usize; 2]) -> Vec<ConvSpec> {
        self.body.convs(size)
    }

    /// MACs for one image of `size` (H, W).
    #[must_use]
    pub fn macs(&self, size: [usize; 2]) -> u64 {
        self.body.macs(size) + linear_macs(&self.fc)
    }

    /// MACs for one image of `size` (H, W) as a [`Cost`]: everything runs, and there is no gater.
    #[must_use]
    pub fn cost(&self, size: [usize; 2]) -> Cost {
        let macs = self.macs(size) as f64;
        Cost { backbone: macs, executed: macs, gater: 0.0 }
    }

    /// Writes weights, configuration and `metadata` (safetensors, atomically).
    ///
    /// # Errors
    /// [`gaternet_core::Error::Io`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, metadata: &BTreeMap<String, String>) -> Result<()> {
        model::save(path.as_ref(), "resnet", &self.config, &self.state(), metadata)
    }

    /// The model stored by [`save`](Self::save).
    ///
    /// # Errors
    /// If the file is not such a checkpoint; see [`crate::Model::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<ResNet> {
        model::load(path.as_ref(), "resnet", |config| ResNet::new(config, 0))
    }
}

impl Module for ResNet {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        self.body.collect(prefix, out);
        self.fc.collect(&scoped(prefix, "fc"), out);
    }
}
