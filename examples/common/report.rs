//! How an example ends.

use std::process::ExitCode;

use anyhow::Result;

/// 0, or 1 with the error and its causes on one line of stderr.
pub(crate) fn exit_code(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
