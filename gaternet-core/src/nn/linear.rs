//! Fully connected layer.

use rand::Rng;
use rand_distr::{Distribution, Uniform};

use super::{Module, State, scoped};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::ops;
use crate::parameter::Parameter;
use crate::tensor::Tensor;

/// `torch.nn.Linear`. State: `weight` (O, I), `bias` (O).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Parameter,
    bias: Parameter,
}

impl Linear {
    /// The weight starts uniform in `±1 / sqrt(I)`, the bias 0.
    ///
    /// # Errors
    /// [`Error::Config`] if a size is 0.
    pub fn new(in_features: usize, out_features: usize, rng: &mut impl Rng) -> Result<Linear> {
        let bound = 1.0 / (in_features as f32).sqrt();
        // An infinite bound, so no input features, is refused here.
        let uniform = Uniform::new(-bound, bound).ok().filter(|_| out_features > 0);
        let uniform = uniform.ok_or_else(|| no_features(in_features, out_features))?;
        let mut weight = Tensor::zeros([out_features, in_features])?;
        weight.data_mut().iter_mut().for_each(|w| *w = uniform.sample(rng));
        let bias = Parameter::new(Tensor::zeros([out_features])?);
        Ok(Linear { weight: Parameter::new(weight), bias })
    }

    /// Without weights, which will be set: 0 and without memory until they are read.
    ///
    /// # Errors
    /// [`Error::Config`] if a size is 0, [`Error::Shape`] if the weight would not fit in the
    /// address space.
    pub fn unset(in_features: usize, out_features: usize) -> Result<Linear> {
        if in_features == 0 || out_features == 0 {
            return Err(no_features(in_features, out_features));
        }
        let weight = Parameter::zeros([out_features, in_features])?;
        Ok(Linear { weight, bias: Parameter::zeros([out_features])? })
    }

    /// With this weight (O, I) and bias (O).
    ///
    /// # Errors
    /// [`Error::Shape`] if they have other shapes.
    pub fn from_tensors(weight: Tensor, bias: Tensor) -> Result<Linear> {
        let rule = "the weight must be (O, I) and the bias (O)";
        let [features, _] = ops::dims("linear", rule, &weight)?;
        if bias.dims() != [features] {
            let got = format!("{} and {}", weight.shape(), bias.shape());
            return Err(Error::Shape { op: "linear", rule, got });
        }
        Ok(Linear { weight: Parameter::new(weight), bias: Parameter::new(bias) })
    }

    /// (N, O) of x (N, I).
    ///
    /// # Errors
    /// Those of [`ops::linear`].
    pub fn forward(&self, x: &Tensor, ctx: &Ctx) -> Result<Tensor> {
        ops::linear(x, &self.weight.value(ctx), Some(&self.bias.value(ctx)))
    }

    /// (O, I).
    #[must_use]
    pub fn weight(&self) -> &Parameter {
        &self.weight
    }

    /// (O).
    #[must_use]
    pub fn bias(&self) -> &Parameter {
        &self.bias
    }
}

fn no_features(in_features: usize, out_features: usize) -> Error {
    let value = format!("({in_features}, {out_features})");
    let rule = "must not hold a 0";
    Error::Config { field: "(in_features, out_features)", value, rule }
}

impl Module for Linear {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        out.push((scoped(prefix, "weight"), State::Parameter(self.weight.clone())));
        out.push((scoped(prefix, "bias"), State::Parameter(self.bias.clone())));
    }
}
