//! What an example says beside its results.

use std::fmt::Display;
use std::io::{Write, stderr};

/// A line on stderr. Nothing happens if nobody can read it: a run does not end because its terminal
/// did.
pub fn note(line: impl Display) {
    let _ = writeln!(stderr(), "{line}");
}
