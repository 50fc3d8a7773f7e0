//! Which instruction set the hot loops use: detected once, lowered by `GATERNET_ISA`.

use std::fmt;
use std::sync::OnceLock;

use crate::error::{KernelError, Result};

/// The levels, slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Portable Rust.
    Scalar,
    /// AVX2 and FMA, 8 lanes.
    Avx2,
    /// AVX-512 (F, VL, BW, DQ), 16 lanes.
    Avx512,
    /// The same with AVX512-BF16.
    Avx512Bf16,
}

/// An instruction set this machine has. A value exists only for a set that was detected, so
/// holding one is the proof that its kernels may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Level);

const NAMES: [(&str, Level); 4] = [
    ("scalar", Level::Scalar),
    ("avx2", Level::Avx2),
    ("avx512", Level::Avx512),
    ("avx512bf16", Level::Avx512Bf16),
];

impl Isa {
    /// The set the library uses: the best of this machine, or the lower one that the environment
    /// variable `GATERNET_ISA` (`scalar`, `avx2`, `avx512`, `avx512bf16`) names. Read once per process.
    ///
    /// # Errors
    /// [`KernelError::Isa`] if the variable holds another word or a set this machine lacks.
    pub fn current() -> Result<Isa> {
        static CURRENT: OnceLock<Result<Isa>> = OnceLock::new();
        CURRENT
            .get_or_init(|| {
                let isa = match std::env::var("GATERNET_ISA") {
                    Ok(name) => Isa::named(&name)?,
                    Err(_) => Isa(detect()),
                };
                tracing::debug!(%isa, "instruction set of the CPU kernels");
                Ok(isa)
            })
            .clone()
    }

    /// Every set this machine has, slowest first.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        let best = detect();
        NAMES.iter().filter(|(_, level)| *level <= best).map(|(_, level)| Isa(*level)).collect()
    }

    /// The set called `name`.
    ///
    /// # Errors
    /// [`KernelError::Isa`] if there is no such set or this machine lacks it.
    pub fn named(name: &str) -> Result<Isa> {
        let fail = |rule: String| KernelError::Isa { name: name.to_owned(), rule };
        let Some((_, level)) = NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(fail(
                "must be scalar, avx2, avx512 or avx512bf16 (GATERNET_ISA)".to_owned(),
            ));
        };
        let best = detect();
        if *level > best {
            return Err(fail(format!("this machine has no more than {}", Isa(best))));
        }
        Ok(Isa(*level))
    }

    /// The level of kernels that have no products of bf16: at most [`Level::Avx512`].
    pub(crate) fn level(self) -> Level {
        self.0.min(Level::Avx512)
    }

    /// The level of kernels that have.
    pub(crate) fn bf16_level(self) -> Level {
        self.0
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, _) = NAMES[self.0 as usize];
        f.write_str(name)
    }
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Level {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    let bf16 = is_x86_feature_detected!("avx512bf16");
    match (avx2, avx512) {
        (_, true) if bf16 => Level::Avx512Bf16,
        (_, true) => Level::Avx512,
        (true, false) => Level::Avx2,
        (false, false) => Level::Scalar,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Level {
    Level::Scalar
}

/// Compiles one safe, `#[inline(always)]` body once per instruction set, so that the
/// auto-vectoriser may use all of it, and calls the version for `isa`.
///
/// `dispatch!(isa, body(a: T, b: U) -> R)` expects `body` in scope and `a`, `b` as local names.
macro_rules! dispatch {
    ($isa:expr, $body:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)?) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        fn avx512($($arg: $ty),*) $(-> $ret)? { $body($($arg),*) }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        #[allow(clippy::too_many_arguments)]
        fn avx2($($arg: $ty),*) $(-> $ret)? { $body($($arg),*) }
        match $crate::cpu::isa::Isa::level($isa) {
            // SAFETY: an `Isa` of this level exists only where the features were detected.
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::isa::Level::Avx512 => unsafe { avx512($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::isa::Level::Avx2 => unsafe { avx2($($arg),*) },
            _ => $body($($arg),*),
        }
    }};
}
pub(crate) use dispatch;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalar_is_always_there_and_names_round_trip() {
        let all = Isa::available();
        assert_eq!(all[0], Isa::named("scalar").expect("portable code runs everywhere"));
        for isa in all {
            assert_eq!(Isa::named(&isa.to_string()), Ok(isa));
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_choices() {
        let error = Isa::named("sse9").expect_err("no such set").to_string();
        assert!(error.contains("sse9") && error.contains("avx512"), "{error}");
    }
}
