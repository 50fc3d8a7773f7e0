//! Shared gates: one gate for several consecutive filters.

use super::buffer::CudaBuffer;
use super::device::CudaDevice;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::{KernelError, check_len};

pub(super) static SOURCE: Source = source!("repeat_interleave.cu", ["dev.cuh"]);
static FORWARD: Kernel = Kernel { source: &SOURCE, name: "repeat_interleave_forward" };
static BACKWARD: Kernel = Kernel { source: &SOURCE, name: "repeat_interleave_backward" };
const THREADS: u32 = 256;

/// The shared gates of a network, G of them for C filters.
#[derive(Debug)]
pub struct SharedGates {
    /// (G + 1): the first filter of each shared gate, and C.
    firsts: CudaBuffer<i32>,
    count: usize,
    filters: usize,
}

impl SharedGates {
    /// Makes shared gates for these numbers of consecutive filters, in order.
    ///
    /// # Errors
    /// [`KernelError::Dims`] for more filters than an `int` counts; the driver's errors.
    pub fn new(device: &CudaDevice, sizes: &[usize]) -> Result<SharedGates> {
        let (mut firsts, mut filters) = (vec![0], 0);
        for size in sizes {
            filters += size;
            firsts.push(int("shared_gates", "filters", filters)?);
        }
        let firsts = CudaBuffer::from_slice(device, &firsts)?;
        Ok(SharedGates { firsts, count: sizes.len(), filters })
    }

    /// Returns (N·G, G, C) for arrays (N, G) and (N, C).
    fn dims(
        &self,
        op: &'static str,
        shared_gates: &CudaBuffer<f32>,
        of_filters: &CudaBuffer<f32>,
    ) -> Result<[i32; 3], KernelError> {
        let batch = shared_gates.len().checked_div(self.count).unwrap_or(0);
        check_len(op, "shared gates", batch * self.count, shared_gates.len())?;
        check_len(op, "filters", batch * self.filters, of_filters.len())?;
        int(op, "gates", of_filters.len())?;
        let values = int(op, "shared gates", shared_gates.len())?;
        Ok([values, self.count as i32, self.filters as i32])
    }
}

/// Writes the gates (N, C) of all filters, which repeat the shared gates (N, G).
///
/// # Errors
/// [`KernelError`] if the lengths do not fit the shared gates; the driver's errors.
pub fn forward(
    shared: &SharedGates,
    shared_gates: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    let [values, count, filters] = shared.dims("repeat_interleave_forward", shared_gates, gates)?;
    let device = &gates.device().clone();
    let launch = Launch::new(device, &FORWARD)?
        .read(shared_gates)
        .read(&shared.firsts)
        .write(gates)
        .value(&values)
        .value(&count)
        .value(&filters);
    // SAFETY: the parameters of repeat_interleave_forward; the lengths are checked, and the firsts
    // ascend to C.
    unsafe { launch.run([values.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}

/// Writes the gradient of the shared gates, (N, G): the sum of the gradients of their filters,
/// `grad_gates` (N, C).
///
/// # Errors
/// Fails as [`forward`] does.
pub fn backward(
    shared: &SharedGates,
    grad_gates: &CudaBuffer<f32>,
    grad_shared_gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    let [values, count, filters] =
        shared.dims("repeat_interleave_backward", grad_shared_gates, grad_gates)?;
    let device = &grad_shared_gates.device().clone();
    let launch = Launch::new(device, &BACKWARD)?
        .read(grad_gates)
        .read(&shared.firsts)
        .write(grad_shared_gates)
        .value(&values)
        .value(&count)
        .value(&filters);
    // SAFETY: the parameters of repeat_interleave_backward; the lengths are checked, and the firsts
    // ascend to C.
    unsafe { launch.run([values.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}
