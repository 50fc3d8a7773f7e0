//! Ctrl-C and requests to end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the user or the system has asked the program to end. The first request is for the run,
/// which saves where it stands; a second one ends the program at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interrupt {
    /// The signal; 0 before one came.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From here on signals are caught.
    pub(crate) fn catch() -> Result<Interrupt> {
        let (interrupt, again) = (Interrupt::default(), Arc::new(AtomicBool::new(false)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal must not see that it is there itself.
            flag::register_conditional_shutdown(signal, exit_code(signal), Arc::clone(&again))
                .and_then(|_| flag::register(signal, Arc::clone(&again)))
                .and_then(|_| {
                    let number = usize::try_from(signal).unwrap_or_default();
                    flag::register_usize(signal, Arc::clone(&interrupt.signal), number)
                })
                .context("cannot catch signals")?;
        }
        Ok(interrupt)
    }

    /// What the request was.
    pub(crate) fn signal(&self) -> Option<i32> {
        let signal = i32::try_from(self.signal.load(Ordering::Relaxed)).ok();
        signal.filter(|signal| *signal != 0)
    }

    /// `Err` with an [`Interrupted`] if there was a request.
    pub(crate) fn end(&self) -> Result<()> {
        match self.signal() {
            Some(signal) => Err(Interrupted { signal }.into()),
            None => Ok(()),
        }
    }
}

/// The end of a run that was asked to end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interrupted {
    signal: i32,
}

impl Interrupted {
    /// What shells give a program that a signal ended.
    pub(crate) fn exit_code(&self) -> u8 {
        u8::try_from(exit_code(self.signal)).unwrap_or(u8::MAX)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.signal == SIGINT { "interrupted" } else { "asked to end" })
    }
}

impl std::error::Error for Interrupted {}

fn exit_code(signal: i32) -> i32 {
    128 + signal
}
