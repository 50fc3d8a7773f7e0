//! Tables for one launch over many arrays: they say which part of which array a block has.

use std::fmt;
use std::sync::Arc;

use bytemuck::NoUninit;

use super::buffer::{CudaBuffer, Memory};
use super::device::CudaDevice;
use super::error::Result;
use super::launch::int;

/// The elements of a part in table.cuh.
const SPAN: usize = 2048;
/// The threads of a block in table.cuh.
pub(super) const THREADS: u32 = 256;

/// Arrays whose addresses are in rows on the device, with the parts of all of them. The memory that
/// the rows name is kept.
pub(super) struct Table {
    /// The rows, each of as many words as a row of the kernel's table.
    pub(super) rows: CudaBuffer<u64>,
    /// The row and first element of each part, (parts, 2).
    pub(super) parts: CudaBuffer<i32>,
    /// The memory whose addresses the rows hold.
    pub(super) memories: Vec<Arc<Memory>>,
}

impl Table {
    /// Returns the number of parts, which is that of blocks.
    pub(super) fn blocks(&self) -> u32 {
        // There are fewer than 2^31: the kernels count rows and elements in an int.
        (self.parts.len() / 2) as u32
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} parts)", self.blocks())
    }
}

/// The rows of a [`Table`] that is being made.
#[derive(Default)]
pub(super) struct Rows {
    count: usize,
    words: Vec<u64>,
    parts: Vec<i32>,
    memories: Vec<Arc<Memory>>,
}

impl Rows {
    /// Adds a row, `cells`, of arrays of `len` elements; `memories` are those whose addresses it
    /// holds.
    ///
    /// # Errors
    /// [`KernelError`](crate::KernelError) if a kernel cannot count them.
    pub(super) fn push<'a, R: NoUninit>(
        &mut self,
        op: &'static str,
        len: usize,
        cells: R,
        memories: impl IntoIterator<Item = &'a Arc<Memory>>,
    ) -> Result<()> {
        let row = int(op, "rows", self.count)?;
        int(op, "length", len)?;
        for first in (0..len).step_by(SPAN) {
            self.parts.extend([row, first as i32]);
        }
        int(op, "parts", self.parts.len())?;
        self.count += 1;
        self.words.extend_from_slice(bytemuck::cast_slice(&[cells]));
        self.memories.extend(memories.into_iter().cloned());
        Ok(())
    }

    /// Copies the table to `device`.
    ///
    /// # Errors
    /// Fails as [`CudaBuffer::from_slice`] does.
    pub(super) fn upload(self, device: &CudaDevice) -> Result<Table> {
        Ok(Table {
            rows: CudaBuffer::from_slice(device, &self.words)?,
            parts: CudaBuffer::from_slice(device, &self.parts)?,
            memories: self.memories,
        })
    }
}
