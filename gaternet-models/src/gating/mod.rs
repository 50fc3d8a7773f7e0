//! Gated networks: which filters have gates, what decides them, and what calibration and pruning
//! make of them.

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
mod pruned_subnetwork;
pub(crate) mod pruning;
