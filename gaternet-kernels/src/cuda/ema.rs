//! Exponential moving averages of many arrays.

use super::buffer::CudaBuffer;
use super::clock::PerStep;
use super::device::CudaDevice;
use super::error::Result;
use super::launch::{Kernel, Launch, address};
use super::source::{Source, source};
use super::table::{Rows, THREADS, Table};
use crate::error::check_len;

pub(super) static SOURCE: Source = source!("ema.cu", ["random.cuh", "table.cuh", "dev.cuh"]);
static UPDATE: Kernel = Kernel { source: &SOURCE, name: "ema_update" };
const OP: &str = "ema_update";

/// Arrays and their moving averages, which one launch brings up to date. The memory of all of them
/// is kept.
#[derive(Debug)]
pub struct Averages {
    table: Table,
}

impl Averages {
    /// Makes the table of pairs of an array and its average.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) if the lengths of a pair differ; the driver's errors.
    pub fn new<'a>(
        device: &CudaDevice,
        pairs: impl IntoIterator<Item = (&'a CudaBuffer<f32>, &'a mut CudaBuffer<f32>)>,
    ) -> Result<Averages> {
        let mut rows = Rows::default();
        for (value, average) in pairs {
            check_len(OP, "average", value.len(), average.len())?;
            // Mirrors `Row` of ema.cu.
            let row = [address(Some(value)), address(Some(average)), value.len() as u64];
            rows.push(OP, value.len(), row, [value.memory(), average.memory()])?;
        }
        Ok(Averages { table: rows.upload(device)? })
    }

    /// Computes `average += fraction·(value - average)` for all pairs, as
    /// [`ema::update`](crate::cpu::ema::update) does, with the fraction of the clock's step. This
    /// may be part of a graph.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) if there is no fraction; the driver's errors.
    pub fn update(&mut self, fraction: PerStep<'_>) -> Result<()> {
        let steps = fraction.steps(OP, 1)?;
        let Table { rows, parts, memories } = &self.table;
        let device = &parts.device().clone();
        let launch = Launch::new(device, &UPDATE)?
            .read(&fraction.clock.state)
            .read(parts)
            .read(rows)
            .read(fraction.values)
            .value(&steps)
            .uses_all(memories);
        // SAFETY: the parameters of ema_update; the parts are inside the arrays of the rows, and
        // there are as many fractions.
        unsafe { launch.run([self.table.blocks(), 1, 1], THREADS, 0) }
    }
}
