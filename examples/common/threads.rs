//! `--threads`.

use anyhow::{Context, Result, ensure};

/// Computes with `threads` threads, which run where the system puts them; without a number with one
/// thread for each core, bound to it as far as the system allows. Some schedulers otherwise leave two
/// busy threads on one core for minutes, which halves the speed.
pub(crate) fn use_threads(threads: Option<usize>) -> Result<()> {
    ensure!(threads != Some(0), "--threads 0: must be at least 1");
    let pool = rayon::ThreadPoolBuilder::new();
    let pool = match threads {
        Some(threads) => pool.num_threads(threads),
        None => {
            let cores = core_affinity::get_core_ids().unwrap_or_default();
            pool.start_handler(move |thread| {
                if let Some(core) = cores.get(thread) {
                    core_affinity::set_for_current(*core);
                }
            })
        }
    };
    pool.build_global().context("cannot start the worker threads")
}
