//! CPU kernels. Each file is one op; hot loops exist once per instruction set ([`isa`]).

pub mod isa;
pub mod sgd;
