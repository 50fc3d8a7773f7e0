//! Lists of active filters, made on the device so that the host never waits for the gates.

use super::buffer::CudaBuffer;
use super::conv2d::GateGradient;
use super::device::CudaDevice;
use super::error::Result;
use super::launch::{Kernel, Launch, int};
use super::source::{Source, source};
use crate::active_filters::ActiveFilters;
use crate::error::KernelError;

pub(super) static SOURCE: Source = source!("active_filters.cu", ["dev.cuh"]);
static LIST: Kernel = Kernel { source: &SOURCE, name: "active_filters_list" };
static GATE_GRADIENT: Kernel = Kernel { source: &SOURCE, name: "active_filters_gate_gradient" };
const OP: &str = "active_filters_list";

/// The active filters of each sample in device memory: (N) lists over C filters, ascending. It is
/// the twin of [`ActiveFilters`] on the host.
#[derive(Debug)]
pub struct CudaActiveFilters {
    batch: usize,
    filters: usize,
    /// (N, C): row n has the numbers of the active filters of sample n in its first `counts[n]`
    /// places.
    pub(super) indices: CudaBuffer<u16>,
    /// The number of active filters of each sample, (N).
    pub(super) counts: CudaBuffer<i32>,
}

impl CudaActiveFilters {
    /// Makes empty lists for N = `batch` samples of C = `filters` filters.
    ///
    /// # Errors
    /// [`KernelError::Dims`] for more than 65536 filters; [`CudaError`](super::CudaError) of an
    /// allocation.
    pub fn empty(device: &CudaDevice, batch: usize, filters: usize) -> Result<CudaActiveFilters> {
        if filters > 1 << 16 {
            let rule = "a list holds filter numbers of 16 bits";
            return Err(
                KernelError::Dims { op: OP, rule, got: format!("{filters} filters") }.into()
            );
        }
        let indices = CudaBuffer::uninit(device, batch * filters)?;
        let counts = CudaBuffer::zeros(device, batch)?;
        Ok(CudaActiveFilters { batch, filters, indices, counts })
    }

    /// Lists the filters whose gates are not 0 (NaN is not 0). `gates` has a row of `stride` values
    /// for each sample, of which the C columns from `first` on are used. This may be part of a
    /// graph.
    ///
    /// # Errors
    /// [`KernelError`] if `gates` is not (N, stride) or the columns do not fit in a row.
    pub fn refill(&mut self, gates: &CudaBuffer<f32>, stride: usize, first: usize) -> Result<()> {
        check_gates(OP, gates, stride, first, self.batch, self.filters)?;
        let device = gates.device();
        let (stride, first) = (int(OP, "stride", stride)?, int(OP, "first", first)?);
        let (batch, filters) = (int(OP, "batch", self.batch)?, int(OP, "filters", self.filters)?);
        let launch = Launch::new(device, &LIST)?
            .read(gates)
            .write(&mut self.indices)
            .write(&mut self.counts)
            .value(&stride)
            .value(&first)
            .value(&filters);
        // SAFETY: the parameters of active_filters_list; a warp reads `filters` gates of its row,
        // which the check above has seen, and writes at most as many indices and one count.
        unsafe { launch.run([batch as u32, 1, 1], 32, 0) }
    }

    /// Returns the number of samples, N.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Returns the number of filters that a list chooses from, C.
    #[must_use]
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// Copies the lists to the host, once the device has done all it was told before.
    ///
    /// # Errors
    /// Fails as [`CudaBuffer::to_vec`] does.
    pub fn to_host(&self) -> Result<ActiveFilters> {
        let (indices, counts) = (self.indices.to_vec()?, self.counts.to_vec()?);
        let mut gates = vec![0.0; self.batch * self.filters];
        for (n, &count) in counts.iter().enumerate() {
            let row = n * self.filters;
            for &filter in &indices[row..row + usize::try_from(count).unwrap_or(0)] {
                gates[row + usize::from(filter)] = 1.0;
            }
        }
        let stride = self.filters.max(1);
        Ok(ActiveFilters::from_columns(&gates, stride, 0, self.filters)
            .unwrap_or_else(ActiveFilters::empty))
    }

    /// `Err` unless these are lists for `batch` samples of `filters` filters.
    pub(super) fn check(
        &self,
        op: &'static str,
        batch: usize,
        filters: usize,
    ) -> Result<(), KernelError> {
        if (self.batch, self.filters) == (batch, filters) {
            return Ok(());
        }
        let (got_batch, got_filters) = (self.batch, self.filters);
        Err(KernelError::ActiveFilters {
            op,
            list: "active",
            got_batch,
            got_filters,
            batch,
            filters,
        })
    }
}

/// Sums the partial sums of a convolution's epilogue, which has checked the lengths.
pub(super) fn gate_gradient(
    batch: usize,
    filters: usize,
    blocks: usize,
    active: Option<&CudaActiveFilters>,
    of_gates: GateGradient<'_>,
) -> Result<()> {
    const OP: &str = "active_filters_gate_gradient";
    let device = &of_gates.gradient.device().clone();
    let blocks = int(OP, "blocks", blocks)?;
    let filters = int(OP, "filters", filters)?;
    let stride = int(OP, "stride", of_gates.stride)?;
    let first = int(OP, "first", of_gates.first)?;
    let launch = Launch::new(device, &GATE_GRADIENT)?
        .read(of_gates.scratch)
        .read_if(active.map(|active| &active.indices))
        .read_if(active.map(|active| &active.counts))
        .write(of_gates.gradient)
        .value(&blocks)
        .value(&filters)
        .value(&stride)
        .value(&first);
    // SAFETY: the parameters of active_filters_gate_gradient; the scratch has `blocks` sums for
    // each gate, and the row has the columns.
    unsafe { launch.run([int(OP, "batch", batch)? as u32, 1, 1], 128, 0) }
}

/// `Err` unless `gates` is (`batch`, `stride`) and has the columns `first..first + filters`.
pub(super) fn check_gates(
    op: &'static str,
    gates: &CudaBuffer<f32>,
    stride: usize,
    first: usize,
    batch: usize,
    filters: usize,
) -> Result<(), KernelError> {
    if first.checked_add(filters).is_none_or(|end| end > stride) {
        let rule = "the columns of the gates must lie in a row";
        let got = format!("columns {first}.. of {filters} filters in rows of {stride}");
        return Err(KernelError::Dims { op, rule, got });
    }
    crate::error::check_len(op, "gates", batch * stride, gates.len())
}
