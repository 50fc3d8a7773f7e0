//! The emulator in the process of the tests.

use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use libloading::Library;

use super::emulator::{Emulator, Patch, can_build};
use super::skip::skipped;

/// Returns whether the tests are to run on a GPU (`GATERNET_CUDA=real`).
#[must_use]
pub fn real() -> bool {
    std::env::var_os("GATERNET_CUDA").is_some_and(|value| value == "real")
}

/// The device of a test program: a GPU, if that is asked for, or else the emulator.
pub struct Driver {
    emulator: Emulator,
    /// The stand-in for the driver, or the reason why there is none.
    installed: OnceLock<Result<Library, String>>,
}

impl Driver {
    /// Builds the emulator in the folder that Cargo calls `CARGO_TARGET_TMPDIR`, with faults that
    /// can be planted.
    #[must_use]
    pub const fn new(folder: &'static str, patches: fn() -> Vec<&'static Patch>) -> Driver {
        Driver { emulator: Emulator::new(folder, patches), installed: OnceLock::new() }
    }

    /// Builds the emulator without faults.
    #[must_use]
    pub const fn sound(folder: &'static str) -> Driver {
        Driver { emulator: Emulator::sound(folder), installed: OnceLock::new() }
    }

    /// Opens the emulator as the driver and as the compiler. Returns false where it cannot be
    /// built, and the test is [skipped].
    ///
    /// # Panics
    /// If it does not compile.
    pub fn install(&self) -> bool {
        let result = self.installed.get_or_init(|| {
            can_build()?;
            let [driver, compiler] = self.emulator.build().map(|path| {
                // SAFETY: our own library; its initialisers only fill a table of kernels.
                unsafe { Library::new(&path) }.expect("the emulator can be opened")
            });
            std::mem::forget(compiler);
            Ok(driver)
        });
        if let Err(reason) = result {
            skipped("emulator", reason);
        }
        result.is_ok()
    }

    /// Returns whether there is a device to run on: a GPU, if that is asked for, or else the
    /// emulator.
    ///
    /// # Panics
    /// Panics as [`install`](Self::install) does.
    pub fn has_device(&self) -> bool {
        real() || self.install()
    }

    /// Plants the fault of this name in the modules that this thread loads from now on.
    ///
    /// # Panics
    /// If the emulator is not installed.
    #[must_use]
    pub fn plant(&self, fault: &str) -> Planted<'_> {
        self.tell(fault);
        Planted(self)
    }

    fn tell(&self, fault: &str) {
        let installed = self.installed.get().and_then(|result| result.as_ref().ok());
        let fault = CString::new(fault).expect("no zero in it");
        // SAFETY: the emulator's function, which copies the string.
        unsafe {
            let driver = installed.expect("the emulator is installed");
            let plant = driver.get::<unsafe extern "C" fn(*const c_char)>(b"emulator_plant\0");
            plant.expect("a function of the emulator")(fault.as_ptr());
        }
    }
}

/// While it lives, modules that this thread loads have the fault.
pub struct Planted<'a>(&'a Driver);

impl Drop for Planted<'_> {
    fn drop(&mut self) {
        self.0.tell("");
    }
}
