//! Convolution without bias.

use gaternet_kernels::cpu::conv2d::Cache;
use rand::Rng;

use super::{Module, State, scoped};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::ops::{self, Active, Conv2dOptions};
use crate::parameter::Parameter;
use crate::tensor::Tensor;

/// `torch.nn.Conv2d` with `bias=False`. State: `weight` (F, C, KH, KW).
#[derive(Debug, Clone)]
pub struct Conv2d {
    weight: Parameter,
    shape: [usize; 4],
    options: Conv2dOptions,
    /// What the passes share from step to step; that of a clone too.
    cache: Cache,
}

impl Conv2d {
    /// The weight starts as N(0, 2 / (F · KH · KW)): Kaiming normal, fan-out.
    ///
    /// # Errors
    /// [`Error::Config`] if a size or stride is 0.
    pub fn new(
        in_channels: usize,
        out_channels: usize,
        kernel: [usize; 2],
        options: Conv2dOptions,
        rng: &mut impl Rng,
    ) -> Result<Conv2d> {
        let [kh, kw] = kernel;
        let shape = [out_channels, in_channels, kh, kw];
        check(shape, options)?;
        let fan_out = out_channels as f64 * kh as f64 * kw as f64;
        let weight = Tensor::randn(shape, (2.0 / fan_out).sqrt() as f32, rng)?;
        Ok(Conv2d { weight: Parameter::new(weight), shape, options, cache: Cache::default() })
    }

    /// Without weights, which will be set: 0 and without memory until they are read.
    ///
    /// # Errors
    /// [`Error::Config`] if a size or stride is 0, [`Error::Shape`] if the weight would not fit in
    /// the address space.
    pub fn unset(
        in_channels: usize,
        out_channels: usize,
        [kh, kw]: [usize; 2],
        options: Conv2dOptions,
    ) -> Result<Conv2d> {
        let shape = [out_channels, in_channels, kh, kw];
        check(shape, options)?;
        Ok(Conv2d { weight: Parameter::zeros(shape)?, shape, options, cache: Cache::default() })
    }

    /// With this weight (F, C, KH, KW).
    ///
    /// # Errors
    /// [`Error::Shape`] if it is not of rank 4, [`Error::Config`] if a size or stride is 0.
    pub fn from_weight(weight: Tensor, options: Conv2dOptions) -> Result<Conv2d> {
        let shape = ops::dims("conv2d", "the weight must be (F, C, KH, KW)", &weight)?;
        check(shape, options)?;
        Ok(Conv2d { weight: Parameter::new(weight), shape, options, cache: Cache::default() })
    }

    /// (N, F, OH, OW) of x (N, C, H, W).
    ///
    /// # Errors
    /// Those of [`ops::conv2d`].
    pub fn forward(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        self.forward_gated(x, ctx, Active::default())
    }

    /// [`forward`](Self::forward) that skips inactive filters and channels.
    ///
    /// # Errors
    /// Those of [`ops::conv2d_gated`].
    pub fn forward_gated(&self, x: &Tensor, ctx: &Ctx, active: Active) -> Result<Tensor> {
        ops::conv2d_cached(x, &self.weight.value(ctx), self.options, active, &self.cache)
    }

    /// (F, C, KH, KW).
    #[must_use]
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// (F, C, KH, KW).
    #[must_use]
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Stride and padding.
    #[must_use]
    pub fn options(&self) -> Conv2dOptions {
        self.options
    }
}

fn check(shape: [usize; 4], options: Conv2dOptions) -> Result<()> {
    for (field, sizes) in [
        ("(out_channels, in_channels, kernel height, kernel width)", &shape[..]),
        ("stride", &options.stride),
    ] {
        if sizes.contains(&0) {
            let value = format!("{sizes:?}");
            return Err(Error::Config { field, value, rule: "must not hold a 0" });
        }
    }
    Ok(())
}

impl Module for Conv2d {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        out.push((scoped(prefix, "weight"), State::Parameter(self.weight.clone())));
    }
}
