//! The method by which a prepared convolution is computed.

use super::Algorithm;
use crate::dims::Conv2dDims;
use crate::dtype::DType;

/// An algorithm and the type of its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Method {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The type of the products.
    pub dtype: DType,
}

impl Method {
    /// Returns the fastest method for this convolution with products of this type, as
    /// [`Algorithm::choose`] does.
    #[must_use]
    pub fn choose(dtype: DType, dims: &Conv2dDims) -> Method {
        Method { algorithm: Algorithm::choose_for(dtype, dims), dtype }
    }
}

/// Makes a method in f32.
impl From<Algorithm> for Method {
    fn from(algorithm: Algorithm) -> Method {
        Method { algorithm, dtype: DType::F32 }
    }
}
