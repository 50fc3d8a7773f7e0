//! f32 tensors: contiguous, row-major, immutable once made.

mod convert;
mod display;
mod lines;
mod operators;

use std::sync::Arc;

use gaternet_kernels::Isa;
#[cfg(feature = "ndarray")]
use ndarray::{ArrayD, ArrayViewD, IxDyn};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::autograd::{Backward, Node};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::storage::{self, Storage};

/// An f32 tensor. Cloning shares the elements.
///
/// Arrays and vectors become tensors by `From`, `==` compares shapes and elements, and `+`, `-`,
/// `*` and `/` of tensors of one shape, or of a tensor and a number, are the functions of
/// [`ops`](crate::ops): they are part of the graph, and an `Err` where the shapes differ.
///
/// ```
/// # use gaternet_core::{Result, Tensor};
/// # fn main() -> Result<()> {
/// let logits = Tensor::from([[2.0, 1.0, 0.5], [0.0, 3.0, 0.0]]);
/// assert_eq!(logits.argmax(1)?, [0, 1]);
/// let centred = (&logits - 1.0)?;
/// assert_eq!((&centred + 1.0)?, logits);
/// assert_eq!(centred.to_string(), "[[ 1.0000,  0.0000, -0.5000],\n [-1.0000,  2.0000, -1.0000]]");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    shape: Shape,
    node: Option<Arc<Node>>,
    /// `None` for that of the process.
    isa: Option<Isa>,
}

impl Tensor {
    /// # Errors
    /// [`Error::Shape`] if `data` is not as long as `shape` says.
    pub fn new(data: Vec<f32>, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape.elements() != Some(data.len()) {
            return Err(Error::Shape {
                op: "tensor",
                rule: "the data must have as many elements as the shape",
                got: format!("{} elements for shape {shape}", data.len()),
            });
        }
        Ok(Tensor { storage: Arc::new(Storage::new(data)), shape, node: None, isa: None })
    }

    /// # Errors
    /// [`Error::Shape`] if the elements would not fit in memory.
    pub fn zeros(shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        let data = storage::take_zeroed(room(&shape)?);
        Tensor::new(data, shape)
    }

    /// Every element is `value`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the elements would not fit in memory.
    pub fn full(shape: impl Into<Shape>, value: f32) -> Result<Tensor> {
        let shape = shape.into();
        let mut data = storage::take(room(&shape)?);
        data.fill(value);
        Tensor::new(data, shape)
    }

    /// One element, shape `()`.
    #[must_use]
    pub fn scalar(value: f32) -> Tensor {
        let storage = Arc::new(Storage::new(vec![value]));
        Tensor { storage, shape: Shape::from([]), node: None, isa: None }
    }

    /// Independent draws from N(0, std²).
    ///
    /// # Errors
    /// [`Error::Shape`] if the elements would not fit in memory.
    pub fn randn(shape: impl Into<Shape>, std: f32, rng: &mut impl Rng) -> Result<Tensor> {
        let shape = shape.into();
        let mut data = storage::take(room(&shape)?);
        for x in &mut data {
            let draw: f32 = StandardNormal.sample(rng);
            *x = std * draw;
        }
        Tensor::new(data, shape)
    }

    /// Copies an array of any layout. Feature `ndarray`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the elements would not fit in memory.
    #[cfg(feature = "ndarray")]
    pub fn from_ndarray(array: &ArrayViewD<'_, f32>) -> Result<Tensor> {
        Tensor::new(array.iter().copied().collect(), array.shape())
    }

    /// A copy as an array. Feature `ndarray`.
    ///
    /// # Errors
    /// [`Error::Shape`] if `ndarray` refuses the shape.
    #[cfg(feature = "ndarray")]
    pub fn to_ndarray(&self) -> Result<ArrayD<f32>> {
        ArrayD::from_shape_vec(IxDyn(self.dims()), self.data().to_vec()).map_err(|error| {
            Error::Shape {
                op: "to_ndarray",
                rule: "the shape must be one that ndarray can hold",
                got: format!("{}: {error}", self.shape),
            }
        })
    }

    /// The result of an op: recorded in the graph if one of `inputs` is, and with their
    /// [`isa`](Self::isa). Only in a graph is `backward` called, with the output for saving; every
    /// tensor it saves must be detached, as that one is.
    ///
    /// # Errors
    /// [`Error::Shape`] if `data` is not as long as `shape` says.
    pub fn from_op<B: Backward + 'static>(
        data: Vec<f32>,
        shape: impl Into<Shape>,
        inputs: &[&Tensor],
        backward: impl FnOnce(&Tensor) -> B,
    ) -> Result<Tensor> {
        let mut output = Tensor::new(data, shape)?;
        output.isa = inputs.iter().find_map(|input| input.isa);
        if inputs.iter().any(|input| input.requires_grad()) {
            let parents = inputs.iter().map(|input| input.node.clone()).collect();
            let backward = Box::new(backward(&output));
            output.node = Some(Arc::new(Node::new(parents, backward)));
        }
        Ok(output)
    }

    /// The same elements as an input of a new graph, whose gradient is kept.
    #[must_use]
    pub fn leaf(&self) -> Tensor {
        self.with_node(Arc::new(Node::leaf()))
    }

    /// The same elements, outside every graph.
    #[must_use]
    pub fn detach(&self) -> Tensor {
        Tensor { node: None, ..self.clone() }
    }

    /// The same elements in another shape; the gradient takes the way back.
    ///
    /// # Errors
    /// [`Error::Shape`] if the shapes have different numbers of elements.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        if shape.elements() != Some(self.len()) {
            return Err(Error::Shape {
                op: "reshape",
                rule: "the number of elements must not change",
                got: format!("{} to {shape}", self.shape),
            });
        }
        let mut output = Tensor { shape, ..self.detach() };
        if let Some(parent) = &self.node {
            let backward = Box::new(Reshape(self.shape.clone()));
            output.node = Some(Arc::new(Node::new(vec![Some(parent.clone())], backward)));
        }
        Ok(output)
    }

    /// Sizes.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Sizes, as a slice.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data().len()
    }

    /// True if there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The elements, row-major.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        self.storage.data()
    }

    /// A copy of the elements, row-major.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        self.data().to_vec()
    }

    /// The only element.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are more or none.
    pub fn item(&self) -> Result<f32> {
        match self.data() {
            [value] => Ok(*value),
            _ => Err(Error::Shape {
                op: "item",
                rule: "the tensor must have exactly one element",
                got: self.shape.to_string(),
            }),
        }
    }

    /// True if the tensor is part of a graph.
    #[must_use]
    pub fn requires_grad(&self) -> bool {
        self.node.is_some()
    }

    /// The instruction set of the ops on this tensor, forward and backward: that of
    /// [`with_isa`](Self::with_isa) or of the pass, or the process's, [`Isa::current`]. What an op
    /// returns has that of its first input with one.
    ///
    /// # Errors
    /// Those of [`Isa::current`].
    pub fn isa(&self) -> Result<Isa> {
        self.isa.map_or_else(|| Ok(Isa::current()?), Ok)
    }

    /// The same elements, on which ops run with the instruction set `isa`. Parameters have that of
    /// the pass: [`Ctx::with_isa`](crate::Ctx::with_isa).
    #[must_use]
    pub fn with_isa(&self, isa: Isa) -> Tensor {
        Tensor { isa: Some(isa), ..self.clone() }
    }

    /// [`isa`](Self::isa), unless it is that of the process.
    pub(crate) fn own_isa(&self) -> Option<Isa> {
        self.isa
    }

    /// The same elements with this instruction set, if there is one.
    pub(crate) fn on(self, isa: Option<Isa>) -> Tensor {
        Tensor { isa: isa.or(self.isa), ..self }
    }

    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    pub(crate) fn with_node(&self, node: Arc<Node>) -> Tensor {
        Tensor { node: Some(node), ..self.detach() }
    }

    /// The elements for writing, if no other tensor shares them.
    pub(crate) fn unique_data(&mut self) -> Option<&mut [f32]> {
        Arc::get_mut(&mut self.storage).map(Storage::data_mut)
    }

    /// The elements for writing, copied first if another tensor shares them.
    pub(crate) fn data_mut(&mut self) -> &mut [f32] {
        if Arc::get_mut(&mut self.storage).is_none() {
            let mut copy = storage::take(self.len());
            copy.copy_from_slice(self.data());
            self.storage = Arc::new(Storage::new(copy));
        }
        match Arc::get_mut(&mut self.storage) {
            Some(storage) => storage.data_mut(),
            None => unreachable!("the storage was made above and is not shared"),
        }
    }
}

pub(crate) fn elements(shape: &Shape) -> Result<usize> {
    shape.elements().ok_or_else(|| Error::Shape {
        op: "tensor",
        rule: "the elements must fit in the address space",
        got: shape.to_string(),
    })
}

/// [`elements`], for which there is memory: an allocation that fails would end the process.
fn room(shape: &Shape) -> Result<usize> {
    /// From here on it is looked at: a GiB of f32.
    const LARGE: usize = 1 << 28;
    let elements = elements(shape)?;
    let mut memory: Vec<f32> = Vec::new();
    if elements >= LARGE && memory.try_reserve_exact(elements).is_err() {
        let (rule, got) = ("the elements must fit in memory", shape.to_string());
        return Err(Error::Shape { op: "tensor", rule, got });
    }
    Ok(elements)
}

#[derive(Debug)]
struct Reshape(Shape);

impl Backward for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(Tensor { shape: self.0.clone(), ..grad })])
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn data_must_fill_the_shape() {
        let error = Tensor::new(vec![0.0; 5], [2, 3]).expect_err("5 is not 6").to_string();
        assert!(error.contains("5 elements for shape (2, 3)"), "{error}");
        assert!(Tensor::zeros([usize::MAX, 2]).is_err());
        // 512 TB are a number of bytes, but no memory.
        for huge in [Tensor::zeros([1 << 47]), Tensor::full([1 << 47], 1.0)] {
            let error = huge.expect_err("no memory").to_string();
            assert!(error.contains("must fit in memory, got (140737488355328,)"), "{error}");
        }
    }

    #[test]
    fn clones_share_and_a_write_copies_only_what_is_shared() {
        let mut a = Tensor::full([4], 1.0).expect("small");
        let b = a.clone();
        assert!(a.unique_data().is_none());
        a.data_mut()[0] = 2.0;
        assert_eq!((a.data()[0], b.data()[0]), (2.0, 1.0));
        assert!(a.unique_data().is_some());
    }

    #[test]
    fn randn_has_the_mean_and_deviation_asked_for() {
        let x = Tensor::randn([100_000], 2.0, &mut ChaCha8Rng::seed_from_u64(1)).expect("small");
        let n = x.len() as f64;
        let mean = x.data().iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let var = x.data().iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 0.03 && (var.sqrt() - 2.0).abs() < 0.03, "{mean} {var}");
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn ndarray_round_trip_keeps_logical_order() {
        let x = Tensor::new((0..6).map(|i| i as f32).collect(), [2, 3]).expect("6 elements");
        let transposed = x.to_ndarray().expect("rank 2").reversed_axes();
        let y = Tensor::from_ndarray(&transposed.view()).expect("6 elements");
        assert_eq!(y.dims(), [3, 2]);
        assert_eq!(y.data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn argmax_is_the_first_largest_of_each_line_and_nan_is_the_largest() {
        let x = Tensor::from([[1.0, 5.0, 5.0], [f32::NEG_INFINITY, -3.0, f32::NAN]]);
        assert_eq!(x.argmax(1).expect("there are two"), [1, 2]);
        assert_eq!(x.argmax(0).expect("there are two"), [0, 0, 1]);
        assert_eq!(x.reshape([1, 3, 2]).and_then(|x| x.argmax(1)).expect("three"), [1, 2]);
        let text = x.argmax(2).expect_err("two dimensions").to_string();
        assert!(text.contains("dimension 2 of (2, 3)"), "{text}");
        assert!(Tensor::zeros([2, 0]).and_then(|x| x.argmax(1)).is_err(), "no largest of nothing");
        let none = Tensor::zeros([0, 2]).and_then(|x| x.argmax(1));
        assert_eq!(none.expect("no lines"), [0usize; 0]);
        let least = Tensor::from([f32::NEG_INFINITY; 2]).argmax(0);
        assert_eq!(least.expect("two"), [0]);
    }

    #[test]
    fn item_is_for_one_element() {
        assert_eq!(Tensor::scalar(3.0).item().expect("one element"), 3.0);
        assert!(Tensor::zeros([2]).expect("small").item().is_err());
    }
}
