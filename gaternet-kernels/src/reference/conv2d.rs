//! Convolution of a zero-padded input, gated on both sides.
//!
//! Filter `f` of sample `n` is computed if `filters` is `None` or lists it; channel `c` of sample
//! `n` is read if `channels` is `None` or lists it.

use crate::active_filters::ActiveFilters;
use crate::dims::Conv2dDims;

/// Returns the output (N, F, OH, OW) of input (N, C, H, W) and weight (F, C, KH, KW); inactive
/// filters give 0.
#[must_use]
pub fn forward(
    dims: &Conv2dDims,
    filters: Option<&ActiveFilters>,
    channels: Option<&ActiveFilters>,
    input: &[f64],
    weight: &[f64],
) -> Vec<f64> {
    let mut output = vec![0.0; dims.output_len()];
    for_products(dims, filters, channels, |i, w, o| output[o] += input[i] * weight[w]);
    output
}

/// Returns the gradient of the input, (N, C, H, W), with 0 for inactive channels.
#[must_use]
pub fn backward_input(
    dims: &Conv2dDims,
    filters: Option<&ActiveFilters>,
    channels: Option<&ActiveFilters>,
    grad_output: &[f64],
    weight: &[f64],
) -> Vec<f64> {
    let mut grad = vec![0.0; dims.input_len()];
    for_products(dims, filters, channels, |i, w, o| grad[i] += grad_output[o] * weight[w]);
    grad
}

/// Returns the gradient of the weight, (F, C, KH, KW).
#[must_use]
pub fn backward_weight(
    dims: &Conv2dDims,
    filters: Option<&ActiveFilters>,
    channels: Option<&ActiveFilters>,
    input: &[f64],
    grad_output: &[f64],
) -> Vec<f64> {
    let mut grad = vec![0.0; dims.weight_len()];
    for_products(dims, filters, channels, |i, w, o| grad[w] += grad_output[o] * input[i]);
    grad
}

/// Calls `f(input index, weight index, output index)` for every product of the convolution.
fn for_products(
    dims: &Conv2dDims,
    filters: Option<&ActiveFilters>,
    channels: Option<&ActiveFilters>,
    mut f: impl FnMut(usize, usize, usize),
) {
    let [h, w] = dims.in_size();
    let [kh, kw] = dims.kernel();
    let [oh, ow] = dims.out_size();
    for n in 0..dims.batch() {
        for filter in active(filters, n, dims.out_channels()) {
            for channel in active(channels, n, dims.in_channels()) {
                for (oy, ox) in grid(oh, ow) {
                    for (ky, kx) in grid(kh, kw) {
                        // Positions in the border wrap below 0 and so are outside too.
                        let y = (oy * dims.stride()[0] + ky).wrapping_sub(dims.padding()[0]);
                        let x = (ox * dims.stride()[1] + kx).wrapping_sub(dims.padding()[1]);
                        if y < h && x < w {
                            f(
                                ((n * dims.in_channels() + channel) * h + y) * w + x,
                                ((filter * dims.in_channels() + channel) * kh + ky) * kw + kx,
                                ((n * dims.out_channels() + filter) * oh + oy) * ow + ox,
                            );
                        }
                    }
                }
            }
        }
    }
}

fn active(list: Option<&ActiveFilters>, n: usize, all: usize) -> Vec<usize> {
    match list {
        None => (0..all).collect(),
        Some(list) => list.row(n).iter().map(|&filter| filter as usize).collect(),
    }
}

fn grid(h: usize, w: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..h).flat_map(move |y| (0..w).map(move |x| (y, x)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{dot, numeric_gradient};
    use crate::testing::{assert_close, values_f64};

    /// `F.conv2d(torch.arange(9.).view(1,1,3,3), torch.ones(1,1,2,2), stride=2, padding=1)`
    #[test]
    fn forward_agrees_with_pytorch() {
        let dims = Conv2dDims::new([1, 1, 3, 3], [1, 1, 2, 2], [2, 2], [1, 1]).expect("valid");
        let input: Vec<f64> = (0..9).map(f64::from).collect();
        assert_eq!(forward(&dims, None, None, &input, &[1.0; 4]), [0.0, 3.0, 9.0, 24.0]);
    }

    #[test]
    fn gradients_agree_with_central_differences() {
        let filters = ActiveFilters::from_columns(&[1.0, 0.0, 1.0, 0.0, 1.0, 0.0], 3, 0, 3);
        let channels = ActiveFilters::from_columns(&[0.0, 1.0, 1.0, 1.0], 2, 0, 2);
        for (filters, channels) in [(None, None), (filters.as_ref(), channels.as_ref())] {
            let dims = Conv2dDims::new([2, 2, 5, 4], [3, 2, 3, 2], [2, 1], [1, 1]).expect("valid");
            let input = values_f64(1, dims.input_len());
            let weight = values_f64(2, dims.weight_len());
            let grad = values_f64(3, dims.output_len());
            let loss = |x: &[f64], w: &[f64]| dot(&forward(&dims, filters, channels, x, w), &grad);
            let of_input = numeric_gradient(|x| loss(x, &weight), &input);
            let of_weight = numeric_gradient(|w| loss(&input, w), &weight);
            let got = backward_input(&dims, filters, channels, &grad, &weight);
            assert_close("input", &got, &of_input, 1e-8);
            let got = backward_weight(&dims, filters, channels, &input, &grad);
            assert_close("weight", &got, &of_weight, 1e-8);
        }
    }
}
