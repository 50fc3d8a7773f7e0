//! Vectors of pairs of bf16 and their sums of two products, as modules of equal shape for each instruction
//! set, beside the vectors of f32 with as many lanes.
//!
//! Every module has `W`, `load`, `splat`, `store`, `round` and `fmadd`. In memory a pair has the place of an
//! f32, which is only moved, never computed with; its first number is in the lower half.
//!
//! [`avx512bf16`] computes with the processor's bf16 instructions, which read and give numbers below the
//! normal ones (1.2e-38) as 0. The others split a pair into two f32, keep such numbers, and give
//! the same bits as each other: a product of two bf16 is exact in f32, so that it does not matter whether the
//! multiply-add is fused.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512bf16;
pub(crate) mod scalar;
