//! Networks that can be gated.

mod basic_block;
pub(crate) mod gating;
pub mod resnet;
