//! The examples as a user meets them: help, a run, bad input, agreement with the authors' values.

mod checks;
mod classes;
mod describe;
mod device;
mod errors;
mod evaluate;
mod export;
mod help;
mod image_files;
mod image_folder;
mod interchange;
mod model_throughput;
mod old_names;
mod output;
mod procedures;
mod programs;
mod recipes;
mod reference;
mod runs;
mod throughput;
mod train;
