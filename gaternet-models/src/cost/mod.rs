//! Costs of a network, and how much of them the gates switch: in multiply-accumulates, counted
//! (`mac_costs.rs`), and in seconds, measured (`latency_costs.rs`).

mod gated_cost;
pub(crate) mod latency;
mod latency_costs;
mod mac_costs;
mod network_cost;
mod time_table;

pub use latency_costs::{ConvTime, LatencyCosts};
pub use mac_costs::{ConvMacs, MacCosts};
pub use network_cost::Cost;
pub(crate) use network_cost::{executed, of_gates};
pub use time_table::{Time, TimeTable};
