//! The lines of a tensor along one of its dimensions.

use std::iter::StepBy;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::tensor::Tensor;

/// A tensor as (outer, len, inner), where `len` is the size of the dimension.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lanes {
    outer: usize,
    len: usize,
    inner: usize,
}

impl Lanes {
    /// # Errors
    /// [`Error::Shape`] if there is no dimension of this number.
    pub(crate) fn new(op: &'static str, x: &Tensor, dim: usize) -> Result<Lanes> {
        let Some(&len) = x.dims().get(dim) else {
            return Err(Error::Shape {
                op,
                rule: "the tensor must have a dimension of this number, counted from 0",
                got: format!("dimension {dim} of {}", x.shape()),
            });
        };
        let product = |dims: &[usize]| dims.iter().product();
        let (outer, inner) = (product(&x.dims()[..dim]), product(&x.dims()[dim + 1..]));
        // Lines without elements are none.
        Ok(Lanes { outer: if len == 0 { 0 } else { outer }, len, inner })
    }

    /// Elements of a line.
    pub(crate) fn len(self) -> usize {
        self.len
    }

    /// The indices of every line, in row-major order of the other dimensions.
    pub(crate) fn iter(self) -> impl Iterator<Item = StepBy<Range<usize>>> {
        let Lanes { outer, len, inner } = self;
        let lines = move |block| {
            (0..inner).map(move |i| (block * len * inner + i, (block + 1) * len * inner))
        };
        (0..outer).flat_map(lines).map(move |(start, end)| (start..end).step_by(inner))
    }
}
