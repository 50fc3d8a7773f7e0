//! Batch normalisation, fused with the gates, shortcut and ReLU that follow it.

use gaternet_kernels::cpu::batch_norm as kernel;
use gaternet_kernels::dims::PlaneDims;

use super::{check_shape, isa, plane_dims};
use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// The inputs of [`batch_norm`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct BatchNormInput<'a> {
    /// (N, C, H, W), or (N, C), a plane of one value each.
    pub x: &'a Tensor,
    /// (C).
    pub weight: &'a Tensor,
    /// (C).
    pub bias: &'a Tensor,
    /// What x is normalised with.
    pub stats: Stats<'a>,
    /// Added to the variance.
    pub eps: f32,
    /// (N, C); each multiplies a plane.
    pub gates: Option<&'a Tensor>,
    /// Of the shape of x; added after the gates.
    pub residual: Option<&'a Tensor>,
    /// Whether a ReLU comes last.
    pub relu: bool,
}

impl<'a> BatchNormInput<'a> {
    /// x (N, C, H, W) or (N, C), weight (C) and bias (C), and nothing after.
    #[must_use]
    pub fn new(
        x: &'a Tensor,
        weight: &'a Tensor,
        bias: &'a Tensor,
        stats: Stats<'a>,
        eps: f32,
    ) -> BatchNormInput<'a> {
        BatchNormInput { x, weight, bias, stats, eps, gates: None, residual: None, relu: false }
    }

    /// The same input with these gates, (N, C).
    #[must_use]
    pub fn with_gates(self, gates: Option<&'a Tensor>) -> BatchNormInput<'a> {
        BatchNormInput { gates, ..self }
    }

    /// The same input with this shortcut, of the shape of x.
    #[must_use]
    pub fn with_residual(self, residual: Option<&'a Tensor>) -> BatchNormInput<'a> {
        BatchNormInput { residual, ..self }
    }

    /// The same input, with or without a ReLU at the end.
    #[must_use]
    pub fn with_relu(self, relu: bool) -> BatchNormInput<'a> {
        BatchNormInput { relu, ..self }
    }
}

/// Mean and variance for [`batch_norm`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Stats<'a> {
    /// Those of x itself; the gradient passes through them.
    Batch,
    /// These constants.
    Fixed {
        /// (C).
        mean: &'a Tensor,
        /// (C).
        var: &'a Tensor,
    },
}

/// Statistics of a batch, in no graph.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BatchStats {
    /// (C).
    pub mean: Tensor,
    /// (C), biased: divided by N·H·W.
    pub var: Tensor,
}

/// `y = relu(z · gates + residual)` with `z = weight · (x - mean) / sqrt(var + eps) + bias`, all of
/// the shape of x, and the statistics if they are the batch's. A plane whose gate is 0 adds exactly
/// +0, whatever x holds there; its gate has a gradient all the same, where the ReLU passes one. It
/// passes none at 0: to train gates that are off and have no residual, put them after the ReLU with
/// [`gate`](super::gate()).
///
/// # Errors
/// [`Error::Shape`] if the shapes do not fit, or the statistics are the batch's and a channel has
/// fewer than 2 values.
pub fn batch_norm(input: &BatchNormInput<'_>) -> Result<(Tensor, Option<BatchStats>)> {
    let dims = check(input)?;
    let BatchNormInput { x, weight, bias, stats, eps, gates, residual, relu } = *input;
    let isa = isa(&[x, weight])?;
    let affine = kernel::Affine { weight: weight.data(), bias: bias.data(), eps };
    let (gates_data, residual_data) = (gates.map(Tensor::data), residual.map(Tensor::data));
    let epilogue = kernel::Epilogue::default()
        .with_gates(gates_data)
        .with_residual(residual_data)
        .with_relu(relu);
    let mut y = storage::take(dims.len());
    let (mean, var, batch_stats) = match stats {
        Stats::Batch => {
            let mut mean = storage::take(dims.channels);
            let mut var = storage::take(dims.channels);
            kernel::forward_train(
                isa,
                dims,
                affine,
                epilogue,
                x.data(),
                &mut y,
                &mut mean,
                &mut var,
            )?;
            (Tensor::new(mean, [dims.channels])?, Tensor::new(var, [dims.channels])?, true)
        }
        Stats::Fixed { mean, var } => {
            let (mean_data, var_data) = (mean.data(), var.data());
            kernel::forward_eval(
                isa,
                dims,
                affine,
                epilogue,
                mean_data,
                var_data,
                x.data(),
                &mut y,
            )?;
            (mean.detach(), var.detach(), false)
        }
    };
    let inputs: Vec<&Tensor> =
        [Some(x), Some(weight), Some(bias), gates, residual].into_iter().flatten().collect();
    let output = Tensor::from_op(y, x.shape(), &inputs, |y| BatchNorm {
        dims,
        eps,
        relu,
        batch_stats,
        x: x.detach(),
        // Only the ReLU looks at y; without it, y need not stay alive.
        y: if relu { y.clone() } else { x.detach() },
        weight: weight.detach(),
        bias: bias.detach(),
        mean: mean.clone(),
        var: var.clone(),
        gates: gates.map(Tensor::detach),
        residual: residual.is_some(),
    })?;
    Ok((output, batch_stats.then_some(BatchStats { mean, var })))
}

fn check(input: &BatchNormInput<'_>) -> Result<PlaneDims> {
    const OP: &str = "batch_norm";
    let BatchNormInput { x, weight, bias, stats, gates, residual, .. } = *input;
    let dims = match *x.dims() {
        [batch, channels] => PlaneDims { batch, channels, plane: 1 },
        _ => plane_dims(OP, x)?,
    };
    check_shape(OP, "the weight must be (C)", weight, [dims.channels])?;
    check_shape(OP, "the bias must be (C)", bias, [dims.channels])?;
    match stats {
        Stats::Fixed { mean, var } => {
            check_shape(OP, "the mean must be (C)", mean, [dims.channels])?;
            check_shape(OP, "the variance must be (C)", var, [dims.channels])?;
        }
        Stats::Batch if dims.batch * dims.plane < 2 => {
            return Err(Error::Shape {
                op: OP,
                rule: "training needs more than 1 value per channel",
                got: x.shape().to_string(),
            });
        }
        Stats::Batch => {}
    }
    if let Some(gates) = gates {
        check_shape(OP, "the gates must be (N, C)", gates, [dims.batch, dims.channels])?;
    }
    if let Some(residual) = residual {
        check_shape(OP, "the residual must have the input's shape", residual, x.shape())?;
    }
    Ok(dims)
}

#[derive(Debug)]
struct BatchNorm {
    dims: PlaneDims,
    eps: f32,
    relu: bool,
    batch_stats: bool,
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    gates: Option<Tensor>,
    /// Whether there is one; its values are not needed.
    residual: bool,
}

impl Backward for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let shape = self.x.shape();
        let gates = self.gates.as_ref();
        let needs_gates = gates.filter(|_| needs[3]);
        let needs_residual = self.residual && needs[needs.len() - 1];
        let mut grad_x = needs[0].then(|| storage::take(self.dims.len()));
        let mut grad_weight = needs[1].then(|| storage::take(self.dims.channels));
        let mut grad_bias = needs[2].then(|| storage::take(self.dims.channels));
        let mut grad_gates = needs_gates.map(|gates| storage::take(gates.len()));
        // Without a ReLU the gradient of the residual is that of the output.
        let mut grad_residual =
            (needs_residual && self.relu).then(|| storage::take(self.dims.len()));
        kernel::backward(
            grad.isa()?,
            self.dims,
            kernel::Affine { weight: self.weight.data(), bias: self.bias.data(), eps: self.eps },
            kernel::Epilogue::default().with_gates(gates.map(Tensor::data)).with_relu(self.relu),
            kernel::Saved {
                x: self.x.data(),
                y: self.y.data(),
                mean: self.mean.data(),
                var: self.var.data(),
                batch_stats: self.batch_stats,
            },
            grad.data(),
            kernel::Grads {
                x: grad_x.as_deref_mut(),
                weight: grad_weight.as_deref_mut(),
                bias: grad_bias.as_deref_mut(),
                gates: grad_gates.as_deref_mut(),
                residual: grad_residual.as_deref_mut(),
            },
        )?;
        let mut grads = vec![
            grad_x.map(|data| Tensor::new(data, shape)).transpose()?,
            grad_weight.map(|data| Tensor::new(data, self.weight.shape())).transpose()?,
            grad_bias.map(|data| Tensor::new(data, self.bias.shape())).transpose()?,
        ];
        if let Some(gates) = gates {
            grads.push(grad_gates.map(|data| Tensor::new(data, gates.shape())).transpose()?);
        }
        if self.residual {
            grads.push(match grad_residual {
                Some(data) => Some(Tensor::new(data, shape)?),
                None => needs_residual.then_some(grad),
            });
        }
        Ok(grads)
    }
}
