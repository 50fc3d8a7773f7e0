//! `y = x·weightᵀ + bias`: x (N, I), weight (O, I), bias (O), y (N, O).
//!
//! The products are those of the `gemm` crates, which detect the instruction set by themselves.

use gemm_common::Parallelism;
use gemm_f32::gemm::f32::get_gemm_fn;

use crate::dims::{LinearDims, checked_len};
use crate::error::{Result, check_len};

/// y (N, O).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn forward(
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
    product(
        Matrix::rows(x, in_features),
        Matrix::columns(weight, in_features),
        y,
        Size { rows: batch, inner: in_features, columns: out_features },
    );
    if let Some(bias) = bias {
        for row in y.chunks_exact_mut(out_features.max(1)) {
            row.iter_mut().zip(bias).for_each(|(y, bias)| *y += bias);
        }
    }
    Ok(())
}

/// Gradient of x (N, I).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward_input(
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
    product(
        Matrix::rows(grad_y, out_features),
        Matrix::rows(weight, in_features),
        grad_x,
        Size { rows: batch, inner: out_features, columns: in_features },
    );
    Ok(())
}

/// Gradient of the weight (O, I).
///
/// # Errors
/// [`KernelError`](crate::KernelError) if a length does not fit `dims`.
pub fn backward_weight(
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
    product(
        Matrix::columns(grad_y, out_features),
        Matrix::rows(x, in_features),
        grad_weight,
        Size { rows: out_features, inner: batch, columns: in_features },
    );
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

/// A factor of a product: element (r, c) is `data[r·row_stride + c·column_stride]`.
struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl Matrix<'_> {
    /// The matrix whose rows of length `width` lie one after the other.
    fn rows(data: &[f32], width: usize) -> Matrix<'_> {
        Matrix { data, row_stride: width, column_stride: 1 }
    }

    /// The matrix whose columns of length `height` lie one after the other.
    fn columns(data: &[f32], height: usize) -> Matrix<'_> {
        Matrix { data, row_stride: 1, column_stride: height }
    }

    fn transposed(self) -> Self {
        Matrix { row_stride: self.column_stride, column_stride: self.row_stride, ..self }
    }
}

struct Size {
    rows: usize,
    inner: usize,
    columns: usize,
}

/// Multiply-accumulates up to which one thread is done before others are awake.
const SERIAL: usize = 1 << 20;

/// `out = left (rows, inner) · right (inner, columns)`, rows of `out` one after the other.
fn product(left: Matrix, right: Matrix, out: &mut [f32], size: Size) {
    let Size { rows, inner, columns } = size;
    assert!(left.data.len() == rows * inner && right.data.len() == inner * columns);
    assert!(out.len() == rows * columns);
    let parallelism = match rows * inner * columns <= SERIAL {
        true => Parallelism::None,
        false => Parallelism::Rayon(0),
    };
    // The routine prefers columns that lie one after the other: outᵀ = rightᵀ·leftᵀ has them.
    let (left, right, rows, columns, strides) = match columns {
        0 | 1 => (left, right, rows, columns, [1, columns]),
        _ => (right.transposed(), left.transposed(), columns, rows, [columns, 1]),
    };
    let signed = usize::cast_signed;
    // SAFETY: the lengths asserted above are those of the matrices, whose strides are 1 and one of
    // their sides, so every element lies within its slice; `out` is borrowed exclusively.
    unsafe {
        get_gemm_fn()(
            rows,
            columns,
            inner,
            out.as_mut_ptr(),
            signed(strides[0]),
            signed(strides[1]),
            false,
            left.data.as_ptr(),
            signed(left.column_stride),
            signed(left.row_stride),
            right.data.as_ptr(),
            signed(right.column_stride),
            signed(right.row_stride),
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::linear as reference;
    use crate::testing::{assert_close, values, widen};

    #[test]
    fn all_passes_agree_with_the_reference() {
        for (batch, in_features, out_features) in [
            (1, 1, 1),
            (3, 7, 17),
            (1, 64, 10),
            (128, 8, 336),
            (128, 64, 200),
            (3, 0, 2),
            (0, 3, 2),
        ] {
            let dims = LinearDims { batch, in_features, out_features };
            let (x, weight) =
                (values(1, batch * in_features), values(2, out_features * in_features));
            let (bias, grad) = (values(3, out_features), values(4, batch * out_features));
            let (x64, weight64, grad64) = (widen(&x), widen(&weight), widen(&grad));

            let mut y = vec![f32::NAN; grad.len()];
            for bias in [None, Some(&bias[..])] {
                forward(dims, &x, &weight, bias, &mut y).expect("lengths fit");
                let bias = bias.map(widen);
                let want = reference::forward(dims, &x64, &weight64, bias.as_deref());
                assert_close(dims, &y, &want, 1e-4);
            }
            let mut out = vec![f32::NAN; x.len()];
            backward_input(dims, &grad, &weight, &mut out).expect("lengths fit");
            assert_close(dims, &out, &reference::backward_input(dims, &grad64, &weight64), 1e-4);
            let mut out = vec![f32::NAN; weight.len()];
            backward_weight(dims, &x, &grad, &mut out).expect("lengths fit");
            assert_close(dims, &out, &reference::backward_weight(dims, &x64, &grad64), 1e-4);
            let mut out = vec![f32::NAN; bias.len()];
            backward_bias(dims, &grad, &mut out).expect("lengths fit");
            assert_close(dims, &out, &reference::backward_bias(dims, &grad64), 1e-4);
        }
    }

    #[test]
    fn wrong_lengths_are_refused_and_nothing_is_written() {
        let dims = LinearDims { batch: 2, in_features: 3, out_features: 4 };
        let a = [1.0; 12];
        let mut out = [7.0; 12];
        assert!(forward(dims, &a[..5], &a, None, &mut out[..8]).is_err());
        assert!(forward(dims, &a[..6], &a[..11], None, &mut out[..8]).is_err());
        assert!(forward(dims, &a[..6], &a, Some(&a[..3]), &mut out[..8]).is_err());
        assert!(forward(dims, &a[..6], &a, None, &mut out[..9]).is_err());
        assert!(backward_input(dims, &a[..8], &a, &mut out[..5]).is_err());
        assert!(backward_weight(dims, &a[..6], &a[..7], &mut out).is_err());
        assert!(backward_bias(dims, &a[..8], &mut out[..5]).is_err());
        assert_eq!(out, [7.0; 12]);
    }
}
