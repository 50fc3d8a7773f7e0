//! What a model owns: parameters (trained), buffers (kept) and counters.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::autograd::Node;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{self, Tensor};

/// A trained tensor. Clones share the value, and whether it is trained.
#[derive(Debug, Clone)]
pub struct Parameter {
    node: Arc<Node>,
    value: Buffer,
    requires_grad: Arc<AtomicBool>,
}

impl Parameter {
    /// A parameter that starts as `value`.
    #[must_use]
    pub fn new(value: Tensor) -> Parameter {
        Parameter::of(Buffer::new(value))
    }

    /// A parameter that starts as 0 and takes no memory until it is read, for one that will be
    /// [`set`](Self::set).
    ///
    /// # Errors
    /// [`Error::Shape`] if the elements would not fit in the address space.
    pub fn zeros(shape: impl Into<Shape>) -> Result<Parameter> {
        Ok(Parameter::of(Buffer::zeros(shape)?))
    }

    fn of(value: Buffer) -> Parameter {
        let (node, requires_grad) = (Arc::new(Node::leaf()), Arc::new(AtomicBool::new(true)));
        Parameter { node, value, requires_grad }
    }

    /// The value for a forward pass, with the instruction set of the pass: part of the graph if
    /// `ctx` tracks gradients and the parameter is not frozen.
    #[must_use]
    pub fn value(&self, ctx: &Ctx) -> Tensor {
        let value = self.tensor().on(ctx.own_isa());
        let tracked = ctx.tracks() && self.requires_grad();
        if tracked { value.with_node(self.node.clone()) } else { value }
    }

    /// False if the parameter is frozen: no gradient is computed, and optimisers leave it as it is.
    #[must_use]
    pub fn requires_grad(&self) -> bool {
        self.requires_grad.load(Ordering::Relaxed)
    }

    /// Freezes the parameter, or with `true`, which it starts with, trains it again; from the next
    /// forward pass on. As in PyTorch, a batch norm with frozen parameters still moves its running
    /// statistics in training.
    pub fn set_requires_grad(&self, requires_grad: bool) {
        self.requires_grad.store(requires_grad, Ordering::Relaxed);
    }

    /// The value, outside every graph.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        self.value.tensor()
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.value.shape()
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape is another.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        self.value.set(value)
    }

    /// Changes the value in place; tensors handed out before keep what they had.
    pub fn update<R>(&self, change: impl FnOnce(&mut [f32]) -> R) -> R {
        self.value.update(change)
    }

    /// Distinguishes parameters; clones have the same number.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.node.id()
    }
}

/// A tensor that is kept but not trained: running statistics. Clones share the value.
#[derive(Debug, Clone)]
pub struct Buffer(Arc<RwLock<Value>>);

#[derive(Debug)]
enum Value {
    Set(Tensor),
    /// Zeros that nobody has read; they fit in the address space.
    Zeros(Shape),
}

impl Value {
    /// The tensor, for which there is memory from here on.
    fn tensor(&mut self) -> &mut Tensor {
        if let Value::Zeros(shape) = self {
            *self = Value::Set(Tensor::zeros(&*shape).expect("its size was checked"));
        }
        match self {
            Value::Set(tensor) => tensor,
            Value::Zeros(_) => unreachable!("set above"),
        }
    }

    fn shape(&self) -> &Shape {
        match self {
            Value::Set(tensor) => tensor.shape(),
            Value::Zeros(shape) => shape,
        }
    }
}

impl Buffer {
    /// A buffer that starts as `value`.
    #[must_use]
    pub fn new(value: Tensor) -> Buffer {
        Buffer(Arc::new(RwLock::new(Value::Set(value.detach()))))
    }

    /// A buffer that starts as 0 and takes no memory until it is read, for one that will be
    /// [`set`](Self::set).
    ///
    /// # Errors
    /// [`Error::Shape`] if the elements would not fit in the address space.
    pub fn zeros(shape: impl Into<Shape>) -> Result<Buffer> {
        let shape = shape.into();
        tensor::elements(&shape)?;
        Ok(Buffer(Arc::new(RwLock::new(Value::Zeros(shape)))))
    }

    /// The value.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        if let Value::Set(tensor) = &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            return tensor.clone();
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).tensor().clone()
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.0.read().unwrap_or_else(PoisonError::into_inner).shape().clone()
    }

    /// Whether `other` is this buffer, not one with the same value.
    #[must_use]
    pub fn is(&self, other: &Buffer) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Replaces the value.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shape is another.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        same_shape(current.shape(), value.shape())?;
        *current = Value::Set(value.detach());
        Ok(())
    }

    /// Changes the value in place; tensors handed out before keep what they had.
    pub fn update<R>(&self, change: impl FnOnce(&mut [f32]) -> R) -> R {
        change(self.0.write().unwrap_or_else(PoisonError::into_inner).tensor().data_mut())
    }
}

/// A whole number that is kept with a model (PyTorch's `num_batches_tracked`). Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicI64>);

impl Counter {
    /// The number.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces the number.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn same_shape(expected: &Shape, got: &Shape) -> Result<()> {
    if expected == got {
        return Ok(());
    }
    Err(Error::Shape {
        op: "set",
        rule: "a parameter or buffer keeps its shape",
        got: format!("{got} for {expected}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_share_the_value_and_tensors_keep_theirs() {
        let parameter = Parameter::new(Tensor::full([3], 1.0).expect("small"));
        let before = parameter.tensor();
        parameter.clone().update(|data| data[1] = 5.0);
        assert_eq!(parameter.tensor().data(), [1.0, 5.0, 1.0]);
        assert_eq!(before.data(), [1.0, 1.0, 1.0]);
    }

    #[test]
    fn only_a_tracking_pass_records_parameters() {
        let parameter = Parameter::new(Tensor::scalar(1.0));
        assert!(parameter.value(&Ctx::train(0)).requires_grad());
        assert!(parameter.value(&Ctx::eval().with_grad()).requires_grad());
        assert!(!parameter.value(&Ctx::eval()).requires_grad());
        parameter.clone().set_requires_grad(false);
        assert!(!parameter.value(&Ctx::train(0)).requires_grad(), "frozen through a clone");
        parameter.set_requires_grad(true);
        assert!(parameter.value(&Ctx::train(0)).requires_grad());
    }

    #[test]
    fn zeros_take_memory_only_when_they_are_read() {
        // 4 TB: reading them would fail.
        let shape = [1 << 20, 1 << 20];
        let huge = Parameter::zeros(shape).expect("an address space");
        assert_eq!(huge.clone().shape(), Shape::from(shape));
        assert!(huge.set(&Tensor::scalar(1.0)).is_err());
        assert!(Buffer::zeros([usize::MAX, 2]).is_err());

        let small = Parameter::zeros([2, 3]).expect("small");
        assert_eq!(small.clone().tensor().data(), [0.0; 6]);
        let buffer = Buffer::zeros([2]).expect("small");
        buffer.update(|data| data[1] = 5.0);
        assert_eq!(buffer.tensor().data(), [0.0, 5.0]);
        let buffer = Buffer::zeros([2]).expect("small");
        buffer.set(&Tensor::full([2], 3.0).expect("small")).expect("of this shape");
        assert_eq!(buffer.tensor().data(), [3.0; 2]);
    }

    #[test]
    fn another_shape_is_refused_and_changes_nothing() {
        let buffer = Buffer::new(Tensor::full([2], 1.0).expect("small"));
        let error = buffer.set(&Tensor::zeros([3]).expect("small")).expect_err("3 is not 2");
        assert!(error.to_string().contains("(3,) for (2,)"), "{error}");
        assert_eq!(buffer.tensor().data(), [1.0, 1.0]);
    }
}
