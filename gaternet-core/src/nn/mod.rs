//! Layers: parameters with the names and initial values that PyTorch users expect; the loss of a
//! classifier.

mod batch_norm2d;
mod conv2d;
mod cross_entropy_loss;
mod linear;
mod module;

pub use batch_norm2d::{BatchNorm2d, Epilogue};
pub use conv2d::Conv2d;
pub use cross_entropy_loss::{CrossEntropyLoss, Targets, one_hot};
pub use linear::Linear;
pub use module::{Module, State, scoped};
