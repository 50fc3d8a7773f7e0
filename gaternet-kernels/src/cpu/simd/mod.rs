//! The instruction sets, each with a folder of its own: vectors of f32, vectors of pairs of bf16,
//! and the table of the kernels that are made of them.
//!
//! A folder has up to three files. `vectors.rs`: `V`, `LANES`, `zero`, `load`, `splat`, `add`,
//! `sub`, `mul`, `fmadd`, `relu`, `store`, `store_lanes`; loads and stores in parts of eight lanes;
//! and `interleave` and `deinterleave` of tiles of 2 and 4 pixels. `pairs.rs`: `W`, `load`,
//! `splat`, `store`, `round` and `fmadd` of pairs of bf16, as many as `V` has lanes. `mod.rs`: the
//! [`KernelSet`], whose kernels are written once, as macros beside the ops that call them, and
//! compiled over these vectors with the tile sizes that suit the registers.
//!
//! **Another instruction set** is a folder, and a row of [`SETS`]. (Bodies that the compiler
//! vectorises by itself, as [`dispatch`](super::isa::dispatch) compiles them, need one of
//! [`Features`] if those that exist leave something out.)
//!
//! In memory a pair has the place of an f32, which is only moved, never computed with; its first
//! number is in the upper half, which the bf16 instructions of x86-64 add first. So sums run over
//! channels in one order, however they are paired. All pairs give the same bits, since a product of
//! two bf16 is exact in f32, fused or not, but that `avx512bf16` reads and gives numbers below the
//! normal ones (1.2e-38) as 0, as its instructions do; the others keep them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod kernel_set;
#[cfg(any(target_arch = "aarch64", test))]
mod neon;
mod scalar;

pub(crate) use kernel_set::{Features, KernelSet};

/// All sets that were compiled, slowest first; any processor has the first.
pub(super) static SETS: &[&KernelSet] = &[
    &scalar::KERNELS,
    #[cfg(any(target_arch = "aarch64", test))]
    &neon::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &avx2::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &avx512::KERNELS,
    #[cfg(target_arch = "x86_64")]
    &avx512bf16::KERNELS,
];
