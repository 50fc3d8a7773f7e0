//! Working memory of a thread, kept between calls.

use std::cell::Cell;

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

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
