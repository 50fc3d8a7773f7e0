//! What is measured: one gated network, its inputs, and the ways to run it.

use std::fmt;
use std::hint::black_box;

use anyhow::Result;
use clap::ValueEnum;
use gaternet_core::gate::Gates;
use gaternet_core::{Ctx, Tensor};
use gaternet_models::{Cost, DType, GatedConfig, GatedResNet, InferencePlan, PlanOptions};
use rand::RngExt;

use crate::cli::command_line::write_value;

/// Images of a round, at least: batches of 1 too are measured over many images and gates.
const IMAGES: usize = 64;

/// Training passes that settle the statistics of batch norm, and their images. Each moves them by a
/// tenth: with those of a fresh network, activations grow with every block, at depth 110 by many
/// orders of magnitude.
const SETTLING: (usize, usize) = (24, 4);

/// How the network is run.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub enum Gating {
    /// The plain backbone, without gater and gates
    Dense,
    /// Gater and every filter; the outputs of closed ones are set to 0
    Masked,
    /// Gater and open filters; closed ones are not computed
    Skipped,
}

impl fmt::Display for Gating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_value(self, f)
    }
}

/// A gated network with random weights.
pub struct Network {
    model: GatedResNet,
    /// (H, W) of an image.
    size: [usize; 2],
}

/// The input of a pass.
pub struct Batch {
    /// (N, 3, H, W), normal noise.
    images: Tensor,
    /// (N, c), 0 or 1. They stand for the gater's: random weights would not give the density.
    gates: Tensor,
}

/// What computes the logits of a batch.
type Engine = Box<dyn FnMut(&Batch) -> Result<()>>;

impl Network {
    /// With batch norm's statistics of noise.
    ///
    /// # Errors
    /// If the configuration is not valid.
    pub fn new(config: GatedConfig) -> Result<Network> {
        let size = config.backbone.image_size();
        let model = GatedResNet::new(config, 0)?;
        let (passes, images) = SETTLING;
        let mut ctx = Ctx::train(1);
        for _ in 0..passes {
            let images = noise(images, size, &mut ctx)?;
            // All gates open, the larger activations: fewer open gates then make them smaller.
            model.backbone().forward(&images, &mut ctx)?;
            model.gater().forward(&images, &mut ctx)?;
        }
        Ok(Network { model, size })
    }

    /// The batches of a round, the same for the same arguments. Each gate of each image is open
    /// with probability `density`.
    ///
    /// # Errors
    /// If the images do not fit in memory.
    pub fn draw(&self, batch: usize, density: f64) -> Result<Vec<Batch>> {
        let mut ctx = Ctx::train(2);
        let (gates, repeats) = (self.model.plan().gates(), self.model.plan().repeats());
        let draw = |_| {
            let images = noise(batch, self.size, &mut ctx)?;
            let mut values = Vec::with_capacity(batch * gates);
            for filters in (0..batch).flat_map(|_| &repeats) {
                let gate = f32::from(u8::from(ctx.rng().random_bool(density)));
                values.extend(std::iter::repeat_n(gate, *filters));
            }
            Ok(Batch { images, gates: Tensor::new(values, [batch, gates])? })
        };
        (0..IMAGES.div_ceil(batch)).map(draw).collect()
    }

    /// A pass over each of `batches`.
    ///
    /// # Errors
    /// If the batches, which must be of one size, do not fit the network.
    pub fn round<'a>(
        &self,
        gating: Gating,
        dtype: DType,
        batches: &'a [Batch],
    ) -> Result<impl FnMut() -> Result<()> + use<'a>> {
        let batch = batches.first().map_or(1, |batch| batch.images.dims()[0]);
        let mut engine = self.engine(gating, dtype, batch)?;
        Ok(move || batches.iter().try_for_each(&mut engine))
    }

    /// Whatever can be prepared for all batches is prepared here and not timed.
    fn engine(&self, gating: Gating, dtype: DType, batch: usize) -> Result<Engine> {
        let options =
            PlanOptions { size: self.size, skip: gating == Gating::Skipped, batch, dtype };
        let plan = match gating {
            Gating::Dense => InferencePlan::plain(self.model.backbone(), options)?,
            Gating::Masked | Gating::Skipped => InferencePlan::gated(&self.model, options)?,
        };
        let (mut decided, mut logits) = (Vec::new(), Vec::new());
        Ok(Box::new(move |Batch { images, gates }| {
            let batch = images.dims()[0];
            decided.resize(batch * plan.gate_count(), 0.0);
            logits.resize(batch * plan.classes(), 0.0);
            plan.gates(images.data(), black_box(&mut decided))?;
            let gates = if decided.is_empty() { &[] } else { gates.data() };
            plan.run_with_gates(images.data(), gates, black_box(&mut logits))?;
            Ok(())
        }))
    }

    /// MACs of an image over those of the plain backbone, the mean over `batches`, gater included.
    ///
    /// # Errors
    /// If the gates of the batches are not those of the network.
    pub fn macs_ratio(&self, gating: Gating, batches: &[Batch]) -> Result<f64> {
        let plain = self.model.backbone().cost(self.size)?;
        let gater = self.model.gater().macs(self.size)? as f64;
        match gating {
            Gating::Dense => Ok(plain.ratio()),
            Gating::Masked => Ok(Cost { gater, ..plain }.ratio()),
            Gating::Skipped => {
                let ratio = |batch: &Batch| {
                    let gates = Gates::new(batch.gates.clone(), &self.model.plan().widths())?;
                    Ok(self.model.cost(self.size, &gates)?.ratio())
                };
                let ratios: Vec<f64> = batches.iter().map(ratio).collect::<Result<_>>()?;
                Ok(ratios.iter().sum::<f64>() / ratios.len() as f64)
            }
        }
    }
}

fn noise(images: usize, [h, w]: [usize; 2], ctx: &mut Ctx) -> Result<Tensor> {
    Ok(Tensor::randn([images, 3, h, w], 1.0, ctx.rng())?)
}
