//! CPU kernels. Each file is one op; hot loops exist once per instruction set ([`isa`]).

pub mod adamw;
pub mod batch_norm;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod elementwise;
pub mod gate;
pub mod isa;
pub mod linear;
pub mod max_pool;
pub mod mix;
pub mod pad;
mod parallel;
pub mod pool;
mod reduce;
pub mod relu;
mod scratch;
pub mod sgd;
mod shared_slice;
pub mod sigmoid;
mod simd;
