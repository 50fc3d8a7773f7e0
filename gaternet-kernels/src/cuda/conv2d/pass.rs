//! A pass that writes an activation: checks, then launches.

use super::super::active_filters::{self, CudaActiveFilters, check_gates};
use super::super::buffer::CudaBuffer;
use super::super::device::CudaDevice;
use super::super::error::Result;
use super::super::launch::{Launch, address, grid_yz, int};
use super::super::layout::{Rows, stride};
use super::element::{ConvElement, Kernels, TILE_PIXELS};
use super::epilogue::Epilogue;
use super::geometry::{Direction, Geometry, sides};
use super::wgmma::{Tiling, most_blocks};
use crate::dims::Conv2dDims;
use crate::error::{KernelError, check_len};

/// *One call of *to rows* or *from rows*, with its sizes.
pub(super) struct Pass {
    op: &'static str,
    to_rows: bool,
    batch: usize,
    rows: usize,
    outputs: usize,
    pub(super) source_len: usize,
    pub(super) target_len: usize,
    weight_len: usize,
    geometry: Geometry,
}

impl Pass {
    pub(super) fn new(
        op: &'static str,
        direction: Direction,
        dims: &Conv2dDims,
        rows: Rows,
    ) -> Result<Pass, KernelError> {
        let (source, target) = sides(direction, dims);
        let len = |(size, channels): ([usize; 2], usize)| {
            dims.batch() * size[0] * size[1] * stride(channels)
        };
        Ok(Pass {
            op,
            to_rows: direction == Direction::to_rows(rows),
            batch: dims.batch(),
            rows: rows.count(dims),
            outputs: target.1,
            source_len: len(source),
            target_len: len(target),
            weight_len: rows.weight_len(dims),
            geometry: Geometry::new(op, direction, dims, rows)?,
        })
    }

    pub(super) fn check_len(
        &self,
        buffer: &'static str,
        expected: usize,
        got: usize,
    ) -> Result<(), KernelError> {
        check_len(self.op, buffer, expected, got)
    }

    pub(super) fn run<T: ConvElement>(
        mut self,
        active: Option<&CudaActiveFilters>,
        source: &CudaBuffer<T>,
        weight: &CudaBuffer<T>,
        epilogue: Epilogue<'_, T>,
        target: &mut CudaBuffer<T>,
    ) -> Result<()> {
        let device = &target.device().clone();
        self.check_len("weight", self.weight_len, weight.len())?;
        if let Some(active) = active {
            active.check(self.op, self.batch, self.rows)?;
        }
        self.check_epilogue(&epilogue)?;
        let (kernels, tiling) = self.choose::<T>(device);
        let shared_bytes = self.shared_bytes(kernels, tiling, device)?;
        let grid = self.grid(kernels, tiling)?;
        let kernel = if self.to_rows { &kernels.to_rows } else { &kernels.from_rows };
        let partials = epilogue.gate_gradient.as_ref().map(|gradient| &*gradient.scratch);
        // Mirrors `EpilogueArguments` of conv2d_epilogue.cuh.
        let arguments: [u64; 6] = [
            address(epilogue.scale),
            address(epilogue.bias),
            address(epilogue.gates.map(|columns| columns.gates)),
            address(epilogue.residual),
            address(epilogue.inner),
            address(partials),
        ];
        let mut launch = Launch::new(device, kernel)?
            .read(source)
            .read(weight)
            .read_if(active.map(|active| &active.indices))
            .read_if(active.map(|active| &active.counts))
            .uses(epilogue.scale)
            .uses(epilogue.bias)
            .uses(epilogue.gates.map(|columns| columns.gates))
            .uses(epilogue.residual)
            .uses(epilogue.inner)
            .uses(partials)
            .value(&arguments)
            .write(target)
            .value(&self.geometry);
        if let Some(tiling) = &tiling {
            launch = launch.value(tiling);
        }
        // SAFETY: the parameters of all six kernels. All buffers have the lengths of the geometry;
        // the lists hold at most `rows` numbers below `rows`; `grid` and `shared_bytes` are what
        // the sources say.
        unsafe { launch.run(grid, kernels.threads, shared_bytes) }?;
        match epilogue.gate_gradient {
            Some(of_gates) => {
                let active = active.filter(|_| self.to_rows);
                active_filters::gate_gradient(
                    self.batch,
                    self.outputs,
                    grid[0] as usize,
                    active,
                    of_gates,
                )
            }
            None => Ok(()),
        }
    }

    fn check_epilogue<T>(&mut self, epilogue: &Epilogue<'_, T>) -> Result<(), KernelError> {
        for (name, buffer) in [("scale", epilogue.scale), ("bias", epilogue.bias)] {
            if let Some(buffer) = buffer {
                self.check_len(name, self.outputs, buffer.len())?;
            }
        }
        for (name, buffer) in [("residual", epilogue.residual), ("inner", epilogue.inner)] {
            if let Some(buffer) = buffer {
                self.check_len(name, self.target_len, buffer.len())?;
            }
        }
        if let Some(columns) = epilogue.gates {
            let (stride, first) = (columns.stride, columns.first);
            check_gates(self.op, columns.gates, stride, first, self.batch, self.outputs)?;
            self.geometry.gate_stride = int(self.op, "stride of the gates", stride)?;
            self.geometry.gate_first = int(self.op, "first gate", first)?;
        }
        if let Some(of_gates) = &epilogue.gate_gradient {
            if epilogue.inner.is_none() {
                let rule = "a gate gradient needs what the gate multiplied";
                return Err(KernelError::Dims { op: self.op, rule, got: "no `inner`".to_owned() });
            }
            let (stride, first) = (of_gates.stride, of_gates.first);
            check_gates(self.op, of_gates.gradient, stride, first, self.batch, self.outputs)?;
            let size = self.geometry.target_size.map(|size| size as usize);
            let needed = self.batch * self.outputs * most_blocks(size);
            if of_gates.scratch.len() < needed {
                self.check_len("scratch", needed, of_gates.scratch.len())?;
            }
        }
        self.geometry.relu = i32::from(epilogue.relu);
        Ok(())
    }

    /// Chooses the kernels for this pass, and how those for compute capability 9.0 cut the map.
    fn choose<T: ConvElement>(&self, device: &CudaDevice) -> (&'static Kernels, Option<Tiling>) {
        let general = T::KERNELS;
        let g = &self.geometry;
        let outputs = if self.to_rows { g.rows } else { g.columns };
        let sum = if self.to_rows { g.columns } else { g.rows };
        let special = general.wgmma.and_then(|kernels| {
            let tiling = Tiling::choose(device, g, outputs, sum)?;
            self.shared_bytes(kernels, Some(tiling), device).ok()?;
            Some((kernels, Some(tiling)))
        });
        special.unwrap_or((general, None))
    }

    /// Returns the grid that covers every pixel, every output that could be active, and every
    /// sample.
    fn grid(&self, kernels: &Kernels, tiling: Option<Tiling>) -> Result<[u32; 3], KernelError> {
        let blocks = match kernels.tile_outputs {
            0 => stride(self.outputs),
            tile => self.outputs.div_ceil(tile),
        };
        let outputs = grid_yz(self.op, "outputs", blocks)?;
        let batch = grid_yz(self.op, "batch", self.batch)?;
        let pixels = match tiling {
            Some(tiling) => tiling.blocks(&self.geometry),
            None => self.geometry.target_pixels().div_ceil(TILE_PIXELS),
        };
        Ok([int(self.op, "pixels", pixels)? as u32, outputs, batch])
    }

    /// Returns the bytes of shared memory: tiles, patches, and the list of where rows begin.
    fn shared_bytes(
        &self,
        kernels: &Kernels,
        tiling: Option<Tiling>,
        device: &CudaDevice,
    ) -> Result<u32, KernelError> {
        let listed = match self.to_rows {
            true if kernels.lists_outputs => kernels.tile_outputs,
            false if kernels.lists_rows => self.rows,
            _ => 0,
        };
        let patches = tiling.map_or(0, |tiling| tiling.patches_bytes());
        let bytes = kernels.tile_bytes + patches + 4 * listed;
        if bytes > device.max_shared_bytes() {
            let rule = "the active rows of a weight must fit in shared memory";
            let got = format!("{} rows, {bytes} bytes of {}", self.rows, device.max_shared_bytes());
            return Err(KernelError::Dims { op: self.op, rule, got });
        }
        int(self.op, "bytes of shared memory", bytes).map(|bytes| bytes as u32)
    }
}
