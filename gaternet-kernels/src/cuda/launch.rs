//! Launching a kernel: arguments become the array of pointers that the driver wants.

use std::ffi::c_void;
use std::sync::Arc;

use bytemuck::NoUninit;
use cudarc::driver::{CudaFunction, result};

use super::buffer::{CudaBuffer, Memory};
use super::device::CudaDevice;
use super::error::{Doing, Result};
use super::source::Source;
use crate::error::KernelError;

/// A kernel of a source.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) source: &'static Source,
    pub(super) name: &'static str,
}

/// A launch whose arguments are being put together, in the order of the kernel's parameters.
pub(super) struct Launch<'a> {
    device: &'a CudaDevice,
    function: CudaFunction,
    arguments: Vec<*mut c_void>,
    memories: Vec<&'a Arc<Memory>>,
}

/// Returns the address of `buffer`, for a struct of pointers that a kernel gets; [`Launch::uses`]
/// must be told too.
pub(super) fn address<T>(buffer: Option<&CudaBuffer<T>>) -> u64 {
    buffer.map_or(NULL, |buffer| buffer.address)
}

static NULL: u64 = 0;

impl<'a> Launch<'a> {
    pub(super) fn new(device: &'a CudaDevice, kernel: &Kernel) -> Result<Launch<'a>> {
        let function = device.function(kernel.source, kernel.name)?;
        let arguments = Vec::with_capacity(16);
        Ok(Launch { device, function, arguments, memories: Vec::with_capacity(16) })
    }

    /// Adds a `const T*`.
    pub(super) fn read<T>(self, buffer: &'a CudaBuffer<T>) -> Self {
        self.pointer(Some(buffer))
    }

    /// Adds a `T*`.
    pub(super) fn write<T>(self, buffer: &'a mut CudaBuffer<T>) -> Self {
        self.pointer(Some(buffer))
    }

    /// Adds a `const T*` that may be null.
    pub(super) fn read_if<T>(self, buffer: Option<&'a CudaBuffer<T>>) -> Self {
        self.pointer(buffer)
    }

    /// Adds a `T*` that may be null.
    pub(super) fn write_if<T>(self, buffer: Option<&'a mut CudaBuffer<T>>) -> Self {
        self.pointer(buffer.map(|buffer| &*buffer))
    }

    /// Notes that the kernel uses a buffer whose address is in a struct.
    pub(super) fn uses<T>(mut self, buffer: Option<&'a CudaBuffer<T>>) -> Self {
        self.memories.extend(buffer.map(CudaBuffer::memory));
        self
    }

    /// Notes that the kernel uses memory whose addresses are in a table on the device.
    pub(super) fn uses_all(mut self, memories: &'a [Arc<Memory>]) -> Self {
        self.memories.extend(memories);
        self
    }

    fn pointer<T>(mut self, buffer: Option<&'a CudaBuffer<T>>) -> Self {
        self = self.uses(buffer);
        let address: &'a u64 = buffer.map_or(&NULL, |buffer| &buffer.address);
        self.arguments.push(std::ptr::from_ref(address).cast_mut().cast());
        self
    }

    /// Adds a number or a struct of numbers, laid out as in C++.
    pub(super) fn value<T: NoUninit>(mut self, value: &'a T) -> Self {
        self.arguments.push(std::ptr::from_ref(value).cast_mut().cast());
        self
    }

    /// Launches `grid` blocks of `threads` threads with `shared_bytes` of dynamic shared memory. It
    /// launches nothing for a grid without blocks.
    ///
    /// # Safety
    /// The arguments must be the kernel's parameters, and with them it must stay inside its
    /// buffers.
    pub(super) unsafe fn run(
        mut self,
        grid: [u32; 3],
        threads: u32,
        shared_bytes: u32,
    ) -> Result<()> {
        if self.memories.iter().any(|memory| !self.device.is(&memory.device)) {
            let rule = "the buffers of a kernel must be on its device";
            let got = "a buffer of another".to_owned();
            return Err(KernelError::Dims { op: "launch", rule, got }.into());
        }
        if grid.contains(&0) {
            return Ok(());
        }
        let (stream, what) = (self.device.stream(), "launching a kernel");
        stream.context().bind_to_thread().doing(what)?;
        // SAFETY: the caller's; the arguments are borrowed for 'a, so they are still there.
        self.device.capture().record(what, &self.memories, || unsafe {
            result::launch_kernel(
                self.function.cu_function(),
                grid.into(),
                (threads, 1, 1),
                shared_bytes,
                stream.cu_stream(),
                &mut self.arguments,
            )
            .doing(what)
        })
    }
}

/// Returns `value` as the `int` that a kernel takes.
pub(super) fn int(op: &'static str, what: &'static str, value: usize) -> Result<i32, KernelError> {
    let fail = |_| KernelError::Dims {
        op,
        rule: "sizes must fit in 32 bits",
        got: format!("{what} {value}"),
    };
    i32::try_from(value).map_err(fail)
}

/// Returns `value` as the second or third extent of a grid.
pub(super) fn grid_yz(
    op: &'static str,
    what: &'static str,
    value: usize,
) -> Result<u32, KernelError> {
    match u32::try_from(value) {
        Ok(value) if value <= 65535 => Ok(value),
        _ => {
            let rule = "a launch has at most 65535 blocks in y and in z";
            Err(KernelError::Dims { op, rule, got: format!("{what} {value}") })
        }
    }
}
