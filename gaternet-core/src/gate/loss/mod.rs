//! What is added to the task's loss so that gates close, or open where they should. What a network
//! costs is the network's to say, as a [`GateCost`].

mod batch_shaping;
mod beta;
mod cost;
mod counted;
mod densities;
mod l1;
mod target_cost;
mod target_rate;

pub use batch_shaping::batch_shaping;
pub use beta::Beta;
pub use cost::{GateCost, RunningCost};
pub use counted::counted;
pub use densities::GateDensities;
pub use l1::l1_loss;
pub use target_cost::{block_bounds, target_cost};
pub use target_rate::target_rate;

use crate::autograd::Backward;
use crate::error::{Error, Result, digits};
use crate::ops;
use crate::tensor::Tensor;

/// `Err` unless `value` is 0 to 1.
fn fraction(field: &'static str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::Config { field, value: digits(value), rule: "must be 0 to 1" })
}

/// `Err` unless `value` is positive. Which targets can be depends on the network; this is what all
/// have in common.
fn positive(field: &'static str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::Config { field, value: digits(value), rule: "must be positive and finite" })
}

/// The scalar `loss` of x, whose gradient is already known: these losses find both in one pass.
fn with_gradient(op: &'static str, loss: f64, x: &Tensor, grad: Vec<f32>) -> Result<Tensor> {
    let grad = Tensor::new(grad, x.shape())?;
    Tensor::from_op(vec![loss as f32], [], &[x], |_| Known { op, grad })
}

#[derive(Debug)]
struct Known {
    op: &'static str,
    grad: Tensor,
}

impl Backward for Known {
    fn name(&self) -> &'static str {
        self.op
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(ops::scale(&self.grad, grad.item()?)?)])
    }
}
