//! Working memory of a thread, kept between calls.

use std::cell::Cell;

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static SHARED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// The most floats of memory that [`give`] keeps, 32 MiB. Where more is needed, a call takes so
/// long that fresh pages do not show.
const MOST_KEPT: usize = 8 << 20;

/// Calls `body` with `len` floats of unspecified (but initialised) contents.
///
/// The buffer is taken out of the thread while in use: if `body` waits for other tasks and this
/// thread runs one of them meanwhile, that one gets a buffer of its own.
pub(crate) fn with_scratch<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let mut buffer = SCRATCH.take();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = body(&mut buffer[..len]);
    SCRATCH.set(buffer);
    result
}

/// Returns at least `len` floats of unspecified contents, for the tasks of a call: the memory that
/// this thread gave last, where it is long enough. Fresh memory costs a page fault every 4 KiB.
pub(crate) fn take(len: usize) -> Vec<f32> {
    let kept = SHARED.take();
    if kept.len() < len { vec![0.0; len] } else { kept }
}

/// Keeps memory for the next [`take`] on this thread.
pub(crate) fn give(buffer: Vec<f32>) {
    if buffer.len() <= MOST_KEPT {
        SHARED.set(buffer);
    }
}
