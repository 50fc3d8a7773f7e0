//! Recording what is launched, to launch it again as a whole.

use std::fmt;
use std::sync::Arc;

use cudarc::driver::CudaSlice;
use cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};

use super::buffer::Memory;
use super::device::CudaDevice;
use super::error::{CudaError, Doing, Result};

/// What a capture keeps until its graph is gone.
#[derive(Default)]
pub(super) struct Capture {
    /// Memory that a recorded kernel reads or writes.
    pub(super) used: Vec<Arc<Memory>>,
    /// Memory that was let go in the meantime.
    pub(super) freed: Vec<CudaSlice<u8>>,
}

/// Launches recorded by [`CudaGraph::capture`]: one call of the driver runs them all again, on the same buffers,
/// which it keeps alive.
pub struct CudaGraph {
    graph: cudarc::driver::CudaGraph,
    kept: Capture,
    /// Has the modules of the kernels.
    _device: CudaDevice,
}

impl CudaGraph {
    /// Records what `work` launches, without running it.
    ///
    /// Run `work` once before: kernels are compiled and loaded at their first use, and loading, allocating and
    /// copying from or to the host cannot be recorded. No other thread may use the device in the meantime.
    ///
    /// # Errors
    /// The error of `work`; [`CudaError::Capturing`] in a capture, or if `work` did what cannot be recorded.
    pub fn capture(device: &CudaDevice, work: impl FnOnce() -> Result<()>) -> Result<CudaGraph> {
        device.refuse_in_capture("a capture")?;
        device
            .stream()
            .begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
            .doing("beginning a capture")?;
        *device.capture() = Some(Capture::default());
        let ending = EndCapture(device);
        let done = work();
        let (graph, kept) = ending.end();
        done?;
        match graph.doing("ending a capture")? {
            Some(graph) => Ok(CudaGraph { graph, kept, _device: device.clone() }),
            None => Err(CudaError::Capturing { what: "what invalidated the capture" }),
        }
    }

    /// Runs the recorded launches after what the device was told so far.
    ///
    /// # Errors
    /// [`CudaError::Driver`].
    pub fn launch(&self) -> Result<()> {
        self.graph.launch().doing("launching a graph")
    }
}

impl fmt::Debug for CudaGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaGraph(on {} buffers)", self.kept.used.len())
    }
}

/// Ends the capture, also when `work` panics.
struct EndCapture<'a>(&'a CudaDevice);

impl EndCapture<'_> {
    fn end(
        self,
    ) -> (
        std::result::Result<Option<cudarc::driver::CudaGraph>, cudarc::driver::DriverError>,
        Capture,
    ) {
        let device = self.0;
        std::mem::forget(self);
        let graph = device.stream().end_capture(CUgraphInstantiate_flags(0));
        let kept = device.capture().take().unwrap_or_default();
        (graph, kept)
    }
}

impl Drop for EndCapture<'_> {
    fn drop(&mut self) {
        let _ = EndCapture(self.0).end();
    }
}
