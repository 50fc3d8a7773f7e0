//! The device that the tests run on: the emulator of gaternet-kernels, or a GPU.

use gaternet_kernels::cuda::{CudaDevice, CudaOptions};
use gaternet_kernels::test_support::driver::{Driver, real};

use crate::faults::patches;

/// With the faults of `faults/`.
pub(crate) static EMULATOR: Driver = Driver::new(env!("CARGO_TARGET_TMPDIR"), patches);

/// The device; `None`, with the reason on stdout, if there can be none.
pub(crate) fn device() -> Option<CudaDevice> {
    device_with(options())
}

/// A machine with a GPU may have prebuilt kernels and no compiler.
pub(crate) fn options() -> CudaOptions {
    if real() { CudaOptions::from_env(0) } else { CudaOptions::default() }
}

/// The same, opened with `options`.
pub(crate) fn device_with(options: CudaOptions) -> Option<CudaDevice> {
    if !EMULATOR.has_device() {
        return None;
    }
    let device = CudaDevice::with_options(options).expect("a device");
    assert!(
        real() || device.name() == "emulator",
        "a real driver was found instead of the emulator"
    );
    Some(device)
}
