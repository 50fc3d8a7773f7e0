//! Times of things that are compared.

use std::time::{Duration, Instant};

use anyhow::Result;

/// Runs of which the median is taken.
pub(crate) const RUNS: usize = 9;

/// Median seconds of each of `calls`, after a warm-up. A run repeats its call for about `run`, at least
/// once; the calls take turns run by run, so that whatever else slows the machine slows all of them.
pub(crate) fn median_seconds(
    calls: &mut [impl FnMut() -> Result<()>],
    run: Duration,
) -> Result<Vec<f64>> {
    let mut repetitions = Vec::with_capacity(calls.len());
    for call in &mut *calls {
        let (start, mut count) = (Instant::now(), 0);
        while count == 0 || start.elapsed() < run {
            call()?;
            count += 1;
        }
        repetitions.push(count);
    }
    let mut seconds = vec![[0.0; RUNS]; calls.len()];
    for at in 0..RUNS {
        for ((call, &count), seconds) in calls.iter_mut().zip(&repetitions).zip(&mut seconds) {
            let start = Instant::now();
            for _ in 0..count {
                call()?;
            }
            seconds[at] = start.elapsed().as_secs_f64() / f64::from(count);
        }
    }
    let median = |mut seconds: [f64; RUNS]| {
        seconds.sort_by(f64::total_cmp);
        seconds[RUNS / 2]
    };
    Ok(seconds.into_iter().map(median).collect())
}
