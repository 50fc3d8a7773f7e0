//! `--threads`.

use anyhow::{Context, Result, ensure};

/// Computes with `threads` threads; with one per core if there is no number.
pub(crate) fn use_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    ensure!(threads > 0, "--threads 0: must be at least 1");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().with_context(|| format!("cannot start {threads} threads"))
}
