//! Gates applied to the channels of each sample.

use gaternet_kernels::cpu::gate as kernel;

use super::{check_shape, isa, plane_dims};
use crate::autograd::Backward;
use crate::error::Result;
use crate::storage;
use crate::tensor::Tensor;

/// `y[n, c] = x[n, c] · gates[n, c]` for x (N, C, H, W) and gates (N, C); exactly +0 where a gate
/// is 0, whatever x holds there. The gradient of a gate is the sum of `grad_y · x` over its plane,
/// where it is 0 too. Any scale of channels is such a gate, that of squeeze-and-excitation for one.
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the shapes do not fit.
pub fn gate(x: &Tensor, gates: &Tensor) -> Result<Tensor> {
    let dims = plane_dims("gate", x)?;
    check_shape("gate", "the gates must be (N, C)", gates, [dims.batch, dims.channels])?;
    let mut y = storage::take(x.len());
    kernel::forward(isa(&[x, gates])?, dims, x.data(), gates.data(), &mut y)?;
    let save = |_: &Tensor| Gate { x: x.detach(), gates: gates.detach() };
    Tensor::from_op(y, x.shape(), &[x, gates], save)
}

#[derive(Debug)]
struct Gate {
    x: Tensor,
    gates: Tensor,
}

impl Backward for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let Gate { x, gates } = self;
        let dims = plane_dims("gate", x)?;
        let mut grad_x = needs[0].then(|| storage::take(x.len()));
        let mut grad_gates = needs[1].then(|| storage::take(gates.len()));
        kernel::backward(
            grad.isa()?,
            dims,
            x.data(),
            gates.data(),
            grad.data(),
            grad_x.as_deref_mut(),
            grad_gates.as_deref_mut(),
        )?;
        Ok(vec![
            grad_x.map(|data| Tensor::new(data, x.shape())).transpose()?,
            grad_gates.map(|data| Tensor::new(data, gates.shape())).transpose()?,
        ])
    }
}
