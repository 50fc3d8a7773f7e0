//! Vectors of pairs of bf16 and their sums of two products, as modules of equal shape for each instruction
//! set, beside the vectors of f32 with as many lanes.
//!
//! Every module has `W`, `load`, `splat`, `store`, `round` and `fmadd`. In memory a pair has the place of an
//! f32, which is only moved, never computed with; its first number is in the upper half, which the bf16
//! instructions of x86-64 add first. So sums run over channels in one order, however they are paired.
//!
//! All give the same bits, since a product of two bf16 is exact in f32, fused or not, but that [`avx512bf16`]
//! reads and gives numbers below the normal ones (1.2e-38) as 0, as its instructions do; the others keep them.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512bf16;
pub(crate) mod scalar;
