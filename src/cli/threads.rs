//! `--threads`.

use std::env::{self, VarError};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::note::note;

/// Threads that are never too many. More than this and more than four times the cores are a slip of
/// the keyboard, and would take minutes to start.
const MANY: usize = 256;

/// Of how many threads rayon makes its own pool.
const VARIABLE: &str = "RAYON_NUM_THREADS";

/// What this process may use.
#[derive(Debug, Clone)]
pub struct Cores {
    /// Numbers of the cores that it is allowed to run on (`taskset`, a container's cpuset), as far
    /// as the system says.
    pub allowed: Vec<usize>,
    /// How many of them it gets: fewer where a cgroup has a quota of time.
    pub usable: usize,
}

/// The threads that compute.
#[derive(Debug, PartialEq)]
pub struct Pool {
    /// How many.
    pub threads: usize,
    /// The core of each; without one they run where the system puts them.
    pub bound: Option<Vec<usize>>,
    /// What to say on stderr.
    pub warning: Option<String>,
}

impl Pool {
    /// Of `threads` threads (`--threads`), or else of as many as `variable` says
    /// (`RAYON_NUM_THREADS`; 0 is none), or else of one for each usable core.
    ///
    /// Threads are bound only where they are as many as the allowed cores and no quota is below
    /// these: some schedulers otherwise leave two busy threads on one core for minutes, which
    /// halves the speed. A smaller pool shares the cores with other processes, whose pools would
    /// sit on the same first cores.
    ///
    /// # Errors
    /// If the number is 0, none at all, or far beyond the cores.
    pub fn choose(threads: Option<usize>, variable: Option<&str>, cores: Cores) -> Result<Pool> {
        let Cores { allowed, usable } = cores;
        let from_variable = match variable.map(str::trim) {
            None | Some("" | "0") => None,
            Some(text) => {
                let number = text.parse::<usize>().ok();
                Some(number.with_context(|| format!("{VARIABLE}={text}: must be a whole number"))?)
            }
        };
        let (name, threads) = match (threads, from_variable) {
            (Some(threads), _) => (format!("--threads {threads}"), threads),
            (None, Some(threads)) => (format!("{VARIABLE}={threads}"), threads),
            (None, None) => (String::new(), usable),
        };
        ensure!(threads > 0, "{name}: must be at least 1");
        let most = MANY.max(4 * usable);
        ensure!(
            threads <= most,
            "{name}: must be at most {most} here, where this process may use {usable} core{}",
            if usable == 1 { "" } else { "s" }
        );
        let warning = (threads > usable).then(|| {
            let cores = if usable == 1 { "1 core" } else { &format!("{usable} cores") };
            format!("warning: {name}: this process may use {cores}; more threads are no faster")
        });
        let all = usable >= allowed.len() && threads == allowed.len();
        Ok(Pool { threads, bound: all.then_some(allowed), warning })
    }
}

/// Computes with the threads that [`Pool::choose`] gives.
///
/// # Errors
/// Its errors, and if the process computes with other threads already.
pub fn use_threads(threads: Option<usize>) -> Result<()> {
    let variable = match env::var(VARIABLE) {
        Ok(text) => Some(text),
        Err(VarError::NotPresent) => None,
        Err(error @ VarError::NotUnicode(_)) => bail!("{VARIABLE}: {error}"),
    };
    let usable = available_parallelism().map_or(1, usize::from);
    let cores = Cores { allowed: affinity::allowed(), usable };
    let Pool { threads, bound, warning } = Pool::choose(threads, variable.as_deref(), cores)?;
    if let Some(warning) = warning {
        note(warning);
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    let pool = pool.start_handler(move |thread| {
        if let Some(cores) = &bound {
            affinity::bind(cores[thread]);
        }
    });
    pool.build_global().context("cannot start the worker threads")
}

/// Of the calling thread.
#[cfg(target_os = "linux")]
mod affinity {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The cores that it may run on; none if the system does not say.
    pub(super) fn allowed() -> Vec<usize> {
        let Ok(cores) = sched_getaffinity(None) else { return Vec::new() };
        (0..CpuSet::MAX_CPU).filter(|core| cores.is_set(*core)).collect()
    }

    /// Keeps it on one core, if the system still allows that.
    pub(super) fn bind(core: usize) {
        let mut cores = CpuSet::new();
        cores.set(core);
        let _ = sched_setaffinity(None, &cores);
    }
}

/// Elsewhere the system decides.
#[cfg(not(target_os = "linux"))]
mod affinity {
    pub(super) fn allowed() -> Vec<usize> {
        Vec::new()
    }

    pub(super) fn bind(_core: usize) {}
}
