//! The live channels of a sample, in pairs.

use super::kernels::{NUMBERS, Step};
use crate::cpu::scratch::as_words;

/// Live channels. Adjacent ones of the list are a pair; the last may be alone.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Channels<'a> {
    /// Ascending.
    pub(super) list: &'a [u32],
    /// How a row of weights is compressed to them; nothing if all are live.
    pub(super) steps: &'a [Step],
}

impl<'a> Channels<'a> {
    /// Floats that [`new`](Self::new) needs for a list of some of `count` channels: 0 if it lists all.
    pub(in super::super) fn room(list: &[u32], count: usize) -> usize {
        // A step ends 32 numbers, or passes 32 channels.
        let steps = list.len().div_ceil(NUMBERS) + count.div_ceil(NUMBERS);
        if list.len() == count { 0 } else { steps * size_of::<Step>() / size_of::<f32>() }
    }

    /// `room` is as long as [`room`](Self::room) says.
    pub(in super::super) fn new(list: &'a [u32], room: &'a mut [f32]) -> Channels<'a> {
        let (steps, _) = as_words(room).as_chunks_mut();
        let used = if steps.is_empty() { 0 } else { fill(list, steps) };
        Channels { list, steps: &steps[..used] }
    }

    pub(in super::super) fn pairs(&self) -> impl Iterator<Item = [Option<usize>; 2]> {
        let channel = |pair: &[u32], i: usize| pair.get(i).map(|channel| *channel as usize);
        self.list.chunks(2).map(move |pair| [channel(pair, 0), channel(pair, 1)])
    }
}

/// The steps that compress a row of weights to `list`; how many they are.
fn fill(list: &[u32], steps: &mut [Step]) -> usize {
    let mut used = 0;
    for live in list.chunks(NUMBERS) {
        let mut placed = 0;
        while placed < live.len() {
            let step = &mut steps[used];
            // The first of a pair: in memory the second comes before it.
            let first = live[placed] & !1;
            *step = [0; 18];
            step[16] = first;
            for lane in 0..NUMBERS as u32 {
                step[lane as usize / 2] |= lane << (16 * (lane % 2));
            }
            while let Some(channel) = live.get(placed).filter(|c| **c - first < NUMBERS as u32) {
                let (lane, from) = (placed ^ 1, NUMBERS as u32 + ((channel - first) ^ 1));
                let half = 16 * (lane as u32 % 2);
                let word = &mut step[lane / 2];
                *word = *word & !(0xffff << half) | from << half;
                placed += 1;
            }
            step[17] = u32::from(placed == live.len());
            used += 1;
        }
    }
    used
}
