//! `y = x·weightᵀ + bias`: x (N, I), weight (O, I), bias (O), y (N, O).
//!
//! A row of y has the same bits whatever the batch it is in.

mod product;

use product::{Matrix, Product};

use super::isa::Isa;
use crate::dims::{LinearDims, checked_len};
use crate::error::{Result, check_len};

/// y (N, O).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn forward(
    isa: Isa,
    dims: LinearDims,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<()> {
    let [x_len, weight_len, y_len] = lengths("linear::forward", dims)?;
    check_len("linear::forward", "x", x_len, x.len())?;
    check_len("linear::forward", "weight", weight_len, weight.len())?;
    check_len("linear::forward", "y", y_len, y.len())?;
    if let Some(bias) = bias {
        check_len("linear::forward", "bias", dims.out_features, bias.len())?;
    }
    let LinearDims { batch, in_features, out_features } = dims;
    let product = Product::new(isa, batch, in_features, out_features);
    product.run(Matrix::rows(x, in_features), Matrix::columns(weight, in_features), y);
    add_bias(bias, y);
    Ok(())
}

/// Gradient of x (N, I).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward_input(
    isa: Isa,
    dims: LinearDims,
    grad_y: &[f32],
    weight: &[f32],
    grad_x: &mut [f32],
) -> Result<()> {
    let [x_len, weight_len, y_len] = lengths("linear::backward_input", dims)?;
    check_len("linear::backward_input", "grad_y", y_len, grad_y.len())?;
    check_len("linear::backward_input", "weight", weight_len, weight.len())?;
    check_len("linear::backward_input", "grad_x", x_len, grad_x.len())?;
    let LinearDims { batch, in_features, out_features } = dims;
    let product = Product::new(isa, batch, out_features, in_features);
    product.run(Matrix::rows(grad_y, out_features), Matrix::rows(weight, in_features), grad_x);
    Ok(())
}

/// Gradient of the weight (O, I).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward_weight(
    isa: Isa,
    dims: LinearDims,
    x: &[f32],
    grad_y: &[f32],
    grad_weight: &mut [f32],
) -> Result<()> {
    let [x_len, weight_len, y_len] = lengths("linear::backward_weight", dims)?;
    check_len("linear::backward_weight", "x", x_len, x.len())?;
    check_len("linear::backward_weight", "grad_y", y_len, grad_y.len())?;
    check_len("linear::backward_weight", "grad_weight", weight_len, grad_weight.len())?;
    let LinearDims { batch, in_features, out_features } = dims;
    let product = Product::new(isa, out_features, batch, in_features);
    let grad_y = Matrix::columns(grad_y, out_features);
    product.run(grad_y, Matrix::rows(x, in_features), grad_weight);
    Ok(())
}

/// Gradient of the bias (O): the sum of `grad_y` (N, O) over the samples.
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward_bias(dims: LinearDims, grad_y: &[f32], grad_bias: &mut [f32]) -> Result<()> {
    let [_, _, y_len] = lengths("linear::backward_bias", dims)?;
    check_len("linear::backward_bias", "grad_y", y_len, grad_y.len())?;
    check_len("linear::backward_bias", "grad_bias", dims.out_features, grad_bias.len())?;
    grad_bias.fill(0.0);
    for row in grad_y.chunks_exact(dims.out_features.max(1)) {
        grad_bias.iter_mut().zip(row).for_each(|(sum, grad)| *sum += grad);
    }
    Ok(())
}

/// Lengths of x, weight and y.
fn lengths(op: &'static str, dims: LinearDims) -> Result<[usize; 3]> {
    let LinearDims { batch, in_features, out_features } = dims;
    Ok([
        checked_len(op, &[batch, in_features])?,
        checked_len(op, &[out_features, in_features])?,
        checked_len(op, &[batch, out_features])?,
    ])
}

/// A layer whose weights are laid out once and used many times: inference.
pub struct PreparedLinear {
    product: Product,
    packed: Vec<f32>,
    bias: Option<Vec<f32>>,
    dims: LinearDims,
}

impl PreparedLinear {
    /// Lays out `weight` (O, I), for `bias` (O) to be added. The batch size of `dims` is that of a
    /// usual run.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
    pub fn new(isa: Isa, dims: LinearDims, weight: &[f32], bias: Option<&[f32]>) -> Result<Self> {
        let [_, weight_len, _] = lengths("prepared linear", dims)?;
        check_len("prepared linear", "weight", weight_len, weight.len())?;
        if let Some(bias) = bias {
            check_len("prepared linear", "bias", dims.out_features, bias.len())?;
        }
        let LinearDims { batch, in_features, out_features } = dims;
        let product = Product::new(isa, batch, in_features, out_features);
        let packed = product.pack(Matrix::columns(weight, in_features));
        Ok(PreparedLinear { product, packed, bias: bias.map(<[f32]>::to_vec), dims })
    }

    /// y (N, O) of x (N, I), of any batch size: what [`forward`] writes, bit for bit.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) if the lengths are not those of `batch` samples.
    pub fn forward(&self, batch: usize, x: &[f32], y: &mut [f32]) -> Result<()> {
        let [x_len, _, y_len] = lengths("prepared linear", LinearDims { batch, ..self.dims })?;
        check_len("prepared linear", "x", x_len, x.len())?;
        check_len("prepared linear", "y", y_len, y.len())?;
        self.product.run_packed(Matrix::rows(x, self.dims.in_features), &self.packed, y);
        add_bias(self.bias.as_deref(), y);
        Ok(())
    }

    /// Bytes of the weights as they are laid out.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of_val(&self.packed[..])
    }
}

/// Adds `bias` (O) to each row of y (N, O).
fn add_bias(bias: Option<&[f32]>, y: &mut [f32]) {
    let Some(bias) = bias else { return };
    for row in y.chunks_exact_mut(bias.len().max(1)) {
        row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::linear as reference;
    use crate::testing::{assert_close, values, widen};

    const SIZES: [LinearDims; 9] = {
        const fn dims(batch: usize, in_features: usize, out_features: usize) -> LinearDims {
            LinearDims { batch, in_features, out_features }
        }
        [
            dims(1, 1, 1),
            dims(3, 7, 17),
            dims(1, 64, 10),
            dims(128, 8, 336),
            dims(128, 64, 200),
            dims(37, 150, 129),
            dims(3, 0, 2),
            dims(0, 3, 2),
            dims(2, 3, 0),
        ]
    };

    #[test]
    fn all_passes_agree_with_the_reference() {
        for isa in Isa::available() {
            for dims in SIZES {
                let LinearDims { batch, in_features, out_features } = dims;
                let (x, weight) =
                    (values(1, batch * in_features), values(2, out_features * in_features));
                let (bias, grad) = (values(3, out_features), values(4, batch * out_features));
                let (x64, weight64, grad64) = (widen(&x), widen(&weight), widen(&grad));

                let mut y = vec![f32::NAN; grad.len()];
                for bias in [None, Some(&bias[..])] {
                    forward(isa, dims, &x, &weight, bias, &mut y).expect("lengths fit");
                    let bias = bias.map(widen);
                    let want = reference::forward(dims, &x64, &weight64, bias.as_deref());
                    assert_close((isa, dims), &y, &want, 1e-4);
                }
                let mut out = vec![f32::NAN; x.len()];
                backward_input(isa, dims, &grad, &weight, &mut out).expect("lengths fit");
                let want = reference::backward_input(dims, &grad64, &weight64);
                assert_close((isa, dims), &out, &want, 1e-4);
                let mut out = vec![f32::NAN; weight.len()];
                backward_weight(isa, dims, &x, &grad, &mut out).expect("lengths fit");
                let want = reference::backward_weight(dims, &x64, &grad64);
                assert_close((isa, dims), &out, &want, 1e-4);
                let mut out = vec![f32::NAN; bias.len()];
                backward_bias(dims, &grad, &mut out).expect("lengths fit");
                assert_close(dims, &out, &reference::backward_bias(dims, &grad64), 1e-4);
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_in_any_batch_and_of_prepared_weights() {
        for isa in Isa::available() {
            for dims in SIZES {
                let LinearDims { batch, in_features, out_features } = dims;
                let (x, weight) =
                    (values(1, batch * in_features), values(2, out_features * in_features));
                let bias = values(3, out_features);
                let mut want = vec![f32::NAN; batch * out_features];
                forward(isa, dims, &x, &weight, Some(&bias), &mut want).expect("lengths fit");

                let one = LinearDims { batch: 1, ..dims };
                let prepared =
                    PreparedLinear::new(isa, one, &weight, Some(&bias)).expect("lengths fit");
                let mut got = vec![f32::NAN; want.len()];
                prepared.forward(batch, &x, &mut got).expect("lengths fit");
                assert_eq!(got, want, "{isa} {dims:?} at once");
                for n in 0..batch {
                    let x = &x[n * in_features..(n + 1) * in_features];
                    let want = &want[n * out_features..(n + 1) * out_features];
                    let mut got = vec![f32::NAN; out_features];
                    prepared.forward(1, x, &mut got).expect("lengths fit");
                    assert_eq!(got, want, "{isa} {dims:?} prepared, sample {n}");
                    let mut got = vec![f32::NAN; out_features];
                    forward(isa, one, x, &weight, Some(&bias), &mut got).expect("lengths fit");
                    assert_eq!(got, want, "{isa} {dims:?}, sample {n}");
                }
            }
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let isa = Isa::current().expect("a known instruction set");
        let dims = LinearDims { batch: 2, in_features: 3, out_features: 4 };
        let a = [1.0; 12];
        let mut out = [7.0; 12];
        assert!(forward(isa, dims, &a[..5], &a, None, &mut out[..8]).is_err());
        assert!(forward(isa, dims, &a[..6], &a[..11], None, &mut out[..8]).is_err());
        assert!(forward(isa, dims, &a[..6], &a, Some(&a[..3]), &mut out[..8]).is_err());
        assert!(forward(isa, dims, &a[..6], &a, None, &mut out[..9]).is_err());
        assert!(backward_input(isa, dims, &a[..8], &a, &mut out[..5]).is_err());
        assert!(backward_weight(isa, dims, &a[..6], &a[..7], &mut out).is_err());
        assert!(backward_bias(dims, &a[..8], &mut out[..5]).is_err());
        assert!(PreparedLinear::new(isa, dims, &a[..11], None).is_err());
        assert!(PreparedLinear::new(isa, dims, &a, Some(&a[..3])).is_err());
        let prepared = PreparedLinear::new(isa, dims, &a, None).expect("lengths fit");
        assert!(prepared.forward(2, &a[..5], &mut out[..8]).is_err());
        assert!(prepared.forward(2, &a[..6], &mut out[..9]).is_err());
        assert_eq!(out, [7.0; 12]);
    }
}
