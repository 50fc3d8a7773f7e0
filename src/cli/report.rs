//! How an example writes its results, and how it ends.

use std::fmt;
use std::io::{self, ErrorKind, Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use gaternet_kernels::DeviceError;

use crate::cli::note::note;

/// A line on stdout, of what `format!` takes: `say!("{x}")?`. `Err` if it cannot be written.
#[doc(hidden)]
#[macro_export]
macro_rules! __say {
    ($($line:tt)*) => {
        $crate::cli::report::write_line(format_args!($($line)*))
    };
}
#[doc(inline)]
pub use __say as say;

/// Stdout cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct OutputError(#[from] io::Error);

/// What [`say!`](say) does.
///
/// # Errors
/// If stdout cannot be written.
pub fn write_line(line: fmt::Arguments<'_>) -> Result<(), OutputError> {
    // With its end at once: a reader that leaves after this line is met by the next one.
    Ok(writeln!(stdout(), "{line}")?)
}

/// 0, also if the reader of stdout left before the end, as `head` does; or, with the error and its
/// causes on one line of stderr, 2 if the device is not there and 1 otherwise.
pub fn exit_code(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    match error.downcast_ref() {
        Some(OutputError(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        _ => {
            note(format_args!("error: {error:#}"));
            if error.is::<DeviceError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
