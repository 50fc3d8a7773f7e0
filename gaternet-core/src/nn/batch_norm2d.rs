//! Batch normalisation with running statistics.

use super::{Module, State, scoped};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::ops::{self, BatchNormInput, BatchStats, Stats};
use crate::parameter::{Buffer, Counter, Parameter};
use crate::tensor::Tensor;

const EPS: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

/// `torch.nn.BatchNorm2d`, on (N, C) `torch.nn.BatchNorm1d` (eps 1e-5, momentum 0.1). State:
/// `weight`, `bias`, `running_mean`, `running_var`, all (C), and `num_batches_tracked`.
#[derive(Debug, Clone)]
pub struct BatchNorm2d {
    weight: Parameter,
    bias: Parameter,
    running_mean: Buffer,
    running_var: Buffer,
    num_batches_tracked: Counter,
}

/// The epilogue of a batch normalisation, which follows in the same pass over memory:
/// `relu(bn(x) · gates + residual)`. By default it does nothing.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Epilogue<'a> {
    /// (N, C); each multiplies a plane.
    pub gates: Option<&'a Tensor>,
    /// A tensor of the input's shape, which is added after the gates.
    pub residual: Option<&'a Tensor>,
    /// Whether a ReLU comes last.
    pub relu: bool,
}

impl<'a> Epilogue<'a> {
    /// The same epilogue with these gates, (N, C).
    #[must_use]
    pub fn with_gates(self, gates: Option<&'a Tensor>) -> Epilogue<'a> {
        Epilogue { gates, ..self }
    }

    /// The same epilogue with this residual, of the input's shape.
    #[must_use]
    pub fn with_residual(self, residual: Option<&'a Tensor>) -> Epilogue<'a> {
        Epilogue { residual, ..self }
    }

    /// The same epilogue, with or without a ReLU at the end.
    #[must_use]
    pub fn with_relu(self, relu: bool) -> Epilogue<'a> {
        Epilogue { relu, ..self }
    }
}

impl BatchNorm2d {
    /// The weight starts as 1, the bias as 0.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no channel.
    pub fn new(channels: usize) -> Result<BatchNorm2d> {
        check(channels)?;
        Ok(BatchNorm2d {
            weight: Parameter::new(Tensor::full([channels], 1.0)?),
            bias: Parameter::new(Tensor::zeros([channels])?),
            running_mean: Buffer::new(Tensor::zeros([channels])?),
            running_var: Buffer::new(Tensor::full([channels], 1.0)?),
            num_batches_tracked: Counter::default(),
        })
    }

    /// Without weights and statistics, which will be set: 0 and without memory until they are read.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no channel, [`Error::Shape`] if the weights would not fit in
    /// the address space.
    pub fn unset(channels: usize) -> Result<BatchNorm2d> {
        check(channels)?;
        Ok(BatchNorm2d {
            weight: Parameter::zeros([channels])?,
            bias: Parameter::zeros([channels])?,
            running_mean: Buffer::zeros([channels])?,
            running_var: Buffer::zeros([channels])?,
            num_batches_tracked: Counter::default(),
        })
    }

    /// `relu(bn(x) · gates + residual)` of x (N, C, H, W) or (N, C), where the epilogue asks for
    /// them. Training normalises with the batch's statistics and moves the running ones
    /// (`0.9 · running + 0.1 · batch`, the variance unbiased); evaluation uses the running ones.
    ///
    /// # Errors
    /// Those of [`ops::batch_norm`].
    pub fn forward(&self, x: &Tensor, ctx: &Ctx, epilogue: Epilogue<'_>) -> Result<Tensor> {
        let (weight, bias) = (self.weight.value(ctx), self.bias.value(ctx));
        let (mean, var) = (self.running_mean.tensor(), self.running_var.tensor());
        let stats =
            if ctx.training() { Stats::Batch } else { Stats::Fixed { mean: &mean, var: &var } };
        let Epilogue { gates, residual, relu } = epilogue;
        let (y, batch) = ops::batch_norm(&BatchNormInput {
            x,
            weight: &weight,
            bias: &bias,
            stats,
            eps: EPS,
            gates,
            residual,
            relu,
        })?;
        drop((mean, var));
        if let Some(batch) = batch {
            self.track(&batch, x.len() / weight.len());
        }
        Ok(y)
    }

    fn track(&self, batch: &BatchStats, count: usize) {
        let unbiased = count as f32 / (count as f32 - 1.0);
        for (running, batch, factor) in
            [(&self.running_mean, &batch.mean, 1.0), (&self.running_var, &batch.var, unbiased)]
        {
            running.update(|running| {
                for (running, batch) in running.iter_mut().zip(batch.data()) {
                    *running = (1.0 - MOMENTUM) * *running + MOMENTUM * (batch * factor);
                }
            });
        }
        self.num_batches_tracked.increment();
    }

    /// (C).
    #[must_use]
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// (C).
    #[must_use]
    pub fn bias(&self) -> &Parameter {
        &self.bias
    }

    /// (C).
    #[must_use]
    pub fn running_mean(&self) -> &Buffer {
        &self.running_mean
    }

    /// (C).
    #[must_use]
    pub fn running_var(&self) -> &Buffer {
        &self.running_var
    }

    /// Added to the variance.
    #[must_use]
    pub fn eps(&self) -> f32 {
        EPS
    }

    /// Share of a batch in the running statistics after it.
    #[must_use]
    pub fn momentum(&self) -> f32 {
        MOMENTUM
    }

    /// How many batches have entered the running statistics.
    #[must_use]
    pub fn num_batches_tracked(&self) -> &Counter {
        &self.num_batches_tracked
    }
}

fn check(channels: usize) -> Result<()> {
    if channels > 0 {
        return Ok(());
    }
    let value = channels.to_string();
    Err(Error::Config { field: "channels", value, rule: "must not be 0" })
}

impl Module for BatchNorm2d {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        let entries = [
            ("weight", State::Parameter(self.weight.clone())),
            ("bias", State::Parameter(self.bias.clone())),
            ("running_mean", State::Buffer(self.running_mean.clone())),
            ("running_var", State::Buffer(self.running_var.clone())),
            ("num_batches_tracked", State::Counter(self.num_batches_tracked.clone())),
        ];
        out.extend(entries.map(|(name, state)| (scoped(prefix, name), state)));
    }
}
