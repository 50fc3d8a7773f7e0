//! One vector type and the same few operations for each instruction set, as modules of equal shape,
//! so that a register-tile kernel is written once (as a macro) and compiled for each of them.
//!
//! Every module has `V`, `LANES`, `zero`, `load`, `splat`, `add`, `sub`, `mul`, `fmadd`, `relu`, `store`,
//! `store_lanes`; loads and stores in parts of eight lanes; and `interleave` and `deinterleave` of tiles
//! of 2 and 4 pixels.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod bf16;
#[cfg(any(target_arch = "aarch64", test))]
pub(crate) mod neon;
#[cfg(test)]
mod neon_model;
pub(crate) mod scalar;
