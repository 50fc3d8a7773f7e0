//! The lock that says whether launches are being recorded, and what the record needs.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, ThreadId};

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaSlice, CudaStream};

use super::error::{CudaError, Doing, Result};

/// The memory that a graph keeps as long as it exists: what its kernels read or write, and what was
/// let go during the capture.
pub(super) type Kept = Vec<Arc<dyn Any + Send + Sync>>;

/// A capture that is under way.
struct Capture {
    /// The only thread that may use the device until the capture ends.
    thread: ThreadId,
    kept: Mutex<Kept>,
}

/// Says whether a capture is under way. It is held while the driver is told anything: for writing
/// by a capture's beginning and end, for reading by all else, so that nothing of another thread
/// lands in a graph.
#[derive(Default)]
pub(super) struct CaptureLock(RwLock<Option<Capture>>);

impl CaptureLock {
    /// Runs `work` that cannot be recorded, unless a capture is under way.
    pub(super) fn submit<T>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let capture = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*capture {
            None => work(),
            Some(capture) => Err(capture.refusal(what)),
        }
    }

    /// Runs `work` that can be recorded and uses `memories`.
    pub(super) fn record<T, M: Any + Send + Sync>(
        &self,
        what: &'static str,
        memories: &[&Arc<M>],
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let capture = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*capture {
            Some(capture) if capture.thread != thread::current().id() => Err(capture.refusal(what)),
            Some(capture) => {
                let memories =
                    memories.iter().map(|&memory| -> Arc<dyn Any + Send + Sync> { memory.clone() });
                capture.kept().extend(memories);
                work()
            }
            None => work(),
        }
    }

    /// Frees `slice`. That cannot be part of a graph: during a capture of any thread, `keep` packs
    /// it for the graph.
    pub(super) fn free<M: Any + Send + Sync>(
        &self,
        slice: CudaSlice<u8>,
        keep: impl FnOnce(CudaSlice<u8>) -> M,
    ) {
        let capture = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*capture {
            Some(capture) => capture.kept().push(Arc::new(keep(slice))),
            None => drop(slice),
        }
    }

    pub(super) fn begin(&self, stream: &Arc<CudaStream>) -> Result<()> {
        let mut capture = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(capture) = &*capture {
            return Err(capture.refusal("a capture"));
        }
        stream
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .doing("beginning a capture")?;
        *capture = Some(Capture { thread: thread::current().id(), kept: Mutex::default() });
        Ok(())
    }

    pub(super) fn end(
        &self,
        stream: &Arc<CudaStream>,
    ) -> (Result<Option<cudarc::driver::CudaGraph>>, Kept) {
        let mut capture = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let graph = stream.end_capture(CUgraphInstantiate_flags(0)).doing("ending a capture");
        let kept = capture.take().map(|capture| std::mem::take(&mut *capture.kept()));
        (graph, kept.unwrap_or_default())
    }
}

impl Capture {
    fn refusal(&self, what: &'static str) -> CudaError {
        if self.thread == thread::current().id() {
            CudaError::Capturing { what }
        } else {
            CudaError::CapturedElsewhere { what }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
