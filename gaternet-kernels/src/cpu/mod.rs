//! CPU kernels. Each file or folder is one op; hot loops exist once per instruction set ([`isa`]).

pub mod adamw;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod elementwise;
pub mod ema;
pub mod gate;
pub mod global_avg_pool;
pub mod isa;
pub mod linear;
pub mod max_pool2d;
pub mod pad;
mod parallel;
mod reduce;
pub mod relu;
mod scratch;
pub mod sgd;
pub mod shake_shake;
mod shared_slice;
pub mod sigmoid;
mod simd;
mod windows;
