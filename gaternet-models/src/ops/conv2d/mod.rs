//! A convolution without bias.

mod kernel;

use std::sync::Arc;

use self::kernel::dims;
#[cfg(feature = "cuda")]
use crate::cuda::{self, CudaStep};
use crate::gating::pruning::Pruning;
#[cfg(feature = "onnx")]
use crate::onnx::{Attribute, OnnxStep, int_list};
use crate::ops::op::{Filters, Op, Reads};
#[cfg(feature = "onnx")]
use crate::ops::scale_shift::fold;
use crate::plan::{PlanContext, Planned};
use gaternet_core::nn::{Conv2d, Module, State};
use gaternet_core::ops::Active;
use gaternet_core::{Ctx, Error, Result, Tensor};

/// Most multiply-accumulates of a convolution for one image: sums of them are exact in f64, and
/// those of all layers of a network do not overflow.
const MAX_MACS: usize = 1 << 53;

impl Op for Conv2d {
    fn name(&self) -> &str {
        "convolution"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        let dims = dims(self, 1, inputs[0])?;
        let [oh, ow] = dims.out_size();
        let macs = [dims.weight_len(), oh, ow].into_iter().try_fold(1, usize::checked_mul);
        if macs.is_none_or(|macs| macs > MAX_MACS) {
            let rule = "a layer must take at most 2^53 multiply-accumulates for one image";
            return Err(Error::Shape {
                op: "network",
                rule,
                got: format!("maps of {:?}", inputs[0]),
            });
        }
        Ok([dims.out_channels(), oh, ow])
    }

    fn forward(&self, inputs: &[&Tensor], active: &Active, ctx: &mut Ctx) -> Result<Tensor> {
        self.forward_gated(inputs[0], ctx, active.clone())
    }

    fn plan(&self, at: &mut PlanContext<'_>) -> Result<Planned> {
        kernel::plan(self, at)
    }

    fn macs(&self, inputs: &[[usize; 3]]) -> u64 {
        let out = dims(self, 1, inputs[0]).map_or([0; 2], |dims| dims.out_size());
        Conv2d::shape(self).iter().chain(&out).map(|size| *size as u64).product()
    }

    fn filters(&self) -> Option<Filters> {
        let [count, channels, kernel @ ..] = Conv2d::shape(self);
        Some(Filters { count, channels, kernel, reads: Reads::All })
    }

    fn skips_channels(&self) -> bool {
        true
    }

    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        Module::collect(self, prefix, out);
    }

    fn pruned(&self, pruning: Pruning<'_>) -> Result<Option<Arc<dyn Op>>> {
        let [filters, channels, kh, kw] = Conv2d::shape(self);
        let mut weight = pruning.weight(self.weight().tensor().data(), channels, kh * kw);
        let [filters, channels] = pruning.sizes([filters, channels]);
        let filter_len = channels * kh * kw;
        for filter in pruning.zero_filters() {
            weight[filter * filter_len..(filter + 1) * filter_len].fill(0.0);
        }
        let weight = Tensor::new(weight, [filters, channels, kh, kw])?;
        Ok(Some(Arc::new(Conv2d::from_weight(weight, self.options())?)))
    }

    #[cfg(feature = "cuda")]
    fn cuda(&self, step: &mut CudaStep<'_>) -> cuda::Result<cuda::Value> {
        let dims = dims(self, step.batch(), step.shapes[0])?;
        step.conv(self, dims)
    }

    /// Writes one `Conv` node, with batch norm folded into weight and bias as in an inference plan.
    #[cfg(feature = "onnx")]
    fn onnx(&self, step: &mut OnnxStep<'_>) -> Result<String> {
        let (shape, options) = (Conv2d::shape(self), self.options());
        let weight = self.weight().tensor().data().to_vec();
        let (weight, bias) = fold(weight, shape[0], step.take_norm());
        let weight = step.floats("weight", &shape, &weight);
        let bias = step.floats("bias", &shape[..1], &bias);
        let [top, left] = options.padding;
        let attributes = [
            ("kernel_shape", Attribute::Ints(int_list(&shape[2..]))),
            ("strides", Attribute::Ints(int_list(&options.stride))),
            ("pads", Attribute::Ints(int_list(&[top, left, top, left]))),
        ];
        let x = step.input(0);
        Ok(step.node("Conv", [x, weight, bias], attributes))
    }
}
