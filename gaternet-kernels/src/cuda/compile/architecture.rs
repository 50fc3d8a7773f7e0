//! What machine code is compiled for.

use std::fmt;
use std::str::FromStr;

use super::error::{CompileError, Result};

/// An architecture of GPUs: `sm_90` is that of compute capability 9.0. The `a` of `sm_90a` stands for code that uses
/// instructions of this one alone (wgmma) and runs on no other.
///
/// Source: CUDA C++ Programming Guide, "Compute Capabilities" and "Feature Availability".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Architecture {
    major: u8,
    minor: u8,
    specific: bool,
}

impl Architecture {
    /// A100; its code runs on every device of major version 8.
    pub const SM_80: Architecture = Architecture::new(8, 0, false);
    /// H100, H200.
    pub const SM_90: Architecture = Architecture::new(9, 0, false);
    /// H100, H200 with wgmma.
    pub const SM_90A: Architecture = Architecture::new(9, 0, true);
    /// B200.
    pub const SM_100: Architecture = Architecture::new(10, 0, false);

    const fn new(major: u8, minor: u8, specific: bool) -> Architecture {
        Architecture { major, minor, specific }
    }

    /// That of a device of compute capability `(major, minor)`.
    ///
    /// # Errors
    /// [`CompileError::TooOld`] below 8.0, where bf16 products and asynchronous copies are missing.
    pub fn of_device(compute_capability: (i32, i32)) -> Result<Architecture> {
        let (major, minor) = compute_capability;
        match (u8::try_from(major), u8::try_from(minor)) {
            (Ok(major), Ok(minor)) if major >= 8 && minor < 10 => {
                Ok(Architecture::new(major, minor, false))
            }
            _ => Err(CompileError::TooOld { compute_capability }),
        }
    }

    /// The architectures whose code a device of this one runs, best first: itself and, unless it is specific, the
    /// lower minor versions of the same major version.
    pub(super) fn runs(self) -> impl Iterator<Item = Architecture> {
        let lowest = if self.specific { self.minor } else { 0 };
        (lowest..=self.minor)
            .rev()
            .map(move |minor| Architecture::new(self.major, minor, self.specific))
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = if self.specific { "a" } else { "" };
        write!(f, "sm_{}{}{suffix}", self.major, self.minor)
    }
}

impl FromStr for Architecture {
    type Err = CompileError;

    /// Reads `sm_90`, `sm_90a`, ...
    fn from_str(text: &str) -> Result<Architecture> {
        let parse = || {
            let number = text.strip_prefix("sm_")?;
            let (number, specific) =
                number.strip_suffix('a').map_or((number, false), |number| (number, true));
            let number: u8 = number.parse().ok().filter(|number| *number >= 80)?;
            let architecture = Architecture::new(number / 10, number % 10, specific);
            (architecture.to_string() == text).then_some(architecture)
        };
        parse().ok_or_else(|| CompileError::UnknownArchitecture { name: text.to_owned() })
    }
}
