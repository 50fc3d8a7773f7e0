//! How a prepared convolution is computed.

use super::Algorithm;
use crate::dims::Conv2dDims;
use crate::dtype::DType;

/// An algorithm and the type of its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method {
    /// How.
    pub algorithm: Algorithm,
    /// Of what.
    pub dtype: DType,
}

impl Method {
    /// The fastest for this convolution with products of this type, chosen as [`Algorithm::choose`]
    /// does.
    #[must_use]
    pub fn choose(dtype: DType, dims: &Conv2dDims) -> Method {
        Method { algorithm: Algorithm::choose_for(dtype, dims), dtype }
    }
}

/// In f32.
impl From<Algorithm> for Method {
    fn from(algorithm: Algorithm) -> Method {
        Method { algorithm, dtype: DType::F32 }
    }
}
