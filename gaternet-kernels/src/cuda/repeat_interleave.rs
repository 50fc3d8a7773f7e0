//! Gates of groups of filters: one gate for several.

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

/// Which filters share a gate: consecutive ones.
#[derive(Debug)]
pub struct GateGroups {
    /// (G + 1): the first filter of each group, and C.
    firsts: CudaBuffer<i32>,
    groups: usize,
    filters: usize,
}

impl GateGroups {
    /// Groups of these numbers of filters, in order.
    ///
    /// # Errors
    /// [`KernelError::Dims`] for more filters than an `int` counts; the driver's errors.
    pub fn new(device: &CudaDevice, sizes: &[usize]) -> Result<GateGroups> {
        let (mut firsts, mut filters) = (vec![0], 0);
        for size in sizes {
            filters += size;
            firsts.push(int("gate_groups", "filters", filters)?);
        }
        let firsts = CudaBuffer::from_slice(device, &firsts)?;
        Ok(GateGroups { firsts, groups: sizes.len(), filters })
    }

    /// (values, groups, filters) of arrays (N, G) and (N, C).
    fn dims(
        &self,
        op: &'static str,
        of_groups: &CudaBuffer<f32>,
        of_filters: &CudaBuffer<f32>,
    ) -> Result<[i32; 3], KernelError> {
        let batch = of_groups.len().checked_div(self.groups).unwrap_or(0);
        check_len(op, "groups", batch * self.groups, of_groups.len())?;
        check_len(op, "filters", batch * self.filters, of_filters.len())?;
        int(op, "gates", of_filters.len())?;
        let values = int(op, "groups", of_groups.len())?;
        Ok([values, self.groups as i32, self.filters as i32])
    }
}

/// The gates (N, C) of all filters, each that of its group of `of_groups` (N, G).
///
/// # Errors
/// [`KernelError`] if the lengths are not those of the groups; the driver's errors.
pub fn forward(
    groups: &GateGroups,
    of_groups: &CudaBuffer<f32>,
    gates: &mut CudaBuffer<f32>,
) -> Result<()> {
    let [values, count, filters] = groups.dims("repeat_interleave_forward", of_groups, gates)?;
    let device = &gates.device().clone();
    let launch = Launch::new(device, &FORWARD)?
        .read(of_groups)
        .read(&groups.firsts)
        .write(gates)
        .value(&values)
        .value(&count)
        .value(&filters);
    // SAFETY: the parameters of repeat_interleave_forward; the lengths are checked, and the firsts
    // ascend to C.
    unsafe { launch.run([values.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}

/// Gradient (N, G) of the groups' gates: the sum of those of their filters, `grad_gates` (N, C).
///
/// # Errors
/// As [`forward`].
pub fn backward(
    groups: &GateGroups,
    grad_gates: &CudaBuffer<f32>,
    grad_groups: &mut CudaBuffer<f32>,
) -> Result<()> {
    let [values, count, filters] =
        groups.dims("repeat_interleave_backward", grad_groups, grad_gates)?;
    let device = &grad_groups.device().clone();
    let launch = Launch::new(device, &BACKWARD)?
        .read(grad_gates)
        .read(&groups.firsts)
        .write(grad_groups)
        .value(&values)
        .value(&count)
        .value(&filters);
    // SAFETY: the parameters of repeat_interleave_backward; the lengths are checked, and the firsts
    // ascend to C.
    unsafe { launch.run([values.cast_unsigned().div_ceil(THREADS), 1, 1], THREADS, 0) }
}
