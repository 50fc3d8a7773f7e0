//! `+`, `-`, `*` and `/` of tensors of one shape, or of a tensor and a number.

use std::borrow::Borrow;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::Tensor;
use crate::error::Result;
use crate::ops;

/// `x` filled with one number, in no graph.
fn all(x: &Tensor, value: f32) -> Result<Tensor> {
    Tensor::full(x.shape(), value)
}

/// An operator with a tensor on the left and a tensor, the result of an operator or a number on the
/// right, and with a number on the left.
macro_rules! operator {
    ($trait:ident, $method:ident, $op:path, $with:expr, $doc:literal) => {
        #[doc = $doc]
        ///
        /// It returns a `Result`, with [`Error::Shape`](crate::Error::Shape) if the shapes differ:
        /// as everywhere in this crate, a caller's mistake is no panic. The right side may be such
        /// a result: `&a + (&b * 2.0)`.
        impl<T: Borrow<Tensor>> $trait<T> for &Tensor {
            type Output = Result<Tensor>;

            fn $method(self, other: T) -> Result<Tensor> {
                $op(self, other.borrow())
            }
        }

        impl<T: Borrow<Tensor>> $trait<T> for Tensor {
            type Output = Result<Tensor>;

            fn $method(self, other: T) -> Result<Tensor> {
                $op(&self, other.borrow())
            }
        }

        impl<T: Borrow<Tensor>> $trait<Result<T>> for &Tensor {
            type Output = Result<Tensor>;

            fn $method(self, other: Result<T>) -> Result<Tensor> {
                $op(self, other?.borrow())
            }
        }

        impl<T: Borrow<Tensor>> $trait<Result<T>> for Tensor {
            type Output = Result<Tensor>;

            fn $method(self, other: Result<T>) -> Result<Tensor> {
                $op(&self, other?.borrow())
            }
        }

        impl $trait<f32> for &Tensor {
            type Output = Result<Tensor>;

            fn $method(self, number: f32) -> Result<Tensor> {
                $with(self, number)
            }
        }

        impl $trait<f32> for Tensor {
            type Output = Result<Tensor>;

            fn $method(self, number: f32) -> Result<Tensor> {
                $with(&self, number)
            }
        }

        impl $trait<&Tensor> for f32 {
            type Output = Result<Tensor>;

            fn $method(self, tensor: &Tensor) -> Result<Tensor> {
                $op(&all(tensor, self)?, tensor)
            }
        }

        impl $trait<Tensor> for f32 {
            type Output = Result<Tensor>;

            fn $method(self, tensor: Tensor) -> Result<Tensor> {
                $op(&all(&tensor, self)?, &tensor)
            }
        }
    };
}

operator!(Add, add, ops::add, |x: &Tensor, number| ops::add(x, &all(x, number)?), "[`ops::add`].");
operator!(Sub, sub, ops::sub, |x: &Tensor, number| ops::sub(x, &all(x, number)?), "[`ops::sub`].");
operator!(Mul, mul, ops::mul, ops::scale, "[`ops::mul`], and [`ops::scale`] with a number.");
operator!(Div, div, ops::div, |x: &Tensor, number| ops::div(x, &all(x, number)?), "[`ops::div`].");

/// [`ops::scale`] by -1.
impl Neg for &Tensor {
    type Output = Result<Tensor>;

    fn neg(self) -> Result<Tensor> {
        ops::scale(self, -1.0)
    }
}

/// [`ops::scale`] by -1.
impl Neg for Tensor {
    type Output = Result<Tensor>;

    fn neg(self) -> Result<Tensor> {
        -&self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(result: Result<Tensor>) -> Vec<f32> {
        result.expect("one shape").to_vec()
    }

    #[test]
    fn operators_are_those_of_their_elements() {
        let (a, b) = (Tensor::from([6.0, 1.0]), Tensor::from([3.0, 0.1]));
        assert_eq!(values(&a + &b), [9.0, 1.1]);
        assert_eq!(values(&a - &b), [3.0, 0.9]);
        assert_eq!(values(&a * &b), [18.0, 0.1]);
        assert_eq!(values(&a / &b), [2.0, 10.0]);
        assert_eq!(values(&a + 1.0), [7.0, 2.0]);
        assert_eq!(values(&a - 1.0), [5.0, 0.0]);
        assert_eq!(values(&a * 2.0), [12.0, 2.0]);
        assert_eq!(values(&a / 3.0), [2.0, 1.0 / 3.0]);
        assert_eq!(values(1.0 - &a), [-5.0, 0.0]);
        assert_eq!(values(3.0 / &a), [0.5, 3.0]);
        assert_eq!(values(1.0 + a.clone()), values(a.clone() + 1.0));
        assert_eq!(values(-&a), [-6.0, -1.0]);
        assert_eq!(values(&a + (&b * 2.0)), [12.0, 1.2]);
        assert_eq!(values(a.clone() - b.clone()), values(a - &b));
    }

    #[test]
    fn operators_are_part_of_the_graph() {
        let x = Tensor::from([2.0, -1.0]).leaf();
        // 3 / x + x² - x, with the derivative -3 / x² + 2x - 1.
        let y = (3.0 / &x).and_then(|y| y + (&x * &x)).and_then(|y| y - &x).expect("one shape");
        let grads = ops::sum(&y).and_then(|loss| loss.backward()).expect("in a graph");
        assert_eq!(grads.of(&x).expect("a leaf").data(), [-0.75 + 4.0 - 1.0, -3.0 - 2.0 - 1.0]);
    }

    #[test]
    fn other_shapes_are_an_error_that_names_both() {
        let (a, b) = (Tensor::from([1.0, 2.0]), Tensor::from([[1.0, 2.0]]));
        for (result, op) in [(&a + &b, "add"), (&a - &b, "sub"), (&a * &b, "mul"), (&a / &b, "div")]
        {
            let text = result.expect_err(op).to_string();
            assert!(text.starts_with(op) && text.contains("(1, 2) for (2,)"), "{text}");
        }
    }
}
