//! A weight that is trained in f32 and read in another type.

use half::bf16;

use super::buffer::CudaBuffer;
use super::convert;
use super::device::CudaDevice;
use super::error::Result;
use super::planes::Activation;

/// A parameter in f32, and what kernels on activations of T read: the parameter itself, or its copy
/// in bf16.
#[derive(Debug)]
pub struct Weight<T> {
    /// The parameter.
    pub master: CudaBuffer<f32>,
    /// Rounded to bf16, if that is T; [`Sgd::step`](super::sgd::Sgd::step) keeps it up to date.
    pub copy: Option<CudaBuffer<bf16>>,
    of: std::marker::PhantomData<T>,
}

impl<T: Activation> Weight<T> {
    /// A parameter with these values.
    ///
    /// # Errors
    /// As [`CudaBuffer::from_slice`].
    pub fn new(device: &CudaDevice, values: &[f32]) -> Result<Weight<T>> {
        let master = CudaBuffer::from_slice(device, values)?;
        let copy = if T::F32 { None } else { Some(CudaBuffer::uninit(device, values.len())?) };
        let mut weight = Weight { master, copy, of: std::marker::PhantomData };
        weight.refresh()?;
        Ok(weight)
    }

    /// Other values.
    ///
    /// # Errors
    /// As [`CudaBuffer::copy_from_slice`].
    pub fn set(&mut self, values: &[f32]) -> Result<()> {
        self.master.copy_from_slice(values)?;
        self.refresh()
    }

    /// What kernels read.
    #[must_use]
    pub fn values(&self) -> &CudaBuffer<T> {
        T::of_weight(&self.master, self.copy.as_ref())
    }

    fn refresh(&mut self) -> Result<()> {
        self.copy.as_mut().map_or(Ok(()), |copy| convert::to_bf16(&self.master, copy))
    }
}
