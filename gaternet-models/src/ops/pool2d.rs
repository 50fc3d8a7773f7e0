//! Max and average pooling over windows.

use gaternet_core::ops::{self, Active, Pool2dOptions};
use gaternet_core::{Ctx, Result, Tensor};
use gaternet_kernels::cpu::{avg_pool2d, max_pool2d};
use gaternet_kernels::dims::PoolDims;
use gaternet_kernels::{Isa, KernelError};

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep, MapLayer};
#[cfg(feature = "onnx")]
use crate::onnx::{Attribute, OnnxStep, int_list};
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

/// Max pooling: the largest value of each window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPool2d(pub(crate) Pool2dOptions);

/// Average pooling: the mean of each window, the zeros of its border included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AvgPool2d(pub(crate) Pool2dOptions);

type Forward = fn(Isa, &PoolDims, &[f32], &mut [f32]) -> Result<(), KernelError>;

struct Kernel {
    isa: Isa,
    dims: PoolDims,
    forward: Forward,
}

impl Op for MaxPool2d {
    fn name(&self) -> &str {
        "max pooling"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        shape(self.0, inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        ops::max_pool2d(inputs[0], self.0)
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        plan(self.0, at, max_pool2d::forward)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        let dims = dims(self.0, step.batch(), step.shapes[0])?;
        step.map(MapLayer::MaxPool(dims), self.name())
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let x = step.input(0);
        Ok(step.node("MaxPool", [x], windows(self.0)))
    }
}

impl Op for AvgPool2d {
    fn name(&self) -> &str {
        "average pooling"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        shape(self.0, inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        ops::avg_pool2d(inputs[0], self.0)
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        plan(self.0, at, avg_pool2d::forward)
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        let dims = dims(self.0, step.batch(), step.shapes[0])?;
        step.map(MapLayer::AvgPool(dims), self.name())
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let zeros_count = ("count_include_pad", Attribute::Int(1));
        let attributes = windows(self.0).into_iter().chain([zeros_count]);
        let x = step.input(0);
        Ok(step.node("AveragePool", [x], attributes))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        Ok((self.forward)(self.isa, &self.dims, inputs.get(0), output)?)
    }
}

fn dims(options: Pool2dOptions, batch: usize, [channels, h, w]: [usize; 3]) -> Result<PoolDims> {
    let input = [batch, channels, h, w];
    Ok(PoolDims::new(input, options.kernel, options.stride, options.padding)?)
}

fn shape(options: Pool2dOptions, input: [usize; 3]) -> Result<[usize; 3]> {
    let [oh, ow] = dims(options, 1, input)?.out_size();
    Ok([input[0], oh, ow])
}

fn plan(options: Pool2dOptions, at: &PlanContext<'_>, forward: Forward) -> Result<Planned> {
    let dims = dims(options, 1, at.inputs()[0])?;
    Ok(Planned::each_sample(Kernel { isa: at.isa(), dims, forward }))
}

#[cfg(feature = "onnx")]
fn windows(options: Pool2dOptions) -> [(&'static str, Attribute); 3] {
    let [top, left] = options.padding;
    [
        ("kernel_shape", Attribute::Ints(int_list(&options.kernel))),
        ("strides", Attribute::Ints(int_list(&options.stride))),
        ("pads", Attribute::Ints(int_list(&[top, left, top, left]))),
    ]
}
