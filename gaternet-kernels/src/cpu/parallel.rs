//! The distribution of work over threads. Results never depend on how many there are.

use std::ops::Range;

use rayon::prelude::*;

/// The elements of work up to which one thread is done before others are awake.
const SERIAL: usize = 32 * 1024;
/// The elements of work that a task takes at least.
const GRAIN: usize = 16 * 1024;

/// Calls `f(indices, their part of out)` until all indices are covered. An index owns `unit`
/// elements of `out` and stands for `work` elements of work.
pub(crate) fn for_runs<T: Send>(
    out: &mut [T],
    unit: usize,
    work: usize,
    f: impl Fn(Range<usize>, &mut [T]) + Sync,
) {
    if out.is_empty() {
        return;
    }
    let count = out.len() / unit;
    if count.saturating_mul(work) <= SERIAL {
        return f(0..count, out);
    }
    let run = (GRAIN / work).max(1);
    out.par_chunks_mut(run * unit).enumerate().for_each(|(i, out)| {
        let first = i * run;
        f(first..first + out.len() / unit, out);
    });
}
