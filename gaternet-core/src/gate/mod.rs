//! From pre-activations to gates.

mod estimator;
mod gates;
mod loss;
mod sem_hash;

pub use estimator::{
    Estimator, GateDraw, TauSchedule, gumbel_sigmoid, logistic_noise, straight_through, top_k,
};
pub use gates::{GateSlice, Gates};
pub use loss::l1_loss;
pub use sem_hash::{SemHashDraw, hard, hard_gate, sem_hash, soft};
