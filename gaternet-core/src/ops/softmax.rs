//! Softmax along a dimension.

use super::lanes::Lanes;
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `exp(x) / sum of exp(x) over the dimension dim`, of the shape of x. The largest entry is
/// subtracted first, so that nothing overflows; the sum is in f64.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if there is no dimension of this number.
pub fn softmax(x: &Tensor, dim: usize) -> Result<Tensor> {
    let lanes = Lanes::new("softmax", x, dim)?;
    let mut y = storage::take(x.len());
    let data = x.data();
    for lane in lanes.iter() {
        let largest = lane.clone().fold(f32::NEG_INFINITY, |largest, i| largest.max(data[i]));
        let mut sum = 0.0;
        for i in lane.clone() {
            y[i] = (data[i] - largest).exp();
            sum += f64::from(y[i]);
        }
        lane.for_each(|i| y[i] = (f64::from(y[i]) / sum) as f32);
    }
    Tensor::from_op(y, x.shape(), &[x], |y| Softmax { y: y.clone(), lanes })
}

#[derive(Debug)]
struct Softmax {
    y: Tensor,
    lanes: Lanes,
}

impl Backward for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    /// `y · (grad - sum over the dimension of grad · y)`.
    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let (y, grad_y) = (self.y.data(), grad.data());
        let mut grad_x = storage::take(y.len());
        for lane in self.lanes.iter() {
            let product = |i: usize| f64::from(grad_y[i]) * f64::from(y[i]);
            let mean: f64 = lane.clone().map(product).sum();
            lane.for_each(|i| {
                grad_x[i] = (f64::from(y[i]) * (f64::from(grad_y[i]) - mean)) as f32;
            });
        }
        Ok(vec![Some(Tensor::new(grad_x, grad.shape())?)])
    }
}
