//! From logits to gates, and the losses of gates.

mod estimator;
mod gates;
mod loss;
mod min_active;
mod sem_hash;

pub use estimator::{Estimator, GateDraw, TauSchedule};
pub use gates::{GateSlice, Gates};
pub use loss::{
    Beta, GateCost, GateDensities, RunningCost, batch_shaping, block_bounds, counted, l1_loss,
    target_cost, target_rate,
};
pub use min_active::MinActive;
pub use sem_hash::{SemHashDraw, hard_gate};
