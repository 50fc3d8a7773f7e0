//! The examples as a user meets them: help, a run, bad input, agreement with the authors' values.

mod describe;
mod errors;
mod evaluate;
mod export;
mod image_folder;
mod interchange;
mod model_throughput;
mod procedures;
mod programs;
mod recipes;
mod reference;
mod throughput;
mod train;
