//! One vector type and the same few operations for each instruction set, as modules of equal shape,
//! so that a register-tile kernel is written once (as a macro) and compiled for each of them.
//!
//! Every module has `V`, `LANES`, `zero`, `load`, `splat`, `fmadd`, `store`, `store_lanes`.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod scalar;
