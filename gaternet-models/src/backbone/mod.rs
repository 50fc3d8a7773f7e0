//! Networks that can be gated.

mod basic_block;
mod block;
pub(crate) mod gating;
mod pre_act_block;
pub mod resnet;
