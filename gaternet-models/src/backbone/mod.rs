//! Networks that can be gated.

mod basic_block;
pub mod resnet;
