//! Weights in bf16, and their compression to the active channels of a sample.

use half::bf16;

use super::channels::Channels;
use super::kernels::{Compress, Kernels};

/// The pairs of the vector that the kernels access beyond a row. They also keep rows out of each
/// other's cache sets.
const SLACK: usize = 16;

/// The weights of a convolution, (rows, elements, pairs of channels). An element is a tap, or one
/// of the n² of a Winograd tile. A channel beyond an odd number has weights of 0.
#[derive(Debug)]
pub(in super::super) struct Weights {
    /// The pairs, each in the place of an f32.
    data: Vec<f32>,
    channels: usize,
    elements: usize,
}

impl Weights {
    /// Makes the weights, of which `value` gives that of a row, channel and element.
    pub(in super::super) fn new(
        [rows, channels, elements]: [usize; 3],
        value: impl Fn(usize, usize, usize) -> f32,
    ) -> Weights {
        let mut weights = Weights { data: Vec::new(), channels, elements };
        let len = weights.row_len();
        weights.data.reserve_exact(rows * len);
        for row in 0..rows {
            let bits = |channel: usize, element: usize| {
                let rounded = (channel < channels)
                    .then(|| bf16::from_f32(value(row, channel, element)).to_bits());
                u32::from(rounded.unwrap_or(0))
            };
            for element in 0..elements {
                let pair = |i: usize| bits(2 * i, element) << 16 | bits(2 * i + 1, element);
                weights.data.extend((0..weights.pairs()).map(|i| f32::from_bits(pair(i))));
            }
            weights.data.resize((row + 1) * len, 0.0);
        }
        weights
    }

    /// Returns the pairs of all channels, which are those from one element to the next.
    pub(in super::super) fn pairs(&self) -> usize {
        self.channels.div_ceil(2)
    }

    /// Returns the pairs from one row to the next.
    pub(in super::super) fn row_len(&self) -> usize {
        self.elements * self.pairs() + SLACK
    }

    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }

    /// Returns the weights of a row for all channels, (elements, pairs).
    pub(in super::super) fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.row_len()..(row + 1) * self.row_len()]
    }

    /// Writes the weights of `channels` to `room`, one row (elements, pairs), of whose elements the
    /// active pairs come first.
    pub(in super::super) fn compress(
        &self,
        kernels: &Kernels,
        row: usize,
        channels: &Channels<'_>,
        room: &mut [f32],
    ) {
        assert_eq!(room.len(), self.row_len(), "room for a row");
        let args = Compress {
            source: self.row(row).as_ptr(),
            elements: self.elements,
            pairs: self.pairs(),
            channels: channels.list,
            steps: channels.steps,
            target: room.as_mut_ptr(),
        };
        // SAFETY: `Kernels` are those of a detected instruction set. Both rows have `SLACK` after
        // their elements; the active channels are some of `channels`.
        unsafe { (kernels.compress)(&args) };
    }
}
