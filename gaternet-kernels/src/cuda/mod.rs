//! Kernels for NVIDIA GPUs. Needs no CUDA to build: the driver and the compiler are loaded when they are used.

pub mod compile;
