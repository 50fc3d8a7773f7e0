//! Which filters are gated, what decides their gates, and what becomes of a network with them.

mod budget;
pub(crate) mod calibration;
pub(crate) mod gate_loss;
pub(crate) mod gate_override;
pub(crate) mod gate_plan;
pub(crate) mod gate_rule;
pub(crate) mod gate_term;
pub(crate) mod gated_config;
pub(crate) mod gated_net;
pub(crate) mod gater;
pub(crate) mod parts;
pub(crate) mod pruning;
mod static_part;
