//! An op of one's own without weights: the GELU of Hendrycks and Gimpel (2016).

use gaternet::core::ops::Active;
use gaternet::core::{Backward, Ctx, Result, Tensor};
use gaternet::models::{Inputs, Op, PlanContext, Planned, SampleKernel};

/// `x · Φ(x)` by the approximation `x / 2 · (1 + tanh(sqrt(2 / π) · (x + 0.044715 · x^3)))`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gelu;

/// sqrt(2 / π).
const SCALE: f32 = 0.797_884_6;
const CUBE: f32 = 0.044_715;

fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + (SCALE * (x + CUBE * x * x * x)).tanh())
}

fn derivative(x: f32) -> f32 {
    let tanh = (SCALE * (x + CUBE * x * x * x)).tanh();
    0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * SCALE * (1.0 + 3.0 * CUBE * x * x)
}

impl Op for Gelu {
    fn name(&self) -> &str {
        "GELU"
    }

    fn shape(&self, inputs: &[[usize; 3]]) -> Result<[usize; 3]> {
        Ok(inputs[0])
    }

    fn forward(&self, inputs: &[&Tensor], _: &Active, _: &mut Ctx) -> Result<Tensor> {
        let x = inputs[0];
        let y = x.data().iter().map(|x| gelu(*x)).collect();
        Tensor::from_op(y, x.shape(), &[x], |_| GeluBackward { x: x.detach() })
    }

    fn plan(&self, _: &mut PlanContext<'_>) -> Result<Planned> {
        Ok(Planned::each_sample(Gelu))
    }

    /// GELU(0) = 0, so a filter that its gates leave out before stays out after.
    fn keeps_zeros(&self) -> bool {
        true
    }
}

impl SampleKernel for Gelu {
    fn run(&self, inputs: Inputs<'_>, _: Option<&[u32]>, output: &mut [f32]) -> Result<()> {
        output.iter_mut().zip(inputs.get(0)).for_each(|(y, x)| *y = gelu(*x));
        Ok(())
    }
}

#[derive(Debug)]
struct GeluBackward {
    x: Tensor,
}

impl Backward for GeluBackward {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn backward(&self, grad: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let pairs = grad.data().iter().zip(self.x.data());
        let grad_x = pairs.map(|(grad, x)| grad * derivative(*x)).collect();
        Ok(vec![Some(Tensor::new(grad_x, grad.shape())?)])
    }
}
