//! Dropout: in training, values become 0 with a probability.

use gaternet_core::ops::{self, Active};
use gaternet_core::{Ctx, Result, Tensor};

#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep};
#[cfg(feature = "onnx")]
use crate::onnx::OnnxStep;
use crate::ops::identity::Identity;
use crate::ops::op::Op;
use crate::plan::{PlanContext, Planned};

/// Dropout with this probability; see [`gaternet_core::ops::dropout`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dropout(pub(crate) f32);

impl Op for Dropout {
    fn name(&self) -> &str {
        "dropout"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        Ok(inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, ctx: &mut Ctx) -> Result<Tensor> {
        ops::dropout(inputs[0], self.0, ctx)
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        Identity.plan(at)
    }

    fn keeps_zeros(&self) -> bool {
        true
    }

    fn is_identity(&self, training: bool) -> bool {
        !training || self.0 == 0.0
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        match step.inputs[0] {
            cuda::Value::Map(x) => {
                Ok(cuda::Value::Map(step.emit.dropout(self.0, x, step.shapes[0])?))
            }
            _ => step.refuse("dropout of vectors"),
        }
    }

    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        Ok(step.input(0))
    }
}
