//! The nodes of a step, in the order they run.

use std::collections::{HashMap, HashSet};

use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{Activation, CudaDevice};

use super::apply::ApplyNode;
use super::conv::ConvNode;
use super::gates::GatesNode;
use super::map::{MapNode, PairNode};
use super::norm::NormNode;
use super::pass::Pass;
use super::row_norm::RowNormNode;
use super::rows::{LinearNode, PoolNode, RowGrads, SigmoidNode};
use super::sum::Grads;
use crate::cuda::Result;
use crate::cuda::buffers::Sizes;
use crate::cuda::value::{Map, Row};

/// A node: something that a step computes.
#[derive(Debug)]
pub(super) enum Node {
    Conv(ConvNode),
    Norm(NormNode),
    Apply(ApplyNode),
    Pool(PoolNode),
    Linear(LinearNode),
    RowNorm(RowNormNode),
    Sigmoid(SigmoidNode),
    Map(MapNode),
    Pair(PairNode),
    Gates(GatesNode),
}

impl Node {
    /// The maps that the node reads.
    fn reads(&self) -> [Option<Map>; 2] {
        match self {
            Node::Conv(node) => [Some(node.x), None],
            Node::Norm(node) => [Some(node.x), node.residual],
            Node::Apply(node) => [Some(node.x), node.residual],
            Node::Pool(node) => [Some(node.x), None],
            Node::Map(node) => [Some(node.x), None],
            Node::Pair(node) => node.parts.map(Some),
            Node::Linear(_) | Node::RowNorm(_) | Node::Sigmoid(_) | Node::Gates(_) => [None, None],
        }
    }

    pub(super) fn forward<T: Activation>(&self, pass: Pass<'_, T>) -> Result<()> {
        let Pass { weights, buffers, .. } = pass;
        match self {
            Node::Conv(node) => node.forward(weights, buffers),
            Node::Norm(node) => node.forward(weights, buffers),
            Node::Apply(node) => node.forward(buffers),
            Node::Pool(node) => node.forward(buffers),
            Node::Linear(node) => node.forward(weights, buffers),
            Node::RowNorm(node) => node.forward(weights, buffers),
            Node::Sigmoid(node) => node.forward(buffers),
            Node::Map(node) => node.forward(buffers, pass.clock),
            Node::Pair(node) => node.forward(buffers, pass.clock),
            Node::Gates(node) => node.forward(pass),
        }
    }

    pub(super) fn backward<T: Activation>(&self, pass: Pass<'_, T>) -> Result<()> {
        let Pass { weights, buffers, .. } = pass;
        match self {
            Node::Conv(node) => node.backward(weights, buffers),
            Node::Norm(node) => node.backward(weights, buffers),
            Node::Apply(node) => node.backward(buffers),
            Node::Pool(node) => node.backward(buffers),
            Node::Linear(node) => node.backward(weights, buffers),
            Node::RowNorm(node) => node.backward(weights, buffers),
            Node::Sigmoid(node) => node.backward(buffers),
            Node::Map(node) => node.backward(buffers, pass.clock),
            Node::Pair(node) => node.backward(buffers, pass.clock),
            Node::Gates(node) => node.backward(pass),
        }
    }
}

/// Gives every gradient a buffer, from the logits' (`grad_logits`) backward.
pub(super) fn plan_backward(
    nodes: &mut [Node],
    device: &CudaDevice,
    sizes: &mut Sizes,
    constant: &HashSet<Map>,
    computed_by: &HashMap<Map, Rows>,
    [logits, grad_logits]: [Row; 2],
) -> Result<()> {
    let mut readers: HashMap<Map, usize> = HashMap::new();
    for map in nodes.iter().flat_map(|node| node.reads().into_iter().flatten()) {
        *readers.entry(map).or_default() += 1;
    }
    let (mut grads, mut rows) = (Grads::default(), RowGrads::from([(logits, grad_logits)]));
    for node in nodes.iter_mut().rev() {
        match node {
            Node::Conv(node) => {
                node.plan_backward(device, sizes, &mut grads, constant.contains(&node.x));
            }
            Node::Norm(node) => node.plan_backward(sizes, &mut grads),
            Node::Apply(node) => {
                let alone = readers.get(&node.x) == Some(&1);
                let of_rows = alone && computed_by.get(&node.x) == Some(&Rows::Filters);
                node.plan_backward(sizes, &mut grads, &mut rows, of_rows)?;
            }
            Node::Pool(node) => node.plan_backward(sizes, &mut grads, &rows),
            Node::Linear(node) => node.plan_backward(sizes, &mut rows)?,
            Node::RowNorm(node) => node.plan_backward(sizes, &mut rows)?,
            Node::Sigmoid(node) => node.plan_backward(sizes, &mut rows)?,
            Node::Map(node) => {
                node.plan_backward(sizes, &mut grads, constant.contains(&node.x));
            }
            Node::Pair(node) => node.plan_backward(sizes, &mut grads),
            Node::Gates(node) => node.plan_backward(&mut rows),
        }
    }
    Ok(())
}
