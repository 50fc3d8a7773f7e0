//! How an example writes its results, and how it ends.

use std::fmt;
use std::io::{self, ErrorKind, Write, stdout};
use std::process::ExitCode;

use anyhow::Result;
use gaternet::kernels::DeviceError;

use super::note::note;

/// A line on stdout, of what `format!` takes: `say!("{x}")?`. `Err` if it cannot be written.
macro_rules! say {
    ($($line:tt)*) => {
        $crate::report::write_line(format_args!($($line)*))
    };
}
pub(crate) use say;

/// Stdout cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputError(#[from] io::Error);

/// What `say!` does.
pub(crate) fn write_line(line: fmt::Arguments<'_>) -> Result<(), OutputError> {
    // With its end at once: a reader that leaves after this line is met by the next one.
    Ok(writeln!(stdout(), "{line}")?)
}

/// 0, also if the reader of stdout left before the end, as `head` does; or, with the error and its
/// causes on one line of stderr, 2 if the device is not there and 1 otherwise.
pub(crate) fn exit_code(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    match error.downcast_ref() {
        Some(OutputError(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        _ => {
            note(format_args!("error: {error:#}"));
            if error.is::<DeviceError>() { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}
