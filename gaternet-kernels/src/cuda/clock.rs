//! The seed and the number of the step, in device memory: a graph that reads them does another step
//! at every launch.

use super::buffer::CudaBuffer;
use super::device::CudaDevice;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::error::KernelError;

pub(super) static SOURCE: Source = source!("clock.cu", ["random.cuh", "dev.cuh"]);
static ADVANCE: Kernel = Kernel { source: &SOURCE, name: "clock_advance" };

/// The seed and the step of a training in device memory, on which random numbers, learning rates
/// and batches depend.
#[derive(Debug)]
pub struct Clock {
    /// Mirrors `Clock` of random.cuh: seed, step.
    pub(super) state: CudaBuffer<u64>,
}

/// A value, or a row of values, for each step of a training. A kernel reads those of the clock's
/// step; beyond the last step, the last.
#[derive(Debug, Clone, Copy)]
pub struct PerStep<'a> {
    /// The clock whose step counts.
    pub clock: &'a Clock,
    /// The values of all steps, (steps) or (steps, values of a step).
    pub values: &'a CudaBuffer<f32>,
}

impl PerStep<'_> {
    /// Returns the number of steps, each of which has a row of `width` values.
    pub(super) fn steps(&self, op: &'static str, width: usize) -> Result<i32, KernelError> {
        let len = self.values.len();
        if len == 0 || !len.is_multiple_of(width) {
            let rule = "there must be a step, and as many values for each";
            return Err(KernelError::Dims {
                op,
                rule,
                got: format!("{len} values in rows of {width}"),
            });
        }
        int(op, "steps", len / width)
    }
}

impl Clock {
    /// Makes a clock at `step`, of which 0 is the first.
    ///
    /// # Errors
    /// Fails as [`CudaBuffer::from_slice`] does.
    pub fn new(device: &CudaDevice, seed: u64, step: u64) -> Result<Clock> {
        Ok(Clock { state: CudaBuffer::from_slice(device, &[seed, step])? })
    }

    /// Sets another seed and step from the host.
    ///
    /// # Errors
    /// Fails as [`CudaBuffer::copy_from_slice`] does.
    pub fn set(&mut self, seed: u64, step: u64) -> Result<()> {
        self.state.copy_from_slice(&[seed, step])
    }

    /// Returns (seed, step), once the device has done all it was told before.
    ///
    /// # Errors
    /// Fails as [`CudaBuffer::to_vec`] does.
    pub fn get(&self) -> Result<(u64, u64)> {
        let mut state = [0; 2];
        self.state.copy_to_slice(&mut state)?;
        Ok((state[0], state[1]))
    }

    /// Goes to the next step on the device. This may be part of a graph.
    ///
    /// # Errors
    /// [`CudaError::Driver`](super::CudaError::Driver) if the driver fails.
    pub fn advance(&mut self) -> Result<()> {
        let device = &self.state.device().clone();
        let launch = Launch::new(device, &ADVANCE)?.write(&mut self.state);
        // SAFETY: the parameter of clock_advance, which is two words long.
        unsafe { launch.run([1, 1, 1], 32, 0) }
    }
}

/// The random numbers of one layer, which are a function of the clock's seed and step, the number
/// of this stream, and the place in the array.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// The clock whose seed and step count.
    pub clock: &'a Clock,
    /// A number below 2^30 that tells apart the layers of a network.
    pub number: u32,
}

impl Stream<'_> {
    /// Returns the number, or `Err` if it is too large.
    pub(super) fn number(&self, op: &'static str) -> Result<u32, KernelError> {
        match self.number {
            number if number < 1 << 30 => Ok(number),
            number => {
                let rule = "the stream must be below 2^30";
                Err(KernelError::Dims { op, rule, got: number.to_string() })
            }
        }
    }
}
