//! The channels of all inputs, side by side.

use gaternet_core::ops::{self, Active};
use gaternet_core::{Ctx, Error, Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep, PairLayer};
#[cfg(feature = "onnx")]
use crate::onnx::{Attribute, OnnxStep};
use crate::ops::op::Op;
use crate::plan::{Inputs, PlanContext, Planned, SampleKernel};

#[derive(Debug, Clone, Copy)]
pub(crate) struct Concat;

struct Kernel;

impl Op for Concat {
    fn name(&self) -> &str {
        "concatenation"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        let [_, h, w] = inputs[0];
        if inputs.iter().any(|[_, oh, ow]| [*oh, *ow] != [h, w]) {
            let rule = "maps side by side must have one size";
            return Err(Error::Shape { op: "concat", rule, got: format!("{inputs:?}") });
        }
        Ok([inputs.iter().map(|input| input[0]).sum(), h, w])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        ops::concat(inputs)
    }

    fn plan(&self, _: &mut PlanContext<'_>) -> Result<Planned> {
        Ok(Planned::each_sample(Kernel))
    }

    /// Emits concatenations of two maps, one after the other.
    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        let maps = step.inputs.iter().zip(&step.shapes).map(|(input, shape)| match input {
            cuda::Value::Map(map) => Some((*map, *shape)),
            _ => None,
        });
        let Some(maps) = maps.collect::<Option<Vec<_>>>() else {
            return step.refuse("concatenation of vectors");
        };
        let (mut all, mut shape) = maps[0];
        for &(next, [channels, ..]) in &maps[1..] {
            let layer = PairLayer::Concat { first: shape[0] };
            shape[0] += channels;
            all = step.emit.pair(layer, [all, next], shape);
        }
        Ok(cuda::Value::Map(all))
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let inputs = step.inputs();
        Ok(step.node("Concat", inputs, [("axis", Attribute::Int(1))]))
    }
}

impl SampleKernel for Kernel {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, mut output: &mut [f32]) -> Result<()> {
        for number in 0..inputs.count() {
            let input = inputs.get(number);
            let (part, rest) = output.split_at_mut(input.len());
            part.copy_from_slice(input);
            output = rest;
        }
        Ok(())
    }
}
