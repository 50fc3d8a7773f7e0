//! Batch norm of a plan as a kernel of its own, where no convolution takes it.

use gaternet_core::nn::BatchNorm2d;
use gaternet_core::{Result, Tensor};
use gaternet_kernels::PlaneDims;
use gaternet_kernels::cpu::batch_norm;

use crate::plan::{BatchKernel, Operands};

/// A batch norm that follows no convolution; its tensors are (C) each.
pub(crate) struct NormKernel {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    eps: f32,
    plane: usize,
}

impl NormKernel {
    /// The kernel of `bn` for feature maps of `plane` pixels.
    pub(crate) fn new(bn: &BatchNorm2d, plane: usize) -> NormKernel {
        NormKernel {
            weight: bn.weight().tensor(),
            bias: bn.bias().tensor(),
            mean: bn.running_mean().tensor(),
            var: bn.running_var().tensor(),
            eps: bn.eps(),
            plane,
        }
    }
}

impl BatchKernel for NormKernel {
    fn run(&self, operands: &Operands<'_>, output: &mut [f32]) -> Result<()> {
        let NormKernel { weight, bias, mean, var, eps, plane } = self;
        let (batch, channels) = (operands.samples.count(), mean.len());
        let dims = PlaneDims { batch, channels, plane: *plane };
        let affine = batch_norm::Affine { weight: weight.data(), bias: bias.data(), eps: *eps };
        let Operands { isa, residual, relu, .. } = *operands;
        let epilogue = batch_norm::Epilogue::default().with_residual(residual).with_relu(relu);
        let (x, mean, var) = (operands.inputs.get(0), mean.data(), var.data());
        Ok(batch_norm::forward_eval(isa, dims, affine, epilogue, mean, var, x, output)?)
    }
}
