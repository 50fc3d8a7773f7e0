//! A GPU, found without a panic, with one stream on which all its work is done in order.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{CUdevice_attribute, CUfunction_attribute};
use cudarc::driver::{CudaContext, CudaFunction, CudaModule, CudaStream, result, sys};

use super::capture::CaptureLock;
use super::compile::Compiler;
use super::error::{CudaError, Doing, Result};
use super::options::{CudaOptions, Products};
use super::source::Source;

/// An NVIDIA GPU. Clones are the same device and the same stream.
#[derive(Clone)]
pub struct CudaDevice(Arc<Inner>);

struct Inner {
    name: String,
    ordinal: usize,
    capability: (i32, i32),
    max_shared_bytes: usize,
    multiprocessors: usize,
    products: Products,
    compiler: Compiler,
    modules: Mutex<HashMap<&'static str, Arc<CudaModule>>>,
    functions: Mutex<HashMap<(&'static str, &'static str), CudaFunction>>,
    capture: CaptureLock,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
}

impl CudaDevice {
    /// Opens GPU `ordinal`, from 0, with [`CudaOptions::from_env`].
    ///
    /// # Errors
    /// [`CudaError::NoDriver`], [`CudaError::DriverTooOld`], [`CudaError::NoDevice`] or
    /// [`CudaError::DeviceTooOld`] if the device cannot be used, [`CudaError::Driver`] if the
    /// driver fails.
    pub fn new(ordinal: usize) -> Result<CudaDevice> {
        CudaDevice::with_options(CudaOptions::from_env(ordinal))
    }

    /// Opens the GPU that `options` names.
    ///
    /// # Errors
    /// Fails as [`new`](Self::new) does.
    pub fn with_options(options: CudaOptions) -> Result<CudaDevice> {
        let ordinal = options.ordinal;
        // cudarc panics at the first call of a library that is not there, so look first.
        // SAFETY: loads libcuda, whose initialisers are the driver's.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver);
        }
        match result::init() {
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => {
                return Err(CudaError::NoDevice { ordinal, count: 0 });
            }
            other => other.doing("starting the driver")?,
        }
        let mut version = 0;
        // SAFETY: writes one int.
        unsafe { sys::cuDriverGetVersion(&raw mut version) }
            .result()
            .doing("asking for the driver's version")?;
        if version < 12000 {
            return Err(CudaError::DriverTooOld {
                major: version / 1000,
                minor: version % 1000 / 10,
            });
        }
        let count = CudaContext::device_count().doing("counting the devices")?;
        let count = usize::try_from(count).unwrap_or(0);
        if ordinal >= count {
            return Err(CudaError::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).doing("opening the device")?;
        let name = context.name().doing("asking for the device's name")?;
        let capability = context.compute_capability().doing("asking for the compute capability")?;
        if capability < (8, 0) {
            return Err(CudaError::DeviceTooOld { name, major: capability.0, minor: capability.1 });
        }
        // With one stream there is nothing to track, and its events could not be captured in a
        // graph. SAFETY: all work of the context is on the one stream made here.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().doing("making a stream")?;
        let attribute = |which, what| -> Result<usize> {
            Ok(usize::try_from(context.attribute(which).doing(what)?).unwrap_or(0))
        };
        let max_shared_bytes = attribute(
            CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            "asking for the size of shared memory",
        )?;
        let multiprocessors = attribute(
            CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            "asking for the number of multiprocessors",
        )?;
        tracing::debug!(name, ?capability, "CUDA device {ordinal}");
        Ok(CudaDevice(Arc::new(Inner {
            name,
            ordinal,
            capability,
            max_shared_bytes,
            multiprocessors,
            products: options.products,
            compiler: Compiler::new(capability, &options),
            modules: Mutex::default(),
            functions: Mutex::default(),
            capture: CaptureLock::default(),
            stream,
            context,
        })))
    }

    /// Returns the driver's name for the device.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the number of the device, from 0.
    #[must_use]
    pub fn ordinal(&self) -> usize {
        self.0.ordinal
    }

    /// Returns the compute capability as (major, minor), such as (9, 0) for Hopper.
    #[must_use]
    pub fn compute_capability(&self) -> (i32, i32) {
        self.0.capability
    }

    /// Returns the bytes of shared memory that a block can have.
    #[must_use]
    pub fn max_shared_bytes(&self) -> usize {
        self.0.max_shared_bytes
    }

    /// Returns the number of multiprocessors.
    #[must_use]
    pub fn multiprocessors(&self) -> usize {
        self.0.multiprocessors
    }

    /// Waits until the device has done all it was told. Errors of kernels are reported here.
    ///
    /// # Errors
    /// [`CudaError::Driver`] with the error of an earlier kernel; [`CudaError::Capturing`] in a
    /// capture.
    pub fn synchronize(&self) -> Result<()> {
        let what = "waiting for the device";
        self.capture().submit(what, || self.0.stream.synchronize().doing(what))
    }

    pub(super) fn products(&self) -> Products {
        self.0.products
    }

    /// Returns whether `other` is this device with this stream.
    pub(super) fn is(&self, other: &CudaDevice) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.0.stream
    }

    pub(super) fn capture(&self) -> &CaptureLock {
        &self.0.capture
    }

    /// Returns a kernel, which is compiled and loaded the first time it is asked for.
    pub(super) fn function(
        &self,
        source: &'static Source,
        name: &'static str,
    ) -> Result<CudaFunction> {
        let key = (source.file, name);
        if let Some(function) = lock(&self.0.functions).get(&key) {
            return Ok(function.clone());
        }
        let function = self.capture().submit("loading a kernel", || self.load(source, name))?;
        lock(&self.0.functions).insert(key, function.clone());
        Ok(function)
    }

    fn load(&self, source: &'static Source, name: &'static str) -> Result<CudaFunction> {
        let function =
            self.module(source)?.load_function(name).doing("finding a kernel in its module")?;
        let shared = i32::try_from(self.0.max_shared_bytes).unwrap_or(0);
        function
            .set_attribute(
                CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                shared,
            )
            .doing("asking for all of shared memory")?;
        Ok(function)
    }

    fn module(&self, source: &'static Source) -> Result<Arc<CudaModule>> {
        // Held while compiling, so that two threads do not compile the same.
        let mut modules = lock(&self.0.modules);
        if let Some(module) = modules.get(source.file) {
            return Ok(module.clone());
        }
        let module = self.0.compiler.load(&self.0.context, source)?;
        modules.insert(source.file, module.clone());
        Ok(module)
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaDevice({}, {})", self.0.ordinal, self.0.name)
    }
}

/// Locks a mutex whose data is whole whenever it is released, by a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
