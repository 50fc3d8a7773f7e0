//! The instruction set that the hot loops use: detected once, lowered by `GATERNET_ISA`.

use std::fmt;
use std::sync::OnceLock;

use super::simd::{KernelSet, SETS};
use crate::error::{KernelError, Result};

/// An instruction set this machine has. A value exists only for a set that was detected, so
/// holding one is the proof that its kernels may be called. Sets are ordered from slow to fast.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Isa {
    /// The number of the set in [`SETS`].
    number: usize,
}

impl Isa {
    /// Returns the set that the library uses: the best of this machine, or the lower one that the
    /// environment variable `GATERNET_ISA` names (`scalar`; `avx2`, `avx512` or `avx512bf16` on
    /// x86-64, `neon` on aarch64). The variable is read once per process.
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

    /// Returns every set this machine has, slowest first.
    #[must_use]
    pub fn available() -> Vec<Isa> {
        let numbers = (0..SETS.len()).filter(|number| (SETS[*number].detected)());
        numbers.map(|number| Isa { number }).collect()
    }

    /// Returns the set called `name`.
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

    /// Returns the kernels of the set, which may be called.
    pub(crate) fn kernels(self) -> &'static KernelSet {
        SETS[self.number]
    }
}

/// Writes the name, as in `GATERNET_ISA`.
impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kernels().name)
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Isa").field(&self.kernels().name).finish()
    }
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
        match $crate::cpu::isa::Isa::kernels($isa).features {
            // SAFETY: an `Isa` with these features exists only where they were detected.
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::simd::Features::Avx512 => unsafe { avx512($($arg),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            $crate::cpu::simd::Features::Avx2 => unsafe { avx2($($arg),*) },
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
