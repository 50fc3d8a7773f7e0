//! Transformed weights, the elements of each side by side.

use super::order::{QUADS, TILES, element};
use crate::cpu::conv2d::winograd::weights::Taps;
use crate::cpu::isa::Isa;
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// The bytes of a cache line.
const LINE: usize = 64;

/// The transformed weights of a convolution, (parts, rows, channels, elements of a part). Each row
/// is followed by one unused channel, which keeps rows out of each other's cache sets.
pub(in super::super::super) struct Weights {
    data: Vec<f32>,
    /// The place in `data` where the first cache line starts.
    start: usize,
    rows: usize,
    pub(super) channels: usize,
    lanes: usize,
}

impl Weights {
    /// Transforms the kernels of `taps`, in memory `data` of at least [`len`](Self::len) floats.
    pub(in super::super::super) fn new(isa: Isa, taps: &Taps<'_>, mut data: Vec<f32>) -> Weights {
        let (rows, channels, lanes) = (taps.rows, taps.channels, isa.kernels().elements.lanes);
        let start = line(&data);
        let mut weights = Weights { data: Vec::new(), start, rows, channels, lanes };
        let shared = SharedSlice::new(&mut data);
        let positions: [usize; QUADS * 4] = {
            let mut positions = [0; QUADS * 4];
            (0..QUADS * 4).for_each(|position| positions[element(position)] = position);
            positions
        };
        taps.transform(isa, 4, |row, first, element, values| {
            let position = positions[element];
            let part = (position / lanes).min(weights.parts() - 1);
            let in_part = position - part * lanes;
            let at = weights.at(part, row) + first * weights.width(part) + in_part;
            for (i, value) in values.iter().enumerate() {
                let at = at + i * weights.width(part);
                // SAFETY: each element of each row and channel is written by one task, once.
                let target = unsafe { shared.part(at..at + 1) };
                target[0] = *value;
            }
        });
        weights.data = data;
        weights
    }

    /// Returns the floats that the weights of a convolution, or of the gradient of its input, take.
    pub(in super::super::super) fn len(dims: &Conv2dDims) -> usize {
        let [rows, channels] = [dims.out_channels(), dims.in_channels()];
        (rows * channels + rows.max(channels)) * QUADS * 4 + LINE / size_of::<f32>()
    }

    /// Returns the memory that the weights were made in.
    pub(in super::super::super) fn into_memory(self) -> Vec<f32> {
        self.data
    }

    /// Returns the number of parts: the vectors of elements, and the last quad.
    pub(super) fn parts(&self) -> usize {
        2 * TILES * 4 / self.lanes + 1
    }

    /// Returns the elements of a part.
    pub(super) fn width(&self, part: usize) -> usize {
        if part + 1 == self.parts() { 4 } else { self.lanes }
    }

    fn at(&self, part: usize, row: usize) -> usize {
        let before = part * self.rows * self.lanes + row * self.width(part);
        self.start + (self.channels + 1) * before
    }

    /// Returns a row's elements of one part, (channels, width).
    pub(super) fn row(&self, part: usize, row: usize) -> &[f32] {
        &self.data[self.at(part, row)..][..self.channels * self.width(part)]
    }

    pub(in super::super::super) fn bytes(&self) -> usize {
        self.rows * (self.channels + 1) * QUADS * 4 * size_of::<f32>()
    }
}

/// Returns the floats of `data` before its first cache line, at most one line.
pub(super) fn line(data: &[f32]) -> usize {
    data.as_ptr().align_offset(LINE).min(LINE / size_of::<f32>())
}
