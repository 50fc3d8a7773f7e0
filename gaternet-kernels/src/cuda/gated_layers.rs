//! The columns of gates (N, C) that belong to each gated layer.

use super::buffer::CudaBuffer;
use super::device::CudaDevice;
use super::error::Result;
use super::launch::int;
use crate::error::{KernelError, check_len};

/// The gated layers of a network: each has consecutive columns of the gates (N, C), in order.
#[derive(Debug)]
pub struct GatedLayers {
    /// (L, 3): first column, number of columns, and how many gates
    /// [`gate_largest`](super::gate_largest) opens.
    pub(super) table: CudaBuffer<i32>,
    layers: usize,
    columns: usize,
}

impl GatedLayers {
    /// Makes the table of layers with these numbers of columns. Of the gates of a layer of `width`
    /// columns, [`gate_largest`](super::gate_largest) opens `open(width)`.
    ///
    /// # Errors
    /// [`KernelError::Dims`] if a layer has no column, or more are to be open than it has; the
    /// driver's errors.
    pub fn new(
        device: &CudaDevice,
        widths: &[usize],
        open: impl Fn(usize) -> usize,
    ) -> Result<GatedLayers> {
        const OP: &str = "gated_layers";
        let (mut table, mut columns) = (Vec::with_capacity(3 * widths.len()), 0);
        for &width in widths {
            let open = open(width);
            if width == 0 || open > width {
                let rule = "a layer must have a column, and no more can be open than it has";
                let got = format!("{open} of {width} columns");
                return Err(KernelError::Dims { op: OP, rule, got }.into());
            }
            table.extend([int(OP, "column", columns)?, int(OP, "width", width)?, open as i32]);
            columns += width;
        }
        int(OP, "columns", columns)?;
        let table = CudaBuffer::from_slice(device, &table)?;
        Ok(GatedLayers { table, layers: widths.len(), columns })
    }

    /// Returns the number of layers, L.
    #[must_use]
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Returns the number of columns of all layers, C.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Returns the number of samples, N, of `gates` (N, C).
    pub(super) fn batch(
        &self,
        op: &'static str,
        gates: &CudaBuffer<f32>,
    ) -> Result<usize, KernelError> {
        let batch = gates.len().checked_div(self.columns).unwrap_or(0);
        check_len(op, "gates", batch * self.columns, gates.len())?;
        Ok(batch)
    }
}
