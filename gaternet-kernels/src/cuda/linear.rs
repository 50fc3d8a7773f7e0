//! Fully connected layers in f32: `y = relu(x·weightᵀ + bias)`, x (N, I), weight (O, I), bias (O),
//! y (N, O).
//!
//! Where a ReLU followed, the gradients take y as `open`: `grad_y` counts where y is above 0.

use bytemuck::NoUninit;

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Kernel, Launch, grid_yz, int};
use super::source::{Source, source};
use crate::dims::{LinearDims, checked_len};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("linear.cu", ["dev.cuh"]);
static PRODUCT: Kernel = Kernel { source: &SOURCE, name: "linear_product" };
static BIAS_GRADIENT: Kernel = Kernel { source: &SOURCE, name: "linear_bias_gradient" };

/// The side of a tile of linear.cu, the threads of its blocks and the bytes of their shared memory.
const TILE: usize = 64;
const THREADS: u32 = 256;
const SHARED_BYTES: u32 = 2 * 16 * 68 * 4;

/// Mirrors `Product` of linear.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Product {
    /// The sizes m, n and k of a (m, k), b (k, n) and c (m, n).
    sizes: [i32; 3],
    /// The strides of m and k in a, and of k and n in b.
    strides: [i32; 4],
    relu: i32,
}

/// Computes y (N, O) of x (N, I), weight (O, I) and bias (O).
///
/// # Errors
/// [`KernelError`] if a buffer does not fit `dims`; the driver's errors.
pub fn forward(
    dims: LinearDims,
    x: &CudaBuffer<f32>,
    weight: &CudaBuffer<f32>,
    bias: Option<&CudaBuffer<f32>>,
    relu: bool,
    y: &mut CudaBuffer<f32>,
) -> Result<()> {
    let op = "linear_forward";
    check(op, dims, [("x", Some(x)), ("weight", Some(weight)), ("y", Some(&*y))])?;
    if let Some(bias) = bias {
        check_len(op, "bias", dims.out_features, bias.len())?;
    }
    let LinearDims { batch, in_features, out_features } = dims;
    let sizes = [batch, out_features, in_features];
    product(
        op,
        sizes,
        [in_features, 1, 1, in_features],
        relu,
        [Some(x), None, Some(weight), bias],
        y,
    )
}

/// Computes the gradient of x, (N, I), of `grad_y` (N, O) and weight (O, I).
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward_input(
    dims: LinearDims,
    grad_y: &CudaBuffer<f32>,
    open: Option<&CudaBuffer<f32>>,
    weight: &CudaBuffer<f32>,
    grad_x: &mut CudaBuffer<f32>,
) -> Result<()> {
    let op = "linear_backward_input";
    check(op, dims, [("x", Some(&*grad_x)), ("weight", Some(weight)), ("y", Some(grad_y))])?;
    check(op, dims, [("x", None), ("weight", None), ("y", open)])?;
    let LinearDims { batch, in_features, out_features } = dims;
    let sizes = [batch, in_features, out_features];
    let strides = [out_features, 1, in_features, 1];
    product(op, sizes, strides, false, [Some(grad_y), open, Some(weight), None], grad_x)
}

/// Computes the gradient of the weight, (O, I), and that of the bias, (O), if asked for, of x (N,
/// I) and `grad_y` (N, O).
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward_weight(
    dims: LinearDims,
    x: &CudaBuffer<f32>,
    grad_y: &CudaBuffer<f32>,
    open: Option<&CudaBuffer<f32>>,
    grad_weight: &mut CudaBuffer<f32>,
    grad_bias: Option<&mut CudaBuffer<f32>>,
) -> Result<()> {
    let op = "linear_backward_weight";
    check(op, dims, [("x", Some(x)), ("weight", Some(&*grad_weight)), ("y", Some(grad_y))])?;
    check(op, dims, [("x", None), ("weight", None), ("y", open)])?;
    let LinearDims { batch, in_features, out_features } = dims;
    if let Some(grad_bias) = grad_bias {
        check_len(op, "grad_bias", out_features, grad_bias.len())?;
        let (n, o) = (int(op, "batch", batch)?, int(op, "features", out_features)?);
        let device = &grad_bias.device().clone();
        let launch = Launch::new(device, &BIAS_GRADIENT)?
            .read(grad_y)
            .read_if(open)
            .write(grad_bias)
            .value(&n)
            .value(&o);
        // SAFETY: the parameters of linear_bias_gradient; the lengths are checked.
        unsafe { launch.run([out_features.div_ceil(32) as u32, 1, 1], THREADS, THREADS * 4)? };
    }
    let sizes = [out_features, in_features, batch];
    let strides = [1, out_features, in_features, 1];
    product(op, sizes, strides, false, [Some(grad_y), open, Some(x), None], grad_weight)
}

/// Computes c = a·b + bias; `inputs` are a, open, b and bias.
fn product(
    op: &'static str,
    sizes: [usize; 3],
    strides: [usize; 4],
    relu: bool,
    inputs: [Option<&CudaBuffer<f32>>; 4],
    c: &mut CudaBuffer<f32>,
) -> Result<()> {
    let grid = [
        sizes[1].div_ceil(TILE) as u32,
        grid_yz(op, "groups of 64 rows", sizes[0].div_ceil(TILE))?,
        1,
    ];
    let mut product = Product { sizes: [0; 3], strides: [0; 4], relu: i32::from(relu) };
    for (to, from) in product.sizes.iter_mut().zip(sizes) {
        *to = int(op, "size", from)?;
    }
    for (to, from) in product.strides.iter_mut().zip(strides) {
        *to = int(op, "stride", from)?;
    }
    let device = &c.device().clone();
    let launch = Launch::new(device, &PRODUCT)?;
    let launch = inputs.into_iter().fold(launch, Launch::read_if).write(c).value(&product);
    // SAFETY: the parameters of linear_product; a, b and c have the lengths that sizes and strides
    // say, bias the columns of c, and `open` is as a.
    unsafe { launch.run(grid, THREADS, SHARED_BYTES) }
}

/// `Err` unless the buffers that are like x, the weight and y, as far as they are there, fit
/// `dims`.
fn check(
    op: &'static str,
    dims: LinearDims,
    buffers: [(&'static str, Option<&CudaBuffer<f32>>); 3],
) -> Result<(), KernelError> {
    let LinearDims { batch, in_features, out_features } = dims;
    let sizes = [[batch, in_features], [out_features, in_features], [batch, out_features]];
    for ((name, buffer), sizes) in buffers.into_iter().zip(sizes) {
        let len = checked_len(op, &sizes)?;
        check_len(op, name, len, buffer.map_or(len, CudaBuffer::len))?;
    }
    Ok(())
}
