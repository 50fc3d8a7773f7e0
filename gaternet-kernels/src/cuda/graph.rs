//! Recording what is launched, to launch it again as a whole.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, ThreadId};

use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use cudarc::driver::{CudaSlice, CudaStream};

use super::buffer::Memory;
use super::device::CudaDevice;
use super::error::{CudaError, Doing, Result};

/// What a capture keeps until its graph is gone: the memory that a recorded kernel reads or writes, and what was let go
/// in the meantime.
type Kept = Vec<Arc<Memory>>;

/// A capture that is under way.
struct Capture {
    /// The only one that may use the device until it ends.
    thread: ThreadId,
    kept: Mutex<Kept>,
}

/// Says whether a capture is under way. It is held while the driver is told anything: for writing by a capture's beginning
/// and end, for reading by all else, so that nothing of another thread lands in a graph.
#[derive(Default)]
pub(super) struct CaptureLock(RwLock<Option<Capture>>);

impl CaptureLock {
    /// Does what cannot be recorded.
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

    /// Does what can be recorded and uses `memories`.
    pub(super) fn record<T>(
        &self,
        what: &'static str,
        memories: &[&Arc<Memory>],
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let capture = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*capture {
            Some(capture) if capture.thread != thread::current().id() => Err(capture.refusal(what)),
            Some(capture) => {
                capture.kept().extend(memories.iter().map(|&memory| memory.clone()));
                work()
            }
            None => work(),
        }
    }

    /// Frees `slice`. That cannot be part of a graph: in a capture, of whatever thread, `keep` packs it for the graph.
    pub(super) fn free(&self, slice: CudaSlice<u8>, keep: impl FnOnce(CudaSlice<u8>) -> Memory) {
        let capture = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*capture {
            Some(capture) => capture.kept().push(Arc::new(keep(slice))),
            None => drop(slice),
        }
    }

    fn begin(&self, stream: &Arc<CudaStream>) -> Result<()> {
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

    fn end(&self, stream: &Arc<CudaStream>) -> (Result<Option<cudarc::driver::CudaGraph>>, Kept) {
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

/// Launches recorded by [`CudaGraph::capture`]: one call of the driver runs them all again, on the same buffers,
/// which it keeps alive.
pub struct CudaGraph {
    graph: cudarc::driver::CudaGraph,
    kept: Kept,
    /// Has the modules of the kernels.
    device: CudaDevice,
}

// SAFETY: The driver asks that no two threads use a graph at the same time, not that one thread does
// all of it (CUDA driver API, "Graphs thread safety"), and a launch makes the device's context that of
// its thread. What is owned has one user at a time; it is not `Sync`.
unsafe impl Send for CudaGraph {}

impl CudaGraph {
    /// Records what `work` launches, without running it.
    ///
    /// Run `work` once before: kernels are compiled and loaded at their first use, and loading, allocating and
    /// copying from or to the host cannot be recorded. Meanwhile only this thread can use the device; another gets
    /// [`CudaError::CapturedElsewhere`].
    ///
    /// # Errors
    /// The error of `work`; [`CudaError::Capturing`] in a capture, or if `work` did what cannot be recorded;
    /// [`CudaError::CapturedElsewhere`] while another thread captures.
    pub fn capture(device: &CudaDevice, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        device.capture().begin(device.stream())?;
        let ending = EndCapture(device);
        let done = work();
        let (graph, kept) = ending.end();
        done?;
        match graph? {
            Some(graph) => Ok(CudaGraph { graph, kept, device: device.clone() }),
            None => Err(CudaError::Capturing { what: "what invalidated the capture" }),
        }
    }

    /// Runs the recorded launches after what the device was told so far.
    ///
    /// # Errors
    /// [`CudaError::Driver`]; [`CudaError::Capturing`] in a capture, [`CudaError::CapturedElsewhere`] in that of another
    /// thread.
    pub fn launch(&self) -> Result<()> {
        let what = "launching a graph";
        self.device.capture().submit(what, || self.graph.launch().doing(what))
    }
}

impl fmt::Debug for CudaGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaGraph(on {} buffers)", self.kept.len())
    }
}

/// Ends the capture, also when `work` panics.
struct EndCapture<'a>(&'a CudaDevice);

impl EndCapture<'_> {
    fn end(self) -> (Result<Option<cudarc::driver::CudaGraph>>, Kept) {
        let device = self.0;
        std::mem::forget(self);
        device.capture().end(device.stream())
    }
}

impl Drop for EndCapture<'_> {
    fn drop(&mut self) {
        let _ = EndCapture(self.0).end();
    }
}
