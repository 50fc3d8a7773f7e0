//! One launch over many arrays: which part of which array a block has.

use std::fmt;
use std::sync::Arc;

use bytemuck::NoUninit;

use super::buffer::{CudaBuffer, Memory};
use super::device::CudaDevice;
use super::error::Result;
use super::launch::int;

/// Elements of a part; of table.cuh.
const SPAN: usize = 2048;
/// Of a block; of table.cuh.
pub(super) const THREADS: u32 = 256;

/// Arrays whose addresses are on the device, in rows, with the parts of all of them. It keeps the
/// memory that the rows name.
pub(super) struct Table {
    /// Of as many words as a row of the kernel's table.
    pub(super) rows: CudaBuffer<u64>,
    /// (parts, 2): row and first element.
    pub(super) parts: CudaBuffer<i32>,
    /// Of the rows.
    pub(super) memories: Vec<Arc<Memory>>,
}

impl Table {
    /// Number of parts, and of blocks.
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

/// Rows, one by one.
#[derive(Default)]
pub(super) struct Rows {
    count: usize,
    words: Vec<u64>,
    parts: Vec<i32>,
    memories: Vec<Arc<Memory>>,
}

impl Rows {
    /// A row of arrays of `len` elements, of whole words, and the memory whose addresses it holds.
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

    /// The table on `device`.
    ///
    /// # Errors
    /// As [`CudaBuffer::from_slice`].
    pub(super) fn upload(self, device: &CudaDevice) -> Result<Table> {
        Ok(Table {
            rows: CudaBuffer::from_slice(device, &self.words)?,
            parts: CudaBuffer::from_slice(device, &self.parts)?,
            memories: self.memories,
        })
    }
}
