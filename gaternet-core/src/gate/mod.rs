//! From pre-activations to gates.

mod gates;
mod loss;
mod sem_hash;

pub use gates::{GateSlice, Gates};
pub use loss::l1_loss;
pub use sem_hash::{SemHashDraw, hard, hard_gate, sem_hash, soft};
