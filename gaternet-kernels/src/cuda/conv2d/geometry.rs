//! The sizes of a pass: the side that is read and the one that is written, and how a tap finds its
//! pixel.

use bytemuck::NoUninit;

use super::super::launch::int;
use super::super::layout::{Rows, stride};
use crate::dims::Conv2dDims;
use crate::error::KernelError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The pass reads the input and writes the output.
    Forward,
    /// The pass reads the gradient of the output and writes that of the input.
    BackwardInput,
}

impl Direction {
    /// Returns the direction in which the rows are written.
    pub(super) fn to_rows(rows: Rows) -> Direction {
        match rows {
            Rows::Filters => Direction::Forward,
            Rows::Channels => Direction::BackwardInput,
        }
    }
}

/// Mirrors `Geometry` of conv2d.cuh.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
pub(super) struct Geometry {
    pub(super) source_size: [i32; 2],
    pub(super) source_stride: i32,
    pub(super) target_size: [i32; 2],
    pub(super) target_stride: i32,
    pub(super) kernel: [i32; 2],
    pub(super) rows: i32,
    pub(super) columns: i32,
    pub(super) column_stride: i32,
    pub(super) up: [i32; 2],
    pub(super) down: [i32; 2],
    pub(super) offset: [i32; 2],
    pub(super) direction: i32,
    pub(super) gate_stride: i32,
    pub(super) gate_first: i32,
    pub(super) relu: i32,
}

impl Geometry {
    pub(super) fn new(
        op: &'static str,
        direction: Direction,
        dims: &Conv2dDims,
        rows: Rows,
    ) -> Result<Geometry, KernelError> {
        let reach = |i: usize| dims.in_size()[i] + 2 * dims.padding()[i] + dims.stride()[i];
        if reach(0).max(reach(1)) >= 1 << 28 {
            let rule = "padded height and width must be below 2^28";
            return Err(KernelError::Dims { op, rule, got: format!("{dims:?}") });
        }
        for (what, value) in [
            ("pixels of the input, of the batch", dims.batch() * dims.in_plane()),
            ("pixels of the output, of the batch", dims.batch() * dims.out_plane()),
            ("values of the weight", rows.weight_len(dims)),
        ] {
            int(op, what, value)?;
        }
        let ints = |what, pair: [usize; 2]| -> Result<[i32; 2], KernelError> {
            Ok([int(op, what, pair[0])?, int(op, what, pair[1])?])
        };
        let (padding, steps) = (ints("padding", dims.padding())?, ints("stride", dims.stride())?);
        let forward = direction == Direction::Forward;
        let (source, target) = sides(direction, dims);
        Ok(Geometry {
            source_size: ints("size", source.0)?,
            source_stride: int(op, "channels", stride(source.1))?,
            target_size: ints("size", target.0)?,
            target_stride: int(op, "channels", stride(target.1))?,
            kernel: ints("kernel", dims.kernel())?,
            rows: int(op, "rows", rows.count(dims))?,
            columns: int(op, "columns", rows.columns(dims))?,
            column_stride: int(op, "columns", stride(rows.columns(dims)))?,
            up: if forward { steps } else { [1, 1] },
            down: if forward { [1, 1] } else { steps },
            offset: if forward { padding.map(|p| -p) } else { padding },
            direction: if forward { 1 } else { -1 },
            gate_stride: 0,
            gate_first: 0,
            relu: 0,
        })
    }

    /// Returns the pixels of a sample of the target.
    pub(super) fn target_pixels(&self) -> usize {
        self.target_size[0] as usize * self.target_size[1] as usize
    }
}

/// Returns (size, channels) of what is read and of what is written.
pub(super) fn sides(
    direction: Direction,
    dims: &Conv2dDims,
) -> (([usize; 2], usize), ([usize; 2], usize)) {
    let input = (dims.in_size(), dims.in_channels());
    let output = (dims.out_size(), dims.out_channels());
    match direction {
        Direction::Forward => (input, output),
        Direction::BackwardInput => (output, input),
    }
}
