//! What networks, gates, plans, files and trainings promise.

mod common;
mod counts;
mod custom_ops;
mod files;
mod gates;
mod head;
mod mistakes;
mod old_names;
#[cfg(feature = "onnx")]
mod onnx;
mod parity;
mod plan;
mod procedures;
mod pruned_subnetwork;
mod shared_gates;
mod sizes;
mod skipping;
mod trainer;
mod training;
