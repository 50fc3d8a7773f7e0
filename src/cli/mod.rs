//! What the example programs, the benches and their tests share (feature `cli`).
//!
//! No stable interface: it changes with the programs, whose options it reads and whose results it
//! prints.

pub mod blocks;
pub mod chart;
pub mod classes;
pub mod command_line;
pub mod conv_layers;
pub mod device;
#[cfg(feature = "download")]
pub mod download;
pub mod dtype;
pub mod gate_override;
#[cfg(feature = "images")]
pub mod image_check;
pub mod names;
pub mod note;
#[cfg(feature = "images")]
pub mod pipeline;
pub mod report;
#[cfg(feature = "images")]
pub mod sets;
pub mod table;
pub mod threads;
pub mod throughput_network;
pub mod timing;
#[cfg(feature = "images")]
pub mod trained_data;
