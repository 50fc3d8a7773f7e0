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

/// What random numbers, learning rate and batch depend on.
#[derive(Debug)]
pub struct Clock {
    /// Mirrors `Clock` of random.cuh: seed, step.
    pub(super) state: CudaBuffer<u64>,
}

/// A value for each step of a training: that of the clock's step counts, beyond them the last.
#[derive(Debug, Clone, Copy)]
pub struct PerStep<'a> {
    /// Its step.
    pub clock: &'a Clock,
    /// One value a step, or a row of them.
    pub values: &'a CudaBuffer<f32>,
}

impl PerStep<'_> {
    /// The steps, each with a row of `width` values.
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
    /// A clock at `step` (0 is the first).
    ///
    /// # Errors
    /// As [`CudaBuffer::from_slice`].
    pub fn new(device: &CudaDevice, seed: u64, step: u64) -> Result<Clock> {
        Ok(Clock { state: CudaBuffer::from_slice(device, &[seed, step])? })
    }

    /// Goes to another step.
    ///
    /// # Errors
    /// As [`CudaBuffer::copy_from_slice`].
    pub fn set(&mut self, seed: u64, step: u64) -> Result<()> {
        self.state.copy_from_slice(&[seed, step])
    }

    /// (seed, step); waits for the device.
    ///
    /// # Errors
    /// As [`CudaBuffer::to_vec`].
    pub fn get(&self) -> Result<(u64, u64)> {
        let mut state = [0; 2];
        self.state.copy_to_slice(&mut state)?;
        Ok((state[0], state[1]))
    }

    /// Goes to the next step, on the device; may be part of a graph.
    ///
    /// # Errors
    /// The driver's.
    pub fn advance(&mut self) -> Result<()> {
        let device = &self.state.device().clone();
        let launch = Launch::new(device, &ADVANCE)?.write(&mut self.state);
        // SAFETY: the parameter of clock_advance, which is two words long.
        unsafe { launch.run([1, 1, 1], 32, 0) }
    }
}

/// The random numbers of one layer: functions of the clock, the stream and the place.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    /// Seed and step.
    pub clock: &'a Clock,
    /// Tells apart the layers of a network; below 2^30.
    pub number: u32,
}

impl Stream<'_> {
    /// The number; `Err` if it is too large.
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
