//! The algorithms of convolutions, and the choice between them.

use std::fmt;

use super::winograd;
use crate::dims::Conv2dDims;
use crate::dtype::DType;
use crate::error::{KernelError, Result};

/// The lanes of a vector; with fewer, the order of the costs is the same.
const LANES: usize = 16;

/// An algorithm for the convolution and its gradients. For each of them alone, an output's
/// bits do not depend on which other filters are active; between them, roundings differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The sums of products of the definition, for any kernel and stride.
    Direct,
    /// Winograd F(2x2, 3x3), with 2.25 times fewer products. Rounding errors are about those of
    /// [`Direct`](Self::Direct).
    Winograd2,
    /// Winograd F(4x4, 3x3), with 4 times fewer products. Rounding errors are several times larger.
    Winograd4,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Algorithm; 3] = [Algorithm::Direct, Algorithm::Winograd2, Algorithm::Winograd4];

    /// Returns the fastest algorithm for this convolution, by its shape and batch size alone, so
    /// that the bits are the same whatever is active.
    ///
    /// It is the one with the fewest multiply-adds of whole vectors, where those of Winograd's
    /// count a third more for the transforms. On small maps F(4x4)'s weights outgrow the caches,
    /// unless several samples share them.
    #[must_use]
    pub fn choose(dims: &Conv2dDims) -> Algorithm {
        Algorithm::choose_for(DType::F32, dims)
    }

    /// Returns what [`choose`](Self::choose) does, for products of this type.
    pub(super) fn choose_for(dtype: DType, dims: &Conv2dDims) -> Algorithm {
        if !Algorithm::Winograd4.supports(dims) {
            return Algorithm::Direct;
        }
        let out_size @ [height, width] = dims.out_size();
        let tiles = |m: usize| -> usize { winograd::grid(m, out_size).iter().product() };
        let cost = |algorithm: &Algorithm| match algorithm.tile() {
            None => 9 * 3 * (height * (width + 1)).div_ceil(LANES),
            Some(4) if dtype == DType::F32 && winograd::Elements::suits(out_size) => {
                match winograd::Elements::pays(dims) {
                    true => 9 * 4 * tiles(4).div_ceil(4),
                    false => usize::MAX,
                }
            }
            Some(m) => (m + 2) * (m + 2) * 4 * tiles(m).div_ceil(LANES),
        };
        Algorithm::ALL.into_iter().min_by_key(cost).unwrap_or(Algorithm::Direct)
    }

    /// Returns the fastest algorithm for the gradient of the weight, with or without lists of
    /// active filters.
    #[must_use]
    pub fn choose_for_weight(dims: &Conv2dDims, gated: bool) -> Algorithm {
        // A vector of channels that is mostly empty costs what a full one does.
        if gated || dims.in_channels() < 8 || !Algorithm::Winograd4.supports(dims) {
            Algorithm::Direct
        } else {
            Algorithm::Winograd4
        }
    }

    /// Returns whether the algorithm can compute this convolution: Winograd's takes 3x3 kernels
    /// with stride 1 and at most 2 pixels of padding.
    #[must_use]
    pub fn supports(self, dims: &Conv2dDims) -> bool {
        self == Algorithm::Direct
            || (dims.kernel() == [3, 3]
                && dims.stride() == [1, 1]
                && dims.padding().iter().all(|padding| *padding <= 2))
    }

    pub(super) fn check(self, op: &'static str, dims: &Conv2dDims) -> Result<()> {
        if self.supports(dims) {
            return Ok(());
        }
        let rule = "Winograd's algorithm needs a 3x3 kernel, stride 1 and a padding of at most 2";
        Err(KernelError::Dims { op, rule, got: format!("{dims:?}") })
    }

    /// Returns m of F(m x m, 3x3), or `None` for the direct algorithm.
    pub(super) fn tile(self) -> Option<usize> {
        match self {
            Algorithm::Direct => None,
            Algorithm::Winograd2 => Some(2),
            Algorithm::Winograd4 => Some(4),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Direct => "direct",
            Algorithm::Winograd2 => "winograd2",
            Algorithm::Winograd4 => "winograd4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(input: [usize; 4], weight: [usize; 4], stride: usize) -> Algorithm {
        let dims = Conv2dDims::new(input, weight, [stride; 2], [weight[2] / 2; 2]);
        Algorithm::choose(&dims.expect("valid"))
    }

    #[test]
    fn large_maps_take_large_tiles() {
        let choice = |side: usize, kernel: usize, stride: usize| {
            choose([1, 8, side, side], [8, 8, kernel, kernel], stride)
        };
        for side in [14, 16, 28, 32, 56] {
            assert_eq!(choice(side, 3, 1), Algorithm::Winograd4, "{side}");
        }
        assert_eq!([4, 7, 8].map(|side| choice(side, 3, 1)), [Algorithm::Winograd4; 3]);
        assert_eq!(choice(1, 3, 1), Algorithm::Direct);
        assert_eq!((choice(32, 3, 2), choice(32, 5, 1)), (Algorithm::Direct, Algorithm::Direct));
    }

    #[test]
    fn small_maps_with_many_weights_take_large_tiles_if_samples_share_them() {
        let choice = |batch: usize| choose([batch, 512, 7, 7], [512, 512, 3, 3], 1);
        assert_eq!((choice(1), choice(64)), (Algorithm::Winograd2, Algorithm::Winograd4));
    }
}
