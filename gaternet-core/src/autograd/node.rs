//! The graph.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Result;
use crate::tensor::Tensor;

/// The derivative of one op, with what it saved of the forward pass.
///
/// Saved tensors must be detached: the graph is freed without recursion only along its parents.
pub trait Backward: fmt::Debug + Send + Sync {
    /// The op.
    fn name(&self) -> &'static str;

    /// The gradients of the inputs, in the order of the inputs: `Some` exactly where `needs` says,
    /// each of its input's shape. `grad` is the gradient of the output, of the output's shape.
    ///
    /// # Errors
    /// Those of the kernels.
    fn backward(&self, grad: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>>;
}

/// A value of the graph: the output of an op, or a leaf.
#[derive(Debug)]
pub(crate) struct Node {
    /// Creation order, which is a topological order.
    id: u64,
    /// One per input; `None` where no gradient is needed.
    parents: Vec<Option<Arc<Node>>>,
    /// `None` in a leaf.
    op: Option<Op>,
}

/// The derivative, until a walk takes it.
type Op = Mutex<Option<Box<dyn Backward>>>;

impl Node {
    pub(crate) fn new(parents: Vec<Option<Arc<Node>>>, backward: Box<dyn Backward>) -> Node {
        Node { id: next_id(), parents, op: Some(Mutex::new(Some(backward))) }
    }

    pub(crate) fn leaf() -> Node {
        Node { id: next_id(), parents: Vec::new(), op: None }
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn parents(&self) -> &[Option<Arc<Node>>] {
        &self.parents
    }

    pub(crate) fn is_leaf(&self) -> bool {
        self.op.is_none()
    }

    /// The derivative, with all it saved; `None` in a leaf, or if a walk took it before.
    pub(crate) fn take_op(&self) -> Option<Box<dyn Backward>> {
        self.op.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A long graph would overflow the stack if each node dropped its parents in turn.
impl Drop for Node {
    fn drop(&mut self) {
        let mut orphans: Vec<Arc<Node>> = self.parents.drain(..).flatten().collect();
        while let Some(orphan) = orphans.pop() {
            if let Some(mut node) = Arc::into_inner(orphan) {
                orphans.extend(node.parents.drain(..).flatten());
            }
        }
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
