//! The residual units that a [`Body`](super::resnet::Body) is made of.

use gaternet_core::nn::{Module, State};
use gaternet_core::{Ctx, Result, Tensor};

use super::basic_block::BasicBlock;
use super::gating::Gating;
use super::pre_act_block::PreActBlock;
use crate::conv_spec::ConvSpec;
use crate::plan::steps::{Steps, Value};

/// A residual unit.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    Basic(BasicBlock),
    PreAct(PreActBlock),
}

impl Block {
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        gating: Option<Gating<'_>>,
        first: usize,
        ctx: &Ctx,
    ) -> Result<Tensor> {
        match self {
            Block::Basic(block) => block.forward(x, gating, first, ctx),
            Block::PreAct(block) => block.forward(x, gating, first, ctx),
        }
    }

    pub(crate) fn trace<'a>(
        &'a self,
        steps: &mut Steps<'a>,
        x: Value,
        first: usize,
    ) -> Result<Value> {
        match self {
            Block::Basic(block) => block.trace(steps, x, first),
            Block::PreAct(block) => block.trace(steps, x, first),
        }
    }

    pub(crate) fn conv_count(&self) -> usize {
        match self {
            Block::Basic(block) => block.conv_count(),
            Block::PreAct(block) => block.conv_count(),
        }
    }

    pub(crate) fn convs(&self, name: &str, size: [usize; 2]) -> (Vec<ConvSpec>, [usize; 2]) {
        match self {
            Block::Basic(block) => block.convs(name, size),
            Block::PreAct(block) => block.convs(name, size),
        }
    }
}

impl Module for Block {
    fn collect(&self, prefix: &str, out: &mut Vec<(String, State)>) {
        match self {
            Block::Basic(block) => block.collect(prefix, out),
            Block::PreAct(block) => block.collect(prefix, out),
        }
    }
}
