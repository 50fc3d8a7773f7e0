//! Which channels are pairs.

use super::kernels::{NUMBERS, Step};
use crate::cpu::scratch::as_words;

/// In place of a channel that is missing to a pair.
pub(super) const NONE: u32 = u32::MAX;

/// The channels of a convolution. Adjacent live ones are a pair, unless they are of different blocks: sums that
/// run over a block at a time then have one order, whatever is live.
pub(in super::super) struct Pairing {
    count: usize,
    /// Channels of a block, an even number.
    block: usize,
    /// 0, 1, ..., up to a pair.
    slots: Vec<u32>,
    ends: Vec<u32>,
}

/// The live channels of a sample, in pairs.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Channels<'a> {
    /// (pairs, 2): a channel or [`NONE`].
    pub(super) slots: &'a [u32],
    /// Where the blocks end, in pairs.
    pub(super) ends: &'a [u32],
    /// How a row of weights is compressed to them; nothing if all are live.
    pub(super) steps: &'a [Step],
}

impl Pairing {
    pub(in super::super) fn new(count: usize, block: usize) -> Pairing {
        let block = block.next_multiple_of(2).max(2);
        let mut slots: Vec<u32> = (0..count as u32).collect();
        slots.resize(count.next_multiple_of(2), NONE);
        let ends = (0..count).step_by(block).map(|at| (at + block).min(slots.len()) as u32 / 2);
        Pairing { count, block, ends: ends.collect(), slots }
    }

    /// Most pairs of `list`.
    pub(in super::super) fn most_pairs(&self, list: &[u32]) -> usize {
        // An odd number in each block.
        (list.len() + list.len().min(self.ends.len())).min(self.slots.len()) / 2
    }

    /// Floats that [`of`](Self::of) needs for a list of live channels: 0 if it lists all.
    pub(in super::super) fn room(&self, list: &[u32]) -> usize {
        if list.len() == self.count { 0 } else { self.sizes(list).iter().sum() }
    }

    /// Words of slots, ends and steps.
    fn sizes(&self, list: &[u32]) -> [usize; 3] {
        let slots = 2 * self.most_pairs(list);
        // A step ends 32 slots, or passes 32 channels.
        let steps = slots.div_ceil(NUMBERS) + self.count.div_ceil(NUMBERS);
        [slots, self.ends.len(), steps * size_of::<Step>() / size_of::<u32>()]
    }

    /// `list` is ascending.
    pub(in super::super) fn of<'a>(&'a self, list: &[u32], room: &'a mut [f32]) -> Channels<'a> {
        if list.len() == self.count {
            return Channels { slots: &self.slots, ends: &self.ends, steps: &[] };
        }
        let mut room = as_words(room);
        let [slots, ends, steps] = self
            .sizes(list)
            .map(|size| room.split_off_mut(..size).expect("the size that `room` gives"));
        let (mut placed, mut blocks) = (0, 0);
        for block in list.chunk_by(|a, b| *a as usize / self.block == *b as usize / self.block) {
            slots[placed..placed + block.len()].copy_from_slice(block);
            placed += block.len();
            if placed % 2 == 1 {
                slots[placed] = NONE;
                placed += 1;
            }
            ends[blocks] = placed as u32 / 2;
            blocks += 1;
        }
        let slots = &slots[..placed];
        let (steps, _) = steps.as_chunks_mut();
        let used = fill_steps(slots, steps);
        Channels { slots, ends: &ends[..blocks], steps: &steps[..used] }
    }
}

/// The steps that compress a row of weights to `slots`; how many they are.
fn fill_steps(slots: &[u32], steps: &mut [Step]) -> usize {
    let mut used = 0;
    for slots in slots.chunks(NUMBERS) {
        let mut placed = 0;
        while placed < slots.len() {
            let step = &mut steps[used];
            // A step starts at a channel, since a missing one never ends the step before.
            let first = slots[placed] & !1;
            *step = [0; 18];
            step[16] = first;
            for lane in 0..NUMBERS as u32 {
                step[lane as usize / 2] |= lane << (16 * (lane % 2));
            }
            let reach = first..first + NUMBERS as u32;
            while let Some(slot) = slots.get(placed).filter(|s| **s == NONE || reach.contains(s)) {
                if *slot != NONE {
                    // In memory the second of a pair comes first.
                    let lane = placed ^ 1;
                    let half = 16 * (lane as u32 % 2);
                    let word = &mut step[lane / 2];
                    let from = NUMBERS as u32 + ((slot - first) ^ 1);
                    *word = *word & !(0xffff << half) | from << half;
                }
                placed += 1;
            }
            step[17] = u32::from(placed == slots.len());
            used += 1;
        }
    }
    used
}

impl Channels<'_> {
    /// `(channel, channel or none)`.
    pub(in super::super) fn pairs(&self) -> impl Iterator<Item = [Option<usize>; 2]> {
        let (pairs, _) = self.slots.as_chunks();
        pairs.iter().map(|pair| pair.map(|slot| (slot != NONE).then_some(slot as usize)))
    }
}
