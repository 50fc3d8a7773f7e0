//! The epilogues of a convolution: what a pass does with its sums before it stores them
//! (`kernels-cu/conv2d_epilogue.cuh`).

use super::super::buffer::CudaBuffer;

/// The gates of one layer: consecutive columns of the gates of all layers.
#[derive(Debug, Clone, Copy)]
pub struct GateColumns<'a> {
    /// The gates of all layers, (N, stride).
    pub gates: &'a CudaBuffer<f32>,
    /// The number of values in a row.
    pub stride: usize,
    /// The column of the gate of filter or channel 0.
    pub first: usize,
}

/// The epilogue of a forward pass, `relu(gate·(sum·scale + bias) + residual)`. A gate of 0 gives
/// exactly 0 before the residual is added. By default there is nothing.
#[derive(Debug)]
pub struct Forward<'a, T> {
    /// A factor for each filter, (F); 1 if absent.
    pub scale: Option<&'a CudaBuffer<f32>>,
    /// A term for each filter, (F); 0 if absent.
    pub bias: Option<&'a CudaBuffer<f32>>,
    /// The gates of the filters; 1 if absent.
    pub gates: Option<GateColumns<'a>>,
    /// An activation like the output that is added; 0 if absent.
    pub residual: Option<&'a CudaBuffer<T>>,
    /// Whether a ReLU comes last. NaN passes through it.
    pub relu: bool,
}

impl<T> Default for Forward<'_, T> {
    fn default() -> Self {
        Forward { scale: None, bias: None, gates: None, residual: None, relu: false }
    }
}

/// The epilogue of the gradient of the input, which goes on to what the input was made of. By
/// default it stores the gradient of the input.
///
/// `t = sum + residual` is the gradient of the input. Without `inner` that is stored. With `inner`
/// the input was `a = gate·inner`, and the gradient of `inner` is stored, `gate·t`; if `relu`, then
/// `inner` was `relu(h)`, and the gradient of `h` is stored, which is `gate·t` where `inner > 0`
/// and 0 elsewhere. A gate of 0 gives exactly 0.
#[derive(Debug)]
pub struct Backward<'a, T> {
    /// The gradient that the input has from elsewhere, laid out like `grad_input`; 0 if absent.
    pub residual: Option<&'a CudaBuffer<T>>,
    /// The output of the inner convolution before its gates, laid out like `grad_input`.
    pub inner: Option<&'a CudaBuffer<T>>,
    /// The gates of the input channels; 1 if absent. They need `inner`.
    pub gates: Option<GateColumns<'a>>,
    /// Whether `inner` is the output of a ReLU.
    pub relu: bool,
    /// The buffers for the gradient of the gates. It needs `inner`.
    pub gate_gradient: Option<GateGradient<'a>>,
}

impl<T> Default for Backward<'_, T> {
    fn default() -> Self {
        Backward { residual: None, inner: None, gates: None, relu: false, gate_gradient: None }
    }
}

/// The buffers for the gradient of the gates, `Σ_pixels t·inner` for each active channel. Inactive
/// ones get 0.
#[derive(Debug)]
pub struct GateGradient<'a> {
    /// Scratch for the sums of blocks of pixels, at least as long as
    /// [`gate_gradient_scratch_len`](super::gate_gradient_scratch_len) says.
    pub scratch: &'a mut CudaBuffer<f32>,
    /// The gradient of the gates of all layers, (N, stride), of which columns `first..first + C`
    /// are written.
    pub gradient: &'a mut CudaBuffer<f32>,
    /// The number of values in a row.
    pub stride: usize,
    /// The column of the gate of channel 0.
    pub first: usize,
}

/// Either epilogue, as the kernels take it.
#[derive(Debug)]
pub(super) struct Epilogue<'a, T> {
    pub(super) scale: Option<&'a CudaBuffer<f32>>,
    pub(super) bias: Option<&'a CudaBuffer<f32>>,
    pub(super) gates: Option<GateColumns<'a>>,
    pub(super) residual: Option<&'a CudaBuffer<T>>,
    pub(super) inner: Option<&'a CudaBuffer<T>>,
    pub(super) relu: bool,
    pub(super) gate_gradient: Option<GateGradient<'a>>,
}

impl<'a, T> From<Forward<'a, T>> for Epilogue<'a, T> {
    fn from(forward: Forward<'a, T>) -> Self {
        let Forward { scale, bias, gates, residual, relu } = forward;
        Epilogue { scale, bias, gates, residual, relu, inner: None, gate_gradient: None }
    }
}

impl<'a, T> From<Backward<'a, T>> for Epilogue<'a, T> {
    fn from(backward: Backward<'a, T>) -> Self {
        let Backward { residual, inner, gates, relu, gate_gradient } = backward;
        Epilogue { scale: None, bias: None, gates, residual, inner, relu, gate_gradient }
    }
}
