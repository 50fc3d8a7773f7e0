//! The windows of pools over dense activations (N, P, stride(C)) (`kernels-cu/pool2d.cuh`).

use bytemuck::NoUninit;

use super::launch::int;
use super::planes::Planes;
use crate::dims::{PlaneDims, PoolDims};
use crate::error::KernelError;

/// Mirrors `Windows` of pool2d.cuh.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
pub(super) struct Windows {
    /// (height, width) of input, output, kernel, stride and padding.
    sizes: [[i32; 2]; 5],
}

/// Returns the windows, and the planes of x and y.
pub(super) fn windows_of(
    op: &'static str,
    dims: &PoolDims,
) -> Result<(Windows, [Planes; 2]), KernelError> {
    let mut windows = Windows { sizes: [[0; 2]; 5] };
    let sizes = [dims.in_size(), dims.out_size(), dims.kernel(), dims.stride(), dims.padding()];
    let names = ["input", "output", "kernel", "stride", "padding"];
    for ((to, from), name) in windows.sizes.iter_mut().zip(sizes).zip(names) {
        *to = [int(op, name, from[0])?, int(op, name, from[1])?];
    }
    let (batch, channels) = (dims.batch(), dims.channels());
    let planes = |[h, w]: [usize; 2]| Planes::new(op, PlaneDims { batch, channels, plane: h * w });
    Ok((windows, [planes(dims.in_size())?, planes(dims.out_size())?]))
}
