//! What a pass does with its sums before it stores them (`kernels-cu/conv2d_epilogue.cuh`).

use super::super::buffer::CudaBuffer;

/// The gates of one layer: columns `first..` of rows of `stride` values.
#[derive(Debug, Clone, Copy)]
pub struct GateColumns<'a> {
    /// (N, stride).
    pub gates: &'a CudaBuffer<f32>,
    /// Values in a row.
    pub stride: usize,
    /// The column of output 0.
    pub first: usize,
}

/// `relu(gate·(sum·scale + bias) + residual)`; a gate of 0 gives exactly 0 before the residual is
/// added.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// (F); 1 if absent.
    pub scale: Option<&'a CudaBuffer<f32>>,
    /// (F); 0 if absent.
    pub bias: Option<&'a CudaBuffer<f32>>,
    /// 1 if absent.
    pub gates: Option<GateColumns<'a>>,
    /// As the output; 0 if absent.
    pub residual: Option<&'a CudaBuffer<T>>,
    /// Whether values below 0 become 0.
    pub relu: bool,
}

impl<T> Default for Forward<'_, T> {
    fn default() -> Self {
        Forward { scale: None, bias: None, gates: None, residual: None, relu: false }
    }
}

/// The gradient of what the input was made of.
///
/// With `hidden`, where the input was `a = gate·hidden` and `hidden = relu(h)`:
/// `t = sum + residual` is the gradient of `a`; stored is that of `h`, `gate·t` where `hidden > 0`
/// if `relu`, else that of `hidden`, `gate·t`. A gate of 0 gives exactly 0. Without `hidden`:
/// `sum + residual`.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// The gradient that the input has from elsewhere, as `grad_input`; 0 if absent.
    pub residual: Option<&'a CudaBuffer<T>>,
    /// As `grad_input`.
    pub hidden: Option<&'a CudaBuffer<T>>,
    /// Of the input channels; 1 if absent. Only with `hidden`.
    pub gates: Option<GateColumns<'a>>,
    /// Whether `hidden` came out of a ReLU.
    pub relu: bool,
    /// The gradient of the gates. Only with `hidden`.
    pub gate_gradient: Option<GateGradient<'a>>,
}

impl<T> Default for Backward<'_, T> {
    fn default() -> Self {
        Backward { residual: None, hidden: None, gates: None, relu: false, gate_gradient: None }
    }
}

/// Where `Σ_pixels t·hidden` goes, for each active channel; the others get 0.
#[derive(Debug)]
pub struct GateGradient<'a> {
    /// The sums of blocks of pixels; at least as long as
    /// [`gate_gradient_scratch_len`](super::gate_gradient_scratch_len) says.
    pub scratch: &'a mut CudaBuffer<f32>,
    /// (N, stride): columns `first..first + C` are written.
    pub gradient: &'a mut CudaBuffer<f32>,
    /// Values in a row.
    pub stride: usize,
    /// The column of channel 0.
    pub first: usize,
}

/// Either, as the kernels have it.
#[derive(Debug)]
pub(super) struct Epilogue<'a, T> {
    pub(super) scale: Option<&'a CudaBuffer<f32>>,
    pub(super) bias: Option<&'a CudaBuffer<f32>>,
    pub(super) gates: Option<GateColumns<'a>>,
    pub(super) residual: Option<&'a CudaBuffer<T>>,
    pub(super) hidden: Option<&'a CudaBuffer<T>>,
    pub(super) relu: bool,
    pub(super) gate_gradient: Option<GateGradient<'a>>,
}

impl<'a, T> From<Forward<'a, T>> for Epilogue<'a, T> {
    fn from(forward: Forward<'a, T>) -> Self {
        let Forward { scale, bias, gates, residual, relu } = forward;
        Epilogue { scale, bias, gates, residual, relu, hidden: None, gate_gradient: None }
    }
}

impl<'a, T> From<Backward<'a, T>> for Epilogue<'a, T> {
    fn from(backward: Backward<'a, T>) -> Self {
        let Backward { residual, hidden, gates, relu, gate_gradient } = backward;
        Epilogue { scale: None, bias: None, gates, residual, hidden, relu, gate_gradient }
    }
}
