//! Weights in bf16, and the live ones of a sample.

use half::bf16;

use super::kernels::{Compress, Kernels, Step};
use crate::cpu::scratch::as_words;

/// Pairs that the kernels access beyond a row, a vector. They also keep rows out of each other's cache sets.
const SLACK: usize = 16;

/// (rows; elements, channels in pairs): an element is a tap, or one of the n² of a Winograd tile. A channel
/// beyond an odd number has weights of 0.
#[derive(Debug)]
pub(in super::super) struct Weights {
    /// A pair has the place of an f32.
    data: Vec<f32>,
    channels: usize,
    elements: usize,
}

impl Weights {
    /// `value` gives the weight of a row, channel and element.
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
                let pair = |i: usize| bits(2 * i, element) | bits(2 * i + 1, element) << 16;
                weights.data.extend((0..weights.pairs()).map(|i| f32::from_bits(pair(i))));
            }
            weights.data.resize((row + 1) * len, 0.0);
        }
        weights
    }

    /// Pairs of all channels: those from one element to the next.
    pub(in super::super) fn pairs(&self) -> usize {
        self.channels.div_ceil(2)
    }

    /// Pairs from one row to the next.
    pub(in super::super) fn row_len(&self) -> usize {
        self.elements * self.pairs() + SLACK
    }

    pub(in super::super) fn bytes(&self) -> usize {
        size_of_val(self.data.as_slice())
    }

    /// The weights of a row for all channels, (elements, pairs).
    pub(in super::super) fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.row_len()..(row + 1) * self.row_len()]
    }

    /// Writes those for live channels, `room` being one row: (elements, pairs), of which the live pairs come
    /// first.
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
            steps: channels.steps.unwrap_or_default(),
            target: room.as_mut_ptr(),
        };
        // SAFETY: `Kernels` are those of a detected instruction set. Both rows have `SLACK` after their
        // elements; the live channels are some of `channels`.
        unsafe { (kernels.compress)(&args) };
    }
}

/// Numbers that a step of compressing gives.
const NUMBERS: usize = 32;

/// The live channels of a sample.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Channels<'a> {
    pub(in super::super) list: &'a [u32],
    /// How a row of weights is compressed to them; `None` if all are live.
    steps: Option<&'a [Step]>,
}

impl<'a> Channels<'a> {
    /// Floats that [`new`](Self::new) needs for a list of some of `count` channels: 0 if it lists all.
    pub(in super::super) fn room(list: &[u32], count: usize) -> usize {
        // A step ends 32 numbers, or passes 32 channels.
        let steps = list.len().div_ceil(NUMBERS) + count.div_ceil(NUMBERS);
        if list.len() == count { 0 } else { steps * size_of::<Step>() / size_of::<f32>() }
    }

    pub(in super::super) fn new(list: &'a [u32], room: &'a mut [f32]) -> Channels<'a> {
        if room.is_empty() {
            return Channels { list, steps: None };
        }
        let (room, _) = as_words(room).as_chunks_mut::<18>();
        let mut used = 0;
        for live in list.chunks(NUMBERS) {
            let mut placed = 0;
            while placed < live.len() {
                let step: &mut Step = &mut room[used];
                let first = live[placed];
                *step = [0; 18];
                step[16] = first;
                for lane in 0..NUMBERS as u32 {
                    step[lane as usize / 2] |= lane << (16 * (lane % 2));
                }
                while let Some(channel) = live.get(placed).filter(|c| **c - first < NUMBERS as u32)
                {
                    let half = 16 * (placed as u32 % 2);
                    let word = &mut step[placed / 2];
                    *word = *word & !(0xffff << half) | (NUMBERS as u32 + channel - first) << half;
                    placed += 1;
                }
                step[17] = u32::from(placed == live.len());
                used += 1;
            }
        }
        Channels { list, steps: Some(&room[..used]) }
    }

    pub(in super::super) fn are_all(&self) -> bool {
        self.steps.is_none()
    }

    /// Pairs of live channels: `(channel, channel or none)`.
    pub(in super::super) fn pairs(&self) -> impl Iterator<Item = [Option<usize>; 2]> {
        let channel = |pair: &[u32], i: usize| pair.get(i).map(|channel| *channel as usize);
        self.list.chunks(2).map(move |pair| [channel(pair, 0), channel(pair, 1)])
    }
}
