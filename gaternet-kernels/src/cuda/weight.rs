//! Weights that are trained in f32 and read in another type.

use half::bf16;

use super::buffer::CudaBuffer;
use super::convert;
use super::device::CudaDevice;
use super::error::Result;
use super::planes::Activation;

/// A parameter in f32, with a copy in bf16 if kernels on activations of T read that.
#[derive(Debug)]
pub struct Weight<T> {
    /// The parameter, which is trained.
    pub master: CudaBuffer<f32>,
    /// The parameter rounded to bf16, if that is T; [`Sgd::step`](super::sgd::Sgd::step) keeps it
    /// up to date.
    pub copy: Option<CudaBuffer<bf16>>,
    of: std::marker::PhantomData<T>,
}

impl<T: Activation> Weight<T> {
    /// Makes a parameter with these values.
    ///
    /// # Errors
    /// Fails as [`CudaBuffer::from_slice`] does.
    pub fn new(device: &CudaDevice, values: &[f32]) -> Result<Weight<T>> {
        let master = CudaBuffer::from_slice(device, values)?;
        let copy = if T::F32 { None } else { Some(CudaBuffer::uninit(device, values.len())?) };
        let mut weight = Weight { master, copy, of: std::marker::PhantomData };
        weight.refresh()?;
        Ok(weight)
    }

    /// Sets other values from the host.
    ///
    /// # Errors
    /// Fails as [`CudaBuffer::copy_from_slice`] does.
    pub fn set(&mut self, values: &[f32]) -> Result<()> {
        self.master.copy_from_slice(values)?;
        self.refresh()
    }

    /// Returns the values that kernels read.
    #[must_use]
    pub fn values(&self) -> &CudaBuffer<T> {
        T::of_weight(&self.master, self.copy.as_ref())
    }

    fn refresh(&mut self) -> Result<()> {
        self.copy.as_mut().map_or(Ok(()), |copy| convert::to_bf16(&self.master, copy))
    }
}
