//! Tensors from what Rust programs have, and back.

use std::sync::Arc;

use super::Tensor;
use crate::shape::Shape;
use crate::storage::Storage;

/// `data`, which has as many elements as the shape says: it comes from an array of that type.
fn filled(data: Vec<f32>, shape: impl Into<Shape>) -> Tensor {
    let storage = Arc::new(Storage::new(data));
    Tensor { storage, shape: shape.into(), node: None, isa: None }
}

/// Shape `()`.
impl From<f32> for Tensor {
    fn from(value: f32) -> Tensor {
        filled(vec![value], [])
    }
}

/// Shape `(length,)`.
impl From<Vec<f32>> for Tensor {
    fn from(values: Vec<f32>) -> Tensor {
        let len = values.len();
        filled(values, [len])
    }
}

/// Shape `(length,)`.
impl From<&[f32]> for Tensor {
    fn from(values: &[f32]) -> Tensor {
        values.to_vec().into()
    }
}

/// Shape `(N,)`.
impl<const N: usize> From<[f32; N]> for Tensor {
    fn from(values: [f32; N]) -> Tensor {
        filled(values.to_vec(), [N])
    }
}

/// Shape `(N, M)`: `N` rows of `M`.
impl<const N: usize, const M: usize> From<[[f32; M]; N]> for Tensor {
    fn from(rows: [[f32; M]; N]) -> Tensor {
        filled(rows.as_flattened().to_vec(), [N, M])
    }
}

/// Shape `(N, M, L)`.
impl<const N: usize, const M: usize, const L: usize> From<[[[f32; L]; M]; N]> for Tensor {
    fn from(values: [[[f32; L]; M]; N]) -> Tensor {
        filled(values.as_flattened().as_flattened().to_vec(), [N, M, L])
    }
}

/// Shape `(N, M, L, K)`.
impl<const N: usize, const M: usize, const L: usize, const K: usize> From<[[[[f32; K]; L]; M]; N]>
    for Tensor
{
    fn from(values: [[[[f32; K]; L]; M]; N]) -> Tensor {
        let flat = values.as_flattened().as_flattened().as_flattened();
        filled(flat.to_vec(), [N, M, L, K])
    }
}

/// Equal shapes and equal elements, by `==` of f32: NaN equals nothing, -0 equals 0. Graphs do not
/// count.
impl PartialEq for Tensor {
    fn eq(&self, other: &Tensor) -> bool {
        self.shape == other.shape && self.data() == other.data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_become_tensors_of_their_shape_in_row_major_order() {
        let cube = Tensor::from([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]]);
        assert_eq!(
            (cube.dims(), cube.data()),
            (&[1, 3, 2][..], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..])
        );
        assert_eq!(Tensor::from([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).dims(), [2, 3]);
        assert_eq!(Tensor::from([[[[0.0; 4]; 3]; 2]; 1]).dims(), [1, 2, 3, 4]);
        assert_eq!(Tensor::from([7.0]).dims(), [1]);
        assert_eq!(Tensor::from(7.0), Tensor::scalar(7.0));
        let values = vec![1.0, 2.0];
        assert_eq!(Tensor::from(&values[..]), Tensor::from(values.clone()));
        assert_eq!(Tensor::from(values.clone()).to_vec(), values);
        assert_eq!(Tensor::from([[0.0; 0]; 3]).dims(), [3, 0]);
    }

    #[test]
    fn equal_tensors_have_one_shape_and_equal_elements() {
        let row = Tensor::from([1.0, 0.0]);
        assert_eq!(row, Tensor::from([1.0, -0.0]).leaf());
        assert_ne!(row, Tensor::from([[1.0, 0.0]]));
        assert_ne!(row, Tensor::from([1.0, 2.0]));
        let nan = Tensor::from(f32::NAN);
        assert_ne!(nan, nan.clone());
    }
}
