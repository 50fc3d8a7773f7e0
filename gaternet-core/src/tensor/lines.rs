//! What is made of the lines of a tensor along a dimension.

use super::Tensor;
use crate::error::{Error, Result};
use crate::ops;

impl Tensor {
    /// Where the largest entry along the dimension `dim` (counted from 0) is, for every line,
    /// row-major: of logits (N, K), `argmax(1)` has the class of each of the N samples. The first
    /// of equal ones; NaN is larger than all numbers, as in PyTorch.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no dimension of this number or it has the size 0.
    pub fn argmax(&self, dim: usize) -> Result<Vec<usize>> {
        let lanes = ops::Lanes::new("argmax", self, dim)?;
        if lanes.len() == 0 {
            let (rule, got) = ("the dimension must not be empty", self.shape.to_string());
            return Err(Error::Shape { op: "argmax", rule, got });
        }
        let larger = |x: f32, best: f32| x > best || (x.is_nan() && !best.is_nan());
        let data = self.data();
        let step = |best: (usize, f32), (place, i): (usize, usize)| match larger(data[i], best.1) {
            true => (place, data[i]),
            false => best,
        };
        let largest = lanes.iter().map(|lane| lane.enumerate().fold((0, f32::NEG_INFINITY), step));
        Ok(largest.map(|(place, _)| place).collect())
    }

    /// [`ops::softmax`] along the dimension `dim`.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is no dimension of this number.
    pub fn softmax(&self, dim: usize) -> Result<Tensor> {
        ops::softmax(self, dim)
    }
}
