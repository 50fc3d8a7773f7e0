//! Which instruction set the hot loops use: detected once, lowered by `GATERNET_ISA`.

use std::fmt;
use std::sync::OnceLock;

use crate::error::{KernelError, Result};

/// The levels, slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Portable Rust.
    Scalar,
    /// NEON, twice 4 lanes. In tests on other processors, a model of its intrinsics.
    #[cfg(any(target_arch = "aarch64", test))]
    Neon,
    /// AVX2 and FMA, 8 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX-512 (F, VL, BW, DQ), 16 lanes.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The same with AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

/// An instruction set this machine has. A value exists only for a set that was detected, so
/// holding one is the proof that its kernels may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa(Level);

impl Isa {
    /// The set the library uses: the best of this machine, or the lower one that the environment
    /// variable `GATERNET_ISA` names (`scalar`; `avx2`, `avx512` or `avx512bf16` on x86-64, `neon` on
    /// aarch64). Read once per process.
    ///
    /// # Errors
    /// [`KernelError::Isa`] if the variable holds another word or a set this machine lacks.
    pub fn current() -> Result<Isa> {
        static CURRENT: OnceLock<Result<Isa>> = OnceLock::new();
        CURRENT
            .get_or_init(|| {
                let isa = match std::env::var("GATERNET_ISA") {
                    Ok(name) => Isa::named(&name)?,
                    Err(_) => *Isa::available().last().expect("portable code runs everywhere"),
                };
                #[cfg(feature = "tracing")]
                tracing::debug!(%isa, "instruction set of the CPU kernels");
                Ok(isa)
            })
            .clone()
    }

    /// Every set this machine has, slowest first.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        detect().into_iter().map(Isa).collect()
    }

    /// The set called `name`.
    ///
    /// # Errors
    /// [`KernelError::Isa`] if there is no such set or this machine lacks it.
    pub fn named(name: &str) -> Result<Isa> {
        let available = Isa::available();
        available.iter().copied().find(|isa| isa.to_string() == name).ok_or_else(|| {
            let names: Vec<_> = available.iter().map(Isa::to_string).collect();
            KernelError::Isa {
                name: name.to_owned(),
                rule: format!("GATERNET_ISA must be one of this machine's: {}", names.join(", ")),
            }
        })
    }

    /// The level of kernels of f32, for which AVX512-BF16 is AVX-512.
    pub(crate) fn level(self) -> Level {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => Level::Avx512,
            level => level,
        }
    }

    /// The level of kernels of bf16.
    pub(crate) fn bf16_level(self) -> Level {
        self.0
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Level::Scalar => "scalar",
            #[cfg(any(target_arch = "aarch64", test))]
            Level::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx512Bf16 => "avx512bf16",
        })
    }
}

/// Slowest first.
#[cfg(target_arch = "x86_64")]
fn detect() -> Vec<Level> {
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    let avx512 = avx2
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq");
    let levels = [
        (Level::Scalar, true),
        #[cfg(test)]
        (Level::Neon, true),
        (Level::Avx2, avx2),
        (Level::Avx512, avx512),
        (Level::Avx512Bf16, avx512 && is_x86_feature_detected!("avx512bf16")),
    ];
    levels.into_iter().filter(|(_, here)| *here).map(|(level, _)| level).collect()
}

/// Slowest first.
#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Vec<Level> {
    vec![
        Level::Scalar,
        // Every aarch64 processor that runs std has it.
        #[cfg(any(target_arch = "aarch64", test))]
        Level::Neon,
    ]
}

/// Compiles one safe, `#[inline(always)]` body once per instruction set, so that the
/// auto-vectoriser may use all of it, and calls the version for `isa`. NEON needs none of its own:
/// on aarch64 all code is compiled for it.
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
        let names: Vec<_> = Isa::available().iter().map(Isa::to_string).collect();
        assert!(error.contains("sse9") && error.contains(&names.join(", ")), "{error}");
    }
}
