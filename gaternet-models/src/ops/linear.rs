//! A fully connected layer.

use std::sync::Arc;

use gaternet_core::nn::{Linear, Module, State};
use gaternet_core::ops::Active;
use gaternet_core::{Ctx, Error, Result, Tensor};
use gaternet_kernels::LinearDims;
use gaternet_kernels::cpu::linear::PreparedLinear;

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep};
use crate::gating::pruning::Pruning;
#[cfg(feature = "onnx")]
use crate::onnx::{Attribute, OnnxStep};
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

struct Kernel(PreparedLinear);

impl Op for Linear {
    fn name(&self) -> &str {
        "linear layer"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        let [features, in_features] = sizes(self);
        if inputs[0] == [in_features, 1, 1] {
            return Ok([features, 1, 1]);
        }
        let rule = "a linear layer reads vectors (N, C): pool the maps before it";
        let got = format!("{:?}, not {:?}", inputs[0], [in_features, 1, 1]);
        Err(Error::Shape { op: "linear", rule, got })
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, ctx: &mut Ctx) -> Result<Tensor> {
        Linear::forward(self, inputs[0], ctx)
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        let [out_features, in_features] = sizes(self);
        let dims = LinearDims { batch: 1, in_features, out_features };
        let (weight, bias) = (self.weight().tensor(), self.bias().tensor());
        let layer = PreparedLinear::new(at.isa(), dims, weight.data(), Some(bias.data()))?;
        Ok(Planned::each_sample(Kernel(layer)))
    }

    fn macs(&self, _: &[[usize; 3]]) -> u64 {
        sizes(self).iter().product::<usize>() as u64
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        Module::collect(self, prefix, out);
    }

    fn pruned(&self, _: Pruning<'_>) -> Result<Option<Arc<dyn Op>>> {
        let (weight, bias) = (self.weight().tensor(), self.bias().tensor());
        Ok(Some(Arc::new(Linear::from_tensors(weight, bias)?)))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        match step.inputs[0] {
            cuda::Value::Row(x) => Ok(cuda::Value::Row(step.emit.linear(self, x)?)),
            _ => step.refuse("linear layers of maps"),
        }
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let (weight, bias) = (self.weight().tensor(), self.bias().tensor());
        let weight = step.floats("weight", weight.dims(), weight.data());
        let bias = step.floats("bias", bias.dims(), bias.data());
        let x = step.input(0);
        Ok(step.node("Gemm", [x, weight, bias], [("transB", Attribute::Int(1))]))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        Ok(self.0.forward(1, inputs.get(0), output)?)
    }

    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }
}

/// Sizes [O, I] of the weight.
fn sizes(linear: &Linear) -> [usize; 2] {
    let weight = linear.weight();
    let dims = weight.shape();
    [dims.dims()[0], dims.dims()[1]]
}
