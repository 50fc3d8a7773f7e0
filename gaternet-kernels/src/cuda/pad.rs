//! Padding of the planes of activations (N, P, stride(C)) with rows and columns of zeros, and
//! cropping.

use bytemuck::NoUninit;

use super::buffer::CudaBuffer;
use super::error::Result;
use super::launch::{Launch, int};
use super::layout::stride;
use super::planes::{Activation, ForBoth, Planes, THREADS, for_both};
use super::source::{Source, source};
use crate::dims::PadDims;
use crate::dims::PlaneDims;
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("pad.cu", ["plane.cuh", "dev.cuh"]);
static PAD: ForBoth = for_both!(&SOURCE, "pad_forward");

/// Mirrors `Borders` of pad.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
struct Borders {
    in_h: i32,
    in_w: i32,
    out_w: i32,
    top: i32,
    left: i32,
}

/// Writes y (N, OH·OW, S) of x (N, H·W, S), S = stride(C), with the N·C planes of `dims` and N =
/// `batch`. With [`PadDims::inverse`] the same call makes the gradient of x of that of y.
///
/// # Errors
/// [`KernelError`] if a buffer does not fit, or the planes are not those of `batch` samples; the
/// driver's errors.
pub fn forward<T: Activation>(
    batch: usize,
    dims: &PadDims,
    x: &CudaBuffer<T>,
    y: &mut CudaBuffer<T>,
) -> Result<()> {
    const OP: &str = "pad";
    let channels = match dims.planes().checked_rem(batch) {
        Some(0) => dims.planes() / batch,
        None if dims.planes() == 0 => 0,
        _ => {
            let rule = "every sample must have as many planes";
            let got = format!("{} planes of {batch} samples", dims.planes());
            return Err(KernelError::Dims { op: OP, rule, got }.into());
        }
    };
    let ([in_h, in_w], [out_h, out_w]) = (dims.in_size(), dims.out_size());
    // Places are counted in ints.
    int(OP, "pixels", in_h * in_w)?;
    check_len(OP, "x", batch * in_h * in_w * stride(channels), x.len())?;
    let planes = Planes::new(OP, PlaneDims { batch, channels, plane: out_h * out_w })?;
    planes.check(OP, "y", y.len())?;
    let offset = |what, offset: isize| {
        let size = int(OP, what, offset.unsigned_abs())?;
        Ok::<_, KernelError>(if offset < 0 { -size } else { size })
    };
    let [top, left] = dims.offset();
    let borders = Borders {
        in_h: int(OP, "height", in_h)?,
        in_w: int(OP, "width", in_w)?,
        out_w: int(OP, "width", out_w)?,
        top: offset("top", top)?,
        left: offset("left", left)?,
    };
    let device = &y.device().clone();
    let launch =
        Launch::new(device, PAD.of::<T>())?.read(x).write(y).value(&planes).value(&borders);
    // SAFETY: the parameters of pad_forward; lengths and grid fit the dims, and the kernel stays
    // inside the planes of x.
    unsafe { launch.run(planes.grid_of_pixels(OP)?, THREADS, 0) }
}
