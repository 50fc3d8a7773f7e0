//! Sizes of a tensor.

use std::fmt;
use std::sync::Arc;

/// Sizes of a tensor, outermost first; no sizes at all is a scalar. Cloning copies no sizes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape(Arc<[usize]>);

impl Shape {
    /// The sizes.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// Number of sizes.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Product of the sizes; `None` if an f32 buffer of that many elements cannot exist.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        // As if no size were 0, so that a 0 does not hide sizes whose products overflow.
        let bytes =
            self.0.iter().try_fold(size_of::<f32>(), |bytes, &n| bytes.checked_mul(n.max(1)));
        bytes.filter(|&bytes| bytes <= isize::MAX as usize).map(|_| self.0.iter().product())
    }
}

impl<const RANK: usize> From<[usize; RANK]> for Shape {
    fn from(dims: [usize; RANK]) -> Shape {
        Shape(Arc::new(dims))
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Shape {
        Shape(dims.into())
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Shape {
        Shape(dims.into())
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Shape {
        shape.clone()
    }
}

/// `(128, 16, 32, 32)`, `(10,)`, `()`, as Python prints them.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (i, size) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{size}")?;
        }
        f.write_str(if self.rank() == 1 { ",)" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_like_python() {
        let text = |shape: Shape| shape.to_string();
        assert_eq!(text([128, 16, 32, 32].into()), "(128, 16, 32, 32)");
        assert_eq!(text([10].into()), "(10,)");
        assert_eq!(text([].into()), "()");
    }

    #[test]
    fn elements_are_counted_without_overflow() {
        assert_eq!(Shape::from([]).elements(), Some(1));
        assert_eq!(Shape::from([2, 3, 4]).elements(), Some(24));
        assert_eq!(Shape::from([5, 0]).elements(), Some(0));
        assert_eq!(Shape::from([usize::MAX, 0]).elements(), None);
        assert_eq!(Shape::from([usize::MAX, 2]).elements(), None);
        assert_eq!(Shape::from([isize::MAX as usize]).elements(), None);
    }
}
