//! Some images of a data set.

use std::path::PathBuf;

use super::dataset::no_image;
use super::{Dataset, Image};
use crate::Result;

/// The images of `D` at some indices, in their order: PyTorch's `Subset`. Classes stay as they are,
/// also those that lose all images.
#[derive(Debug, Clone, PartialEq)]
pub struct Subset<D> {
    data: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The images at `indices`, which may repeat.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if an index is not below N.
    pub fn new(data: D, indices: Vec<usize>) -> Result<Subset<D>> {
        match indices.iter().find(|index| **index >= data.len()) {
            Some(index) => Err(no_image(*index, data.len())),
            None => Ok(Subset { data, indices }),
        }
    }

    /// All images but those at `indices`.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) if an index is not below N.
    pub fn without(data: D, indices: &[usize]) -> Result<Subset<D>> {
        let mut keep = vec![true; data.len()];
        for &index in indices {
            *keep.get_mut(index).ok_or_else(|| no_image(index, data.len()))? = false;
        }
        let kept = (0..data.len()).filter(|index| keep[*index]).collect();
        Subset::new(data, kept)
    }

    /// The number that image `index` has in the whole data set.
    fn whole(&self, index: usize) -> Result<usize> {
        self.indices.get(index).copied().ok_or_else(|| no_image(index, self.indices.len()))
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn classes(&self) -> &[String] {
        self.data.classes()
    }

    fn channels(&self) -> usize {
        self.data.channels()
    }

    fn size(&self) -> Option<[usize; 2]> {
        self.data.size()
    }

    fn label(&self, index: usize) -> Result<usize> {
        self.data.label(self.whole(index)?)
    }

    fn image(&self, index: usize) -> Result<Image<'_>> {
        self.data.image(self.whole(index)?)
    }

    fn image_part(
        &self,
        index: usize,
        part: &mut dyn FnMut([usize; 2]) -> [usize; 4],
    ) -> Result<Image<'_>> {
        self.data.image_part(self.whole(index)?, part)
    }

    fn name(&self) -> &str {
        self.data.name()
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.data.path(*self.indices.get(index)?)
    }

    fn is_in_memory(&self) -> bool {
        self.data.is_in_memory()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{InMemory, bad_images};
    use super::*;
    use crate::Error;

    fn five() -> InMemory {
        let names = vec!["even".to_owned(), "odd".to_owned()];
        InMemory::new((0..5).collect(), [1, 1, 1], vec![0, 1, 0, 1, 0], names).expect("valid")
    }

    /// [`five`], of which image 1 and 3 cannot be read.
    struct Broken(InMemory);

    impl Dataset for Broken {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn classes(&self) -> &[String] {
            self.0.classes()
        }

        fn channels(&self) -> usize {
            self.0.channels()
        }

        fn size(&self) -> Option<[usize; 2]> {
            self.0.size()
        }

        fn label(&self, index: usize) -> Result<usize> {
            self.0.label(index)
        }

        fn image(&self, index: usize) -> Result<Image<'_>> {
            match index % 2 {
                0 => self.0.image(index),
                _ => Err(Error::Shape { op: "read", rule: "even", got: index.to_string() }),
            }
        }
    }

    fn first_bytes(data: &dyn Dataset) -> Vec<u8> {
        let byte = |i| data.image(i).expect("readable").bytes().expect("bytes")[0];
        (0..data.len()).map(byte).collect()
    }

    #[test]
    fn a_subset_has_the_images_and_labels_of_its_indices() {
        let some = Subset::new(five(), vec![4, 1, 1]).expect("in range");
        assert_eq!(first_bytes(&some), [4, 1, 1]);
        assert_eq!([0, 1, 2].map(|i| some.label(i).expect("in range")), [0, 1, 1]);
        assert!(some.image(3).is_err() && some.label(3).is_err());
        for bad in [Subset::new(five(), vec![5]), Subset::without(five(), &[5])] {
            assert!(bad.expect_err("of 5").to_string().contains("5 of 5 images"));
        }
    }

    #[test]
    fn images_of_any_set_that_cannot_be_read_are_found_and_left_out() {
        let bad: Vec<usize> = bad_images(&Broken(five())).into_iter().map(|(i, _)| i).collect();
        assert_eq!(bad, [1, 3]);
        let rest = Subset::without(Broken(five()), &bad).expect("in range");
        assert_eq!((first_bytes(&rest), bad_images(&rest).len()), (vec![0, 2, 4], 0));
    }
}
