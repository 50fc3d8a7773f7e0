//! From pre-activations to gates, and the losses of gates.

mod estimator;
mod floor;
mod gates;
mod loss;
mod sem_hash;

pub use estimator::{
    Estimator, GateDraw, TauSchedule, gumbel_sigmoid, logistic_noise, straight_through, top_k,
};
pub use floor::GateFloor;
pub use gates::{GateSlice, Gates};
pub use loss::{
    ConvMacs, ConvTime, GateLoss, GateLossInput, GateTerm, LatencyCosts, MacCosts, Time, TimeTable,
    batch_shaping, block_bounds, counted, l1_loss, target_latency, target_macs, target_rate,
};
pub use sem_hash::{SemHashDraw, hard, hard_gate, sem_hash, soft};
