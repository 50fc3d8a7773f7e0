//! CPU kernels. Each file is one op; hot loops exist once per instruction set ([`isa`]).

pub mod conv2d;
pub mod isa;
mod scratch;
pub mod sgd;
mod simd;
