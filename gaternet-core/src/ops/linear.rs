//! Fully connected layer.

use gaternet_kernels::cpu::linear as kernel;
use gaternet_kernels::dims::LinearDims;

use super::{check_shape, dims};
use crate::autograd::Backward;
use crate::error::Result;
use crate::shape::Shape;
use crate::storage;
use crate::tensor::{Tensor, elements};

/// y (N, O) `= x · weightᵀ + bias` of x (N, I), weight (O, I) and bias (O).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let [batch, in_features] = dims("linear", "the input must be (N, I)", x)?;
    let [out_features, _] = dims("linear", "the weight must be (O, I)", weight)?;
    check_shape(
        "linear",
        "the weight must have the input's features",
        weight,
        [out_features, in_features],
    )?;
    if let Some(bias) = bias {
        check_shape("linear", "the bias must be (O)", bias, [out_features])?;
    }
    let dims = LinearDims { batch, in_features, out_features };
    let shape = Shape::from([batch, out_features]);
    let mut y = storage::take(elements(&shape)?);
    let bias_data = bias.map(Tensor::data);
    kernel::forward(x.isa()?, dims, x.data(), weight.data(), bias_data, &mut y)?;
    let inputs: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
    let save = |_: &Tensor| Linear { dims, x: x.detach(), weight: weight.detach() };
    Tensor::from_op(y, shape, &inputs, save)
}

#[derive(Debug)]
struct Linear {
    dims: LinearDims,
    x: Tensor,
    weight: Tensor,
}

impl Backward for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Linear { dims, x, weight } = self;
        let mut grads = vec![None; needs.len()];
        if needs[0] {
            let mut data = storage::take(x.len());
            kernel::backward_input(grad.isa()?, *dims, grad.data(), weight.data(), &mut data)?;
            grads[0] = Some(Tensor::new(data, x.shape())?);
        }
        if needs[1] {
            let mut data = storage::take(weight.len());
            kernel::backward_weight(grad.isa()?, *dims, x.data(), grad.data(), &mut data)?;
            grads[1] = Some(Tensor::new(data, weight.shape())?);
        }
        if needs.get(2) == Some(&true) {
            let mut data = storage::take(dims.out_features);
            kernel::backward_bias(*dims, grad.data(), &mut data)?;
            grads[2] = Some(Tensor::new(data, [dims.out_features])?);
        }
        Ok(grads)
    }
}
