//! Dropout of activations (N, P, stride(C)), whose mask is a function of a [`Stream`] and the
//! place.

use super::buffer::CudaBuffer;
use super::clock::Stream;
use super::error::Result;
use super::launch::Launch;
use super::planes::{Activation, ForBoth, Planes, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::PlaneDims;
use crate::error::KernelError;

pub(super) static SOURCE: Source = source!("dropout.cu", ["plane.cuh", "random.cuh", "dev.cuh"]);
static MASK: ForBoth = for_both!(&SOURCE, "dropout_mask");

/// Writes y, each value of which is 0 with probability `p`, up to 2^-32, and otherwise
/// `x / (1 - p)`. At the same step the same call makes the gradient of x of that of y.
///
/// # Errors
/// [`KernelError`] if `p` is not in [0, 1), or a buffer does not fit `dims` or has more than 2^34
/// values; the driver's errors.
pub fn mask<T: Activation>(
    dims: PlaneDims,
    p: f32,
    stream: Stream<'_>,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "dropout";
    if !(0.0..1.0).contains(&p) {
        let rule = "p must be at least 0 and below 1";
        return Err(KernelError::Dims { op: OP, rule, got: p.to_string() }.into());
    }
    let planes = Planes::new(OP, dims)?;
    planes.check(OP, "x", x.len())?;
    planes.check(OP, "y", y.len())?;
    // Four values have one place of the stream.
    if u32::try_from(x.len() / 4).is_err() {
        let rule = "there must be at most 2^34 values";
        return Err(KernelError::Dims { op: OP, rule, got: x.len().to_string() }.into());
    }
    let number = stream.number(OP)?;
    // Below 2^32, as p is below 1.
    let threshold = (f64::from(p) * 2.0_f64.powi(32)) as u32;
    let scale = 1.0 / (1.0 - p);
    let device = &y.device().clone();
    let launch = Launch::new(device, MASK.of::<T>())?
        .read(x)
        .read(&stream.clock.state)
        .write(y)
        .value(&planes)
        .value(&number)
        .value(&threshold)
        .value(&scale);
    // SAFETY: the parameters of dropout_mask; lengths and grid fit the dims.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}
