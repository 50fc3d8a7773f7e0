//! Reverse-mode differentiation: a graph of [`Node`]s, made by the forward pass, walked once.

mod engine;
mod gradients;
mod node;

pub use gradients::Gradients;
pub use node::Backward;
pub(crate) use node::Node;
