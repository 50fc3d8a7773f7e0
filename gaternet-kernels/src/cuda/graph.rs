//! Graphs: recorded launches, which run again as a whole.

use std::fmt;

use super::capture::Kept;
use super::device::CudaDevice;
use super::error::{CudaError, Doing, Result};

/// Launches recorded by [`CudaGraph::capture`]: one call of the driver runs them all again, on the
/// same buffers, which the graph keeps alive.
pub struct CudaGraph {
    graph: cudarc::driver::CudaGraph,
    kept: Kept,
    /// The device, which has the modules of the kernels.
    device: CudaDevice,
}

// SAFETY: The driver asks that no two threads use a graph at the same time, not that one thread
// does all of it (CUDA driver API, "Graphs thread safety"), and a launch makes the device's context
// that of its thread. What is owned has one user at a time; it is not `Sync`.
unsafe impl Send for CudaGraph {}

impl CudaGraph {
    /// Records what `work` launches, without running it.
    ///
    /// Run `work` once before: kernels are compiled and loaded at their first use, and loading,
    /// allocating and copying from or to the host cannot be recorded. Meanwhile only this thread
    /// can use the device; another gets [`CudaError::CapturedElsewhere`].
    ///
    /// # Errors
    /// The error of `work`; [`CudaError::Capturing`] in a capture, or if `work` did what cannot be
    /// recorded; [`CudaError::CapturedElsewhere`] while another thread captures.
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
    /// [`CudaError::Driver`] if the driver fails; [`CudaError::Capturing`] in a capture,
    /// [`CudaError::CapturedElsewhere`] in a capture of another thread.
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
