//! The mean of each feature map: (N, C, H, W) -> (N, C).

use gaternet_core::ops::{self, Active};
use gaternet_core::{Ctx, Result, Tensor};
use gaternet_kernels::cpu::global_avg_pool;
use gaternet_kernels::{Isa, PlaneDims};

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep};
#[cfg(feature = "onnx")]
use crate::onnx::{Attribute, OnnxStep};
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

#[derive(Debug, Clone, Copy)]
pub(crate) struct GlobalAvgPool;

struct Kernel {
    isa: Isa,
    dims: PlaneDims,
}

impl Op for GlobalAvgPool {
    fn name(&self) -> &str {
        "global average pooling"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        Ok([inputs[0][0], 1, 1])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        ops::global_avg_pool(inputs[0])
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        let [channels, h, w] = at.inputs()[0];
        let dims = PlaneDims { batch: 1, channels, plane: h * w };
        Ok(Planned::each_sample(Kernel { isa: at.isa(), dims }))
    }

    /// Counts one multiply-accumulate for each pixel.
    fn macs(&self, inputs: &[[usize; 3]]) -> u64 {
        inputs[0].iter().product::<usize>() as u64
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        match step.inputs[0] {
            cuda::Value::Map(x) => {
                Ok(cuda::Value::Row(step.emit.global_avg_pool(x, step.shapes[0])))
            }
            _ => step.refuse("global average pooling of vectors"),
        }
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let x = step.input(0);
        let mean = step.part("mean", "GlobalAveragePool", [x]);
        Ok(step.node("Flatten", [mean], [("axis", Attribute::Int(1))]))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        Ok(global_avg_pool::forward(self.isa, self.dims, inputs.get(0), output)?)
    }
}
