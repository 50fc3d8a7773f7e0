//! The CUDA sources under NVIDIA's compilers, which `scripts/cuda-toolchain.sh` installs; no GPU is
//! needed. Without the compilers these tests print SKIPPED and the reason.

mod nvrtc;
mod resources;
mod toolchain;
