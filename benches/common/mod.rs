//! How a benchmark runs.

use criterion::Criterion;
use gaternet::cli::threads::use_threads;

/// The main function of a benchmark. It computes in the pool: from outside, every call would wait
/// for a worker to wake up.
pub(crate) fn run(benchmarks: fn(&mut Criterion)) {
    use_threads(None).expect("this is the first use of the pool");
    rayon::scope(|_| {
        let mut criterion = Criterion::default().configure_from_args();
        benchmarks(&mut criterion);
        criterion.final_summary();
    });
}
