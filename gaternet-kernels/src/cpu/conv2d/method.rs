//! How a prepared convolution is computed.

use super::Algorithm;
use crate::dims::Conv2dDims;

/// What products are of. Sums are in f32, and so are inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DType {
    /// f32, the default.
    #[default]
    F32,
    /// bf16.
    Bf16,
}

/// An algorithm and the precision of its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method {
    /// How.
    pub algorithm: Algorithm,
    /// Of what.
    pub dtype: DType,
}

impl Method {
    /// The fastest for this convolution.
    #[must_use]
    pub fn choose(dtype: DType, dims: &Conv2dDims) -> Method {
        Method { algorithm: Algorithm::choose(dims), dtype }
    }
}

/// In f32.
impl From<Algorithm> for Method {
    fn from(algorithm: Algorithm) -> Method {
        Method { algorithm, dtype: DType::F32 }
    }
}
