//! The layout of activations and weights in device memory, and conversion to and from it on the
//! host.
//!
//! An activation is (N, H, W, S) with S = [`stride`]`(C)`. A *dense* one has channel c at c, and
//! zeros from C on. A *compact* one has the active channels of each sample in ascending order, then
//! zeros to the next multiple of 16; what follows is arbitrary. A weight is (R, KH, KW, S): its
//! rows are the gated side, and the other side is padded to S with zeros.

use crate::active_filters::ActiveFilters;
use crate::dims::Conv2dDims;

/// Returns `channels` rounded up to a multiple of 16, the number that kernels read at once.
#[must_use]
pub fn stride(channels: usize) -> usize {
    channels.next_multiple_of(16)
}

/// The side of a weight (F, C, KH, KW) that is stored in rows, because its gates select them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Rows are filters: the convolution's output can be gated.
    Filters,
    /// Rows are channels: the convolution's input can be gated.
    Channels,
}

impl Rows {
    /// Returns the number of rows, R.
    #[must_use]
    pub fn count(self, dims: &Conv2dDims) -> usize {
        match self {
            Rows::Filters => dims.out_channels(),
            Rows::Channels => dims.in_channels(),
        }
    }

    /// Returns the number of columns, which are the other side of the weight, without padding.
    #[must_use]
    pub fn columns(self, dims: &Conv2dDims) -> usize {
        match self {
            Rows::Filters => dims.in_channels(),
            Rows::Channels => dims.out_channels(),
        }
    }

    /// Returns the length of a weight on the device: R·KH·KW·S.
    #[must_use]
    pub fn weight_len(self, dims: &Conv2dDims) -> usize {
        self.count(dims) * dims.taps() * stride(self.columns(dims))
    }

    /// Converts a weight (F, C, KH, KW) to (R, KH, KW, S).
    ///
    /// # Panics
    /// If `weight` is not as long as `dims` says.
    #[must_use]
    pub fn pack_weight(self, dims: &Conv2dDims, weight: &[f32]) -> Vec<f32> {
        assert_eq!(weight.len(), dims.weight_len(), "weight (F, C, KH, KW)");
        let mut packed = vec![0.0; self.weight_len(dims)];
        self.for_weights(dims, |host, device| packed[device] = weight[host]);
        packed
    }

    /// Converts a weight (R, KH, KW, S) to (F, C, KH, KW).
    ///
    /// # Panics
    /// If `packed` is not as long as [`weight_len`](Self::weight_len).
    #[must_use]
    pub fn unpack_weight(self, dims: &Conv2dDims, packed: &[f32]) -> Vec<f32> {
        assert_eq!(packed.len(), self.weight_len(dims), "weight (R, KH, KW, S)");
        let mut weight = vec![0.0; dims.weight_len()];
        self.for_weights(dims, |host, device| weight[host] = packed[device]);
        weight
    }

    fn for_weights(self, dims: &Conv2dDims, mut f: impl FnMut(usize, usize)) {
        let (taps, stride) = (dims.taps(), stride(self.columns(dims)));
        for filter in 0..dims.out_channels() {
            for channel in 0..dims.in_channels() {
                let (row, column) = match self {
                    Rows::Filters => (filter, channel),
                    Rows::Channels => (channel, filter),
                };
                for tap in 0..taps {
                    let host = (filter * dims.in_channels() + channel) * taps + tap;
                    f(host, (row * taps + tap) * stride + column);
                }
            }
        }
    }
}

/// Converts an activation (N, C, H, W) to a dense one, (N, H, W, S); `plane` is H·W.
///
/// # Panics
/// If `values` is not a whole number of samples.
#[must_use]
pub fn pack_dense(channels: usize, plane: usize, values: &[f32]) -> Vec<f32> {
    let batch = samples(channels, plane, values.len());
    let stride = stride(channels);
    let mut packed = vec![0.0; batch * plane * stride];
    for n in 0..batch {
        for c in 0..channels {
            for p in 0..plane {
                packed[(n * plane + p) * stride + c] = values[(n * channels + c) * plane + p];
            }
        }
    }
    packed
}

/// Converts a dense activation (N, H, W, S) to (N, C, H, W); `plane` is H·W.
///
/// # Panics
/// If `packed` is not a whole number of samples.
#[must_use]
pub fn unpack_dense(channels: usize, plane: usize, packed: &[f32]) -> Vec<f32> {
    let stride = stride(channels);
    let batch = samples(stride, plane, packed.len());
    let mut values = vec![0.0; batch * channels * plane];
    for n in 0..batch {
        for c in 0..channels {
            for p in 0..plane {
                values[(n * channels + c) * plane + p] = packed[(n * plane + p) * stride + c];
            }
        }
    }
    values
}

/// Converts an activation (N, C, H, W) to a compact one, (N, H, W, S): the active channels and
/// zeros to a multiple of 16. The rest is NaN, since nothing may read it; `plane` is H·W.
///
/// # Panics
/// If `values` is not a whole number of samples, or `active` does not list these samples and
/// channels.
#[must_use]
pub fn pack_compact(active: &ActiveFilters, plane: usize, values: &[f32]) -> Vec<f32> {
    let channels = active.filters();
    let stride = stride(channels);
    assert_eq!(samples(channels, plane, values.len()), active.batch(), "one list a sample");
    let mut packed = vec![f32::NAN; active.batch() * plane * stride];
    for n in 0..active.batch() {
        let row = active.row(n);
        for p in 0..plane {
            let pixel = &mut packed[(n * plane + p) * stride..][..row.len().next_multiple_of(16)];
            pixel.fill(0.0);
            for (value, &c) in pixel.iter_mut().zip(row) {
                *value = values[(n * channels + c as usize) * plane + p];
            }
        }
    }
    packed
}

/// Converts a compact activation (N, H, W, S) to (N, C, H, W), with 0 for inactive channels;
/// `plane` is H·W.
///
/// # Panics
/// If `packed` is not as long as `active` and `plane` say.
#[must_use]
pub fn unpack_compact(active: &ActiveFilters, plane: usize, packed: &[f32]) -> Vec<f32> {
    let channels = active.filters();
    let stride = stride(channels);
    assert_eq!(samples(stride, plane, packed.len()), active.batch(), "one list a sample");
    let mut values = vec![0.0; active.batch() * channels * plane];
    for n in 0..active.batch() {
        for (j, &c) in active.row(n).iter().enumerate() {
            for p in 0..plane {
                values[(n * channels + c as usize) * plane + p] =
                    packed[(n * plane + p) * stride + j];
            }
        }
    }
    values
}

fn samples(channels: usize, plane: usize, len: usize) -> usize {
    let sample = channels * plane;
    if sample == 0 {
        return 0;
    }
    assert!(len.is_multiple_of(sample), "{len} values are no whole number of samples of {sample}");
    len / sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::values;

    #[test]
    fn what_is_packed_comes_back() {
        let dims = Conv2dDims::new([2, 5, 3, 4], [17, 5, 3, 2], [1, 1], [1, 1]).expect("valid");
        let weight = values(1, dims.weight_len());
        for rows in [Rows::Filters, Rows::Channels] {
            assert_eq!(rows.unpack_weight(&dims, &rows.pack_weight(&dims, &weight)), weight);
        }
        let x = values(2, dims.input_len());
        assert_eq!(unpack_dense(5, 12, &pack_dense(5, 12, &x)), x);
        let active = ActiveFilters::from_columns(&[1.0; 10], 5, 0, 5).expect("rows of 5");
        assert_eq!(unpack_compact(&active, 12, &pack_compact(&active, 12, &x)), x);
    }

    #[test]
    fn compact_has_active_channels_first_and_zeros_to_sixteen() {
        let active = ActiveFilters::from_columns(&[0.0, 1.0, 1.0], 3, 0, 3).expect("a row of 3");
        let packed = pack_compact(&active, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(packed[..3], [3.0, 5.0, 0.0]);
        assert_eq!(packed[16..19], [4.0, 6.0, 0.0]);
        assert_eq!(unpack_compact(&active, 2, &packed), [0.0, 0.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
