//! Typed arrays in device memory.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytemuck::Pod;
use cudarc::driver::{CudaSlice, DevicePtr, result};
use half::bf16;

use super::device::CudaDevice;
use super::error::{Doing, Result};
use crate::error::check_len;

/// A plain number, which a [`CudaBuffer`] can hold.
pub trait CudaElement: Pod + Send + Sync + private::Sealed {}

mod private {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($type:ty),*) => {$(
        impl private::Sealed for $type {}
        impl CudaElement for $type {}
    )*};
}
elements!(f32, f64, bf16, u8, u16, u32, u64, i32);

/// An array on a device. Its memory is free again once the device has done the work it was given so
/// far.
pub struct CudaBuffer<T> {
    memory: Arc<Memory>,
    /// The address that a kernel gets as its argument.
    pub(super) address: u64,
    len: usize,
    of: PhantomData<T>,
}

/// An allocation. A graph keeps those that its kernels use.
pub(super) struct Memory {
    /// `None` only while being dropped.
    slice: Option<CudaSlice<u8>>,
    pub(super) device: CudaDevice,
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(slice) = self.slice.take() {
            let again = |slice| Memory { slice: Some(slice), device: self.device.clone() };
            self.device.capture().free(slice, again);
        }
    }
}

impl<T: CudaElement> CudaBuffer<T> {
    /// Allocates `len` values of arbitrary bits, for a caller that has all of them written.
    ///
    /// # Errors
    /// [`CudaError`](super::CudaError) if the driver fails, for example because memory is short, or
    /// a graph is being captured.
    pub fn uninit(device: &CudaDevice, len: usize) -> Result<CudaBuffer<T>> {
        let bytes = (len * size_of::<T>()).max(1); // the driver does not allocate 0 bytes
        let slice = device.capture().submit("allocating", || {
            // SAFETY: bytes of any bits are values of a `Pod`.
            unsafe { device.stream().alloc::<u8>(bytes) }.doing("allocating device memory")
        })?;
        let address = slice.device_ptr(device.stream()).0;
        let memory = Arc::new(Memory { slice: Some(slice), device: device.clone() });
        Ok(CudaBuffer { memory, address, len, of: PhantomData })
    }

    /// Allocates `len` zeros.
    ///
    /// # Errors
    /// Fails as [`uninit`](Self::uninit) does.
    pub fn zeros(device: &CudaDevice, len: usize) -> Result<CudaBuffer<T>> {
        let mut buffer = CudaBuffer::uninit(device, len)?;
        buffer.fill_zeros()?;
        Ok(buffer)
    }

    /// Allocates a copy of `values`.
    ///
    /// # Errors
    /// Fails as [`uninit`](Self::uninit) does.
    pub fn from_slice(device: &CudaDevice, values: &[T]) -> Result<CudaBuffer<T>> {
        let mut buffer = CudaBuffer::uninit(device, values.len())?;
        buffer.copy_from_slice(values)?;
        Ok(buffer)
    }

    /// Sets every value to 0. This may be part of a graph.
    ///
    /// # Errors
    /// [`CudaError::Driver`](super::CudaError::Driver) if the driver fails.
    pub fn fill_zeros(&mut self) -> Result<()> {
        let (stream, what) = (self.device().stream(), "clearing device memory");
        stream.context().bind_to_thread().doing(what)?;
        self.device().capture().record(what, &[&self.memory], || {
            // SAFETY: the buffer has these bytes, and it is borrowed for writing.
            unsafe { result::memset_d8_async(self.address, 0, self.bytes(), stream.cu_stream()) }
                .doing(what)
        })
    }

    /// Copies `values` to the device.
    ///
    /// # Errors
    /// [`CudaError::Kernel`](super::CudaError::Kernel) unless `values` is as long as the buffer;
    /// [`CudaError::Capturing`](super::CudaError::Capturing) in a capture; the driver's errors.
    pub fn copy_from_slice(&mut self, values: &[T]) -> Result<()> {
        check_len("copy to the device", "values", self.len, values.len())?;
        let (stream, what) = (self.device().stream(), "copying from the host");
        stream.context().bind_to_thread().doing(what)?;
        self.device().capture().submit(what, || {
            // SAFETY: both sides have these bytes. From memory that is not pinned, the driver has
            // read all of them when the call returns.
            unsafe { result::memcpy_htod_async(self.address, values, stream.cu_stream()) }
                .doing(what)
        })
    }

    /// Copies the values to the host, once the device has done all it was told before.
    ///
    /// # Errors
    /// [`CudaError::Kernel`](super::CudaError::Kernel) unless `values` is as long as the buffer;
    /// [`CudaError::Driver`](super::CudaError::Driver), also with the error of an earlier kernel;
    /// [`CudaError::Capturing`](super::CudaError::Capturing) in a capture.
    pub fn copy_to_slice(&self, values: &mut [T]) -> Result<()> {
        check_len("copy to the host", "values", self.len, values.len())?;
        let (stream, what) = (self.device().stream(), "copying to the host");
        stream.context().bind_to_thread().doing(what)?;
        self.device().capture().submit(what, || {
            // SAFETY: both sides have these bytes, and every bit pattern is a value.
            unsafe { result::memcpy_dtoh_async(values, self.address, stream.cu_stream()) }
                .doing(what)?;
            stream.synchronize().doing(what)
        })
    }

    /// Returns the values, once the device has done all it was told before.
    ///
    /// # Errors
    /// Fails as [`copy_to_slice`](Self::copy_to_slice) does.
    pub fn to_vec(&self) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); self.len];
        self.copy_to_slice(&mut values)?;
        Ok(values)
    }

    fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }
}

impl<T> CudaBuffer<T> {
    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the device that holds the buffer.
    #[must_use]
    pub fn device(&self) -> &CudaDevice {
        &self.memory.device
    }

    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl<T> fmt::Debug for CudaBuffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaBuffer<{}>({})", std::any::type_name::<T>(), self.len)
    }
}
