//! The device that the tests run on: the emulator of gaternet-kernels, or a GPU.

use gaternet_kernels::cuda::{CudaDevice, CudaOptions};
use gaternet_kernels::test_support::driver::{Driver, real};

static EMULATOR: Driver = Driver::sound(env!("CARGO_TARGET_TMPDIR"));

/// `None`, with the reason on stdout, if there can be none.
pub(crate) fn device() -> Option<CudaDevice> {
    if !EMULATOR.has_device() {
        return None;
    }
    // A machine with a GPU may have prebuilt kernels and no compiler.
    let options = if real() { CudaOptions::from_env(0) } else { CudaOptions::default() };
    let device = CudaDevice::with_options(options).expect("a device");
    assert!(real() || device.name() == "emulator", "a driver was found before the emulator");
    Some(device)
}
