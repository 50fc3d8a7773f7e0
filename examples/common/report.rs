//! How an example ends.

use std::process::ExitCode;

use anyhow::Result;
use gaternet::kernels::DeviceError;

/// 0; or, with the error and its causes on one line of stderr, 2 if the device is not there and 1 otherwise.
pub(crate) fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<DeviceError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
