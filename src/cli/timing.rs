//! Times of things that are compared.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Runs of which the median is taken.
pub const RUNS: usize = 9;

/// The median of what `measure` says of each of `cases` in [`RUNS`] runs. The cases take turns run
/// by run, so that whatever slows the machine for a while slows all of them.
///
/// # Errors
/// Those of `measure`.
pub fn medians_in_turns<C>(
    cases: &mut [C],
    mut measure: impl FnMut(&mut C) -> Result<f64>,
) -> Result<Vec<f64>> {
    let mut runs = vec![[0.0; RUNS]; cases.len()];
    for at in 0..RUNS {
        for (case, runs) in cases.iter_mut().zip(&mut runs) {
            runs[at] = measure(case)?;
        }
    }
    let median = |mut runs: [f64; RUNS]| {
        runs.sort_by(f64::total_cmp);
        runs[RUNS / 2]
    };
    Ok(runs.into_iter().map(median).collect())
}

/// Median seconds of each of `calls`, after a warm-up; they take turns. A run repeats its call for
/// about `run`, at least once.
///
/// # Errors
/// Those of the calls.
pub fn median_seconds(calls: &mut [impl FnMut() -> Result<()>], run: Duration) -> Result<Vec<f64>> {
    let mut cases = Vec::with_capacity(calls.len());
    for call in calls {
        let (start, mut count) = (Instant::now(), 0);
        while count == 0 || start.elapsed() < run {
            call()?;
            count += 1;
        }
        cases.push((call, count));
    }
    medians_in_turns(&mut cases, |(call, count)| {
        let start = Instant::now();
        for _ in 0..*count {
            call()?;
        }
        Ok(start.elapsed().as_secs_f64() / f64::from(*count))
    })
}
