//! Grids and checks of all kernels that go through the planes of a dense activation (N, P, S)
//! (`kernels-cu/plane.cuh`).

use bytemuck::NoUninit;
use half::bf16;

use super::buffer::CudaBuffer;
use super::conv2d::ConvElement;
use super::error::Result;
use super::launch::{Kernel, grid_yz, int};
use super::layout::stride;
use crate::dims::{PlaneDims, checked_len};
use crate::error::{KernelError, check_len};

/// The threads of a block in plane.cuh, the channels of a thread and of a block, and the pixels of
/// a thread.
pub(super) const THREADS: u32 = 256;
const WIDTH: usize = 8;
const BLOCK_CHANNELS: usize = 256;
const BLOCK_STEPS: usize = 8;
/// The bytes of shared memory for one sum of each of a thread's channels.
pub(super) const SUM_BYTES: u32 = THREADS * WIDTH as u32 * 4;

/// The type of the numbers of an activation: bf16 or f32.
pub trait Activation: ConvElement {
    #[doc(hidden)]
    const F32: bool;
    #[doc(hidden)]
    fn of_weight<'a>(
        master: &'a CudaBuffer<f32>,
        copy: Option<&'a CudaBuffer<bf16>>,
    ) -> &'a CudaBuffer<Self>;
}

impl Activation for bf16 {
    const F32: bool = false;

    fn of_weight<'a>(
        _: &'a CudaBuffer<f32>,
        copy: Option<&'a CudaBuffer<bf16>>,
    ) -> &'a CudaBuffer<bf16> {
        copy.expect("a weight for bf16 has its copy")
    }
}

impl Activation for f32 {
    const F32: bool = true;

    fn of_weight<'a>(
        master: &'a CudaBuffer<f32>,
        _: Option<&'a CudaBuffer<bf16>>,
    ) -> &'a CudaBuffer<f32> {
        master
    }
}

/// A kernel for each type of [`Activation`].
pub(super) struct ForBoth {
    pub(super) bf16: Kernel,
    pub(super) f32: Kernel,
}

impl ForBoth {
    pub(super) fn of<T: Activation>(&self) -> &Kernel {
        if T::F32 { &self.f32 } else { &self.bf16 }
    }
}

/// The two kernels `name` and `name_f32` of a source.
macro_rules! for_both {
    ($source:expr, $name:literal) => {
        $crate::cuda::planes::ForBoth {
            bf16: $crate::cuda::launch::Kernel { source: $source, name: $name },
            f32: $crate::cuda::launch::Kernel { source: $source, name: concat!($name, "_f32") },
        }
    };
}
pub(super) use for_both;

/// Mirrors `Planes` of plane.cuh.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
pub(super) struct Planes {
    batch: i32,
    pub(super) channels: i32,
    pixels: i32,
    stride: i32,
}

impl Planes {
    pub(super) fn new(op: &'static str, dims: PlaneDims) -> Result<Planes, KernelError> {
        let stride = stride(dims.channels);
        checked_len(op, &[dims.batch, dims.plane, stride])?;
        Ok(Planes {
            batch: int(op, "batch", dims.batch)?,
            channels: int(op, "channels", dims.channels)?,
            pixels: int(op, "pixels", dims.plane)?,
            stride: int(op, "channels", stride)?,
        })
    }

    /// Returns the grid for sums over whole planes; its y and z are those of every pass.
    pub(super) fn grid(&self, op: &'static str) -> Result<[u32; 3], KernelError> {
        let tiles = (self.stride as usize).div_ceil(BLOCK_CHANNELS);
        Ok([
            1,
            grid_yz(op, "groups of 256 channels", tiles)?,
            grid_yz(op, "samples", self.batch as usize)?,
        ])
    }

    /// Returns the grid for passes that sum nothing.
    pub(super) fn grid_of_pixels(&self, op: &'static str) -> Result<[u32; 3], KernelError> {
        // The last group of channels may be narrower than the first, which only gives it blocks
        // without work.
        let groups = (self.stride as usize).min(BLOCK_CHANNELS) / WIDTH;
        let rows = THREADS as usize / groups.max(1);
        let [_, y, z] = self.grid(op)?;
        Ok([(self.pixels as usize).div_ceil(rows * BLOCK_STEPS) as u32, y, z])
    }

    /// `Err` unless a buffer has `got` = N·P·S values.
    pub(super) fn check(
        &self,
        op: &'static str,
        buffer: &'static str,
        got: usize,
    ) -> Result<(), KernelError> {
        let [n, p, s] = [self.batch, self.pixels, self.stride].map(|size| size as usize);
        check_len(op, buffer, n * p * s, got)
    }
}
