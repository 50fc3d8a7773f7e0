//! A batch norm with running statistics, as a scale and a shift of each channel.

use gaternet_core::nn::BatchNorm2d;

/// `bn(x) = scale · x + shift` with the running statistics, each (C): `scale = weight / sqrt(var +
/// eps)` and `shift = bias - mean · scale`.
pub(crate) fn scale_shift(bn: &BatchNorm2d) -> (Vec<f64>, Vec<f64>) {
    let (weight, bias) = (bn.weight().tensor(), bn.bias().tensor());
    let (mean, var) = (bn.running_mean().tensor(), bn.running_var().tensor());
    let scale = |(&weight, &var): (&f32, &f32)| {
        f64::from(weight) / (f64::from(var) + f64::from(bn.eps())).sqrt()
    };
    let scales: Vec<f64> = weight.data().iter().zip(var.data()).map(scale).collect();
    let shift =
        |((&bias, &mean), &scale): ((&f32, &f32), &f64)| f64::from(bias) - f64::from(mean) * scale;
    let shifts = bias.data().iter().zip(mean.data()).zip(&scales).map(shift).collect();
    (scales, shifts)
}

/// Weight (F, C, KH, KW) and bias (F) of the layer that computes `bn(layer(x))`, from the weight of
/// a layer without bias; without a batch norm that weight and zeros.
pub(crate) fn fold(
    mut weight: Vec<f32>,
    filters: usize,
    bn: Option<&BatchNorm2d>,
) -> (Vec<f32>, Vec<f32>) {
    let Some(bn) = bn else { return (weight, vec![0.0; filters]) };
    let (scales, shifts) = scale_shift(bn);
    let filter_len = weight.len() / filters;
    for (weights, scale) in weight.chunks_exact_mut(filter_len).zip(&scales) {
        weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
    }
    (weight, shifts.into_iter().map(|shift| shift as f32).collect())
}
