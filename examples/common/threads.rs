//! `--threads` and `--pin-threads`.

use anyhow::{Context, Result, ensure};

/// Computes with `threads` threads; with one per core if there is no number. With `pin`, each stays on a
/// core of its own, as far as there are cores and the system allows it: some schedulers leave two busy
/// threads on one core for minutes.
pub(crate) fn use_threads(threads: Option<usize>, pin: bool) -> Result<()> {
    ensure!(threads != Some(0), "--threads 0: must be at least 1");
    let mut pool = rayon::ThreadPoolBuilder::new();
    if let Some(threads) = threads {
        pool = pool.num_threads(threads);
    }
    if pin {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        pool = pool.start_handler(move |thread| {
            if let Some(core) = cores.get(thread) {
                core_affinity::set_for_current(*core);
            }
        });
    }
    pool.build_global().context("cannot start the worker threads")
}
