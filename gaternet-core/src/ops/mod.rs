//! Differentiable functions of tensors, one per file.
//!
//! Each saves exactly what its derivative needs and computes only the gradients that are asked for.

mod add;
mod avg_pool2d;
mod batch_norm;
mod columns;
mod concat;
mod conv2d;
mod cross_entropy;
mod div;
mod dropout;
mod gate;
mod global_avg_pool;
mod lanes;
mod linear;
mod max_pool2d;
mod mean;
mod mul;
mod pad;
mod pool2d_options;
mod relu;
mod repeat_interleave;
mod scale;
mod shake_shake;
mod sigmoid;
mod soft_cross_entropy;
mod softmax;
mod sub;
mod sum;

pub use add::add;
pub use avg_pool2d::avg_pool2d;
pub use batch_norm::{BatchNormInput, BatchStats, Stats, batch_norm};
pub use columns::columns;
pub use concat::concat;
pub(crate) use conv2d::conv2d_cached;
pub use conv2d::{Active, Conv2dOptions, conv2d, conv2d_gated};
pub use cross_entropy::cross_entropy;
pub use div::div;
pub use dropout::dropout;
pub use gate::gate;
pub use global_avg_pool::global_avg_pool;
pub(crate) use lanes::Lanes;
pub use linear::linear;
pub use max_pool2d::max_pool2d;
pub use mean::mean;
pub use mul::mul;
pub use pad::pad;
pub use pool2d_options::Pool2dOptions;
pub use relu::relu;
pub use repeat_interleave::repeat_interleave;
pub use scale::scale;
pub use shake_shake::{ShakeDraw, shake_shake, shake_shake_with};
pub use sigmoid::sigmoid;
pub use soft_cross_entropy::soft_cross_entropy;
pub use softmax::softmax;
pub use sub::sub;
pub use sum::sum;

use gaternet_kernels::Isa;
use gaternet_kernels::dims::PlaneDims;

use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::Tensor;

/// The instruction set of an op on `inputs`: that of the first with one, or the process's.
pub(crate) fn isa(inputs: &[&Tensor]) -> Result<Isa> {
    inputs.iter().find_map(|input| input.own_isa()).map_or_else(|| Ok(Isa::current()?), Ok)
}

/// The sizes of a tensor of rank `RANK`.
pub(crate) fn dims<const RANK: usize>(
    op: &'static str,
    rule: &'static str,
    x: &Tensor,
) -> Result<[usize; RANK]> {
    x.dims().try_into().map_err(|_| Error::Shape { op, rule, got: x.shape().to_string() })
}

/// The sizes of x (N, C, H, W) for an op that treats every plane alike.
fn plane_dims(op: &'static str, x: &Tensor) -> Result<PlaneDims> {
    let [batch, channels, h, w] = dims(op, "the input must be (N, C, H, W)", x)?;
    Ok(PlaneDims { batch, channels, plane: h * w })
}

/// `Err` unless the shape of `x` is `expected`.
pub(crate) fn check_shape(
    op: &'static str,
    rule: &'static str,
    x: &Tensor,
    expected: impl Into<Shape>,
) -> Result<()> {
    let expected = expected.into();
    if x.shape() == &expected {
        return Ok(());
    }
    Err(Error::Shape { op, rule, got: format!("{} for {expected}", x.shape()) })
}
