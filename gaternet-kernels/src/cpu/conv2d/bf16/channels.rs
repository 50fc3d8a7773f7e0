//! The active channels of a sample, in pairs.

use super::kernels::{NUMBERS, Step};

/// The active channels of a sample. Two adjacent ones of the list are a pair; the last may be
/// alone.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Channels<'a> {
    /// The active channels, ascending.
    pub(super) list: &'a [u32],
    /// The steps that compress a row of weights to the active channels; empty if all are active.
    pub(super) steps: &'a [Step],
}

impl<'a> Channels<'a> {
    /// Returns the floats that [`new`](Self::new) needs for a list of some of `count` channels, 0
    /// if it lists all.
    pub(in super::super) fn room(list: &[u32], count: usize) -> usize {
        // A step ends a vector of the target, or passes one of the source.
        let steps = list.len().div_ceil(NUMBERS) + count.div_ceil(NUMBERS);
        if list.len() == count { 0 } else { steps * Step::LEN }
    }

    /// Makes the steps in `room`, which is as long as [`room`](Self::room) says.
    pub(in super::super) fn new(list: &'a [u32], room: &'a mut [f32]) -> Channels<'a> {
        let steps = Step::some_of(room);
        let used = if steps.is_empty() { 0 } else { fill(list, steps) };
        Channels { list, steps: &steps[..used] }
    }

    pub(in super::super) fn pairs(&self) -> impl Iterator<Item = [Option<usize>; 2]> {
        let channel = |pair: &[u32], i: usize| pair.get(i).map(|channel| *channel as usize);
        self.list.chunks(2).map(move |pair| [channel(pair, 0), channel(pair, 1)])
    }
}

/// Writes the steps that compress a row of weights to `list`, and returns their number.
fn fill(list: &[u32], steps: &mut [Step]) -> usize {
    const VECTOR: u32 = NUMBERS as u32;
    // The first number of a pair, of channel c or before it; in memory the pair's second channel
    // comes first.
    let start = |channel: u32| channel & !1;
    let lane = |of: u32, channel: u32| (channel - of) ^ 1;
    let mut used = 0;
    for active in list.chunks(NUMBERS) {
        let reach = |at: usize, of: u32| at + active[at..].partition_point(|c| c - of < VECTOR);
        let (mut done, mut placed) = (0, 0);
        while done < active.len() {
            let (first, middle) = match done {
                0 => (start(active[0]), reach(0, start(active[0]))),
                _ => (Step::PLACED, done),
            };
            let second = start(active[middle.min(active.len() - 1)]);
            let end = reach(middle, second);
            let mut from: [u32; NUMBERS] = std::array::from_fn(|lane| lane as u32);
            for at in done..end {
                from[at ^ 1] = match at < middle {
                    true => lane(first, active[at]),
                    false => VECTOR + lane(second, active[at]),
                };
                placed |= 1 << (at ^ 1);
            }
            let last = u32::from(end == active.len());
            let from = std::array::from_fn(|i| from[2 * i] | from[2 * i + 1] << 16);
            steps[used] = Step { from, placed, first, second, last };
            (used, done) = (used + 1, end);
        }
    }
    used
}
