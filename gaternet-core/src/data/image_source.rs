//! Where images come from.

use std::sync::Arc;

use super::{Augment, Dataset, ImageFolder};
use crate::{Error, Result, Tensor};

/// Labelled images: in memory, or in files that are read when they are needed. Clones share them.
#[derive(Debug, Clone)]
pub enum ImageSource {
    /// Images of one size.
    Memory(Arc<Dataset>),
    /// Images of any size.
    Files(Arc<ImageFolder>),
}

impl From<Arc<Dataset>> for ImageSource {
    fn from(data: Arc<Dataset>) -> ImageSource {
        ImageSource::Memory(data)
    }
}

impl From<Dataset> for ImageSource {
    fn from(data: Dataset) -> ImageSource {
        ImageSource::Memory(data.into())
    }
}

impl From<ImageFolder> for ImageSource {
    fn from(folder: ImageFolder) -> ImageSource {
        ImageSource::Files(folder.into())
    }
}

impl ImageSource {
    /// N.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels().len()
    }

    /// True if there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels().is_empty()
    }

    /// The class of every image, (N).
    #[must_use]
    pub fn labels(&self) -> &[usize] {
        match self {
            ImageSource::Memory(data) => data.labels(),
            ImageSource::Files(folder) => folder.labels(),
        }
    }

    /// The names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match self {
            ImageSource::Memory(data) => data.classes(),
            ImageSource::Files(folder) => folder.classes(),
        }
    }

    /// The same images with the classes in the order of `names`; each keeps its class, whose
    /// label is then another number.
    ///
    /// # Errors
    /// [`Error::Config`] unless `names` has every class once, and nothing else.
    pub fn with_classes(&self, names: &[String]) -> Result<ImageSource> {
        let [mut before, mut after] = [self.classes(), names].map(<[String]>::to_vec);
        before.sort();
        after.sort();
        if before != after || after.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Config {
                field: "class names",
                value: format!("{names:?} for {:?}", self.classes()),
                rule: "must be those of the images, each once",
            });
        }
        let place = |class: &String| names.iter().position(|name| name == class);
        let places: Vec<usize> = self.classes().iter().filter_map(place).collect();
        let labels = self.labels().iter().map(|&label| places[label]).collect();
        Ok(match self {
            ImageSource::Memory(data) => data.relabelled(labels, names.to_vec()).into(),
            ImageSource::Files(folder) => folder.relabelled(labels, names.to_vec()).into(),
        })
    }

    pub(super) fn batch(
        &self,
        augment: &Augment,
        indices: &[usize],
        seed: u64,
        epoch: u64,
    ) -> Result<Tensor> {
        match self {
            ImageSource::Memory(data) => augment.batch(data, indices, seed, epoch),
            ImageSource::Files(folder) => augment.batch_of_files(folder, indices, seed, epoch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::IMAGE_LEN;
    use super::*;

    #[test]
    fn classes_in_another_order_are_the_same_images() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let before = names(&["cat", "dog", "eel"]);
        let data = Dataset::new(vec![0; 4 * IMAGE_LEN], vec![2, 0, 1, 0], before).expect("valid");
        let source = ImageSource::from(data);
        let after = source.with_classes(&names(&["dog", "eel", "cat"])).expect("a permutation");
        assert_eq!(after.labels(), [1, 2, 0, 2]);
        assert_eq!(after.classes(), ["dog", "eel", "cat"]);
        for bad in [&["dog", "eel"][..], &["dog", "dog", "cat"], &["dog", "eel", "cat", "cat"]] {
            let message = source.with_classes(&names(bad)).expect_err("other names").to_string();
            assert!(message.contains("each once"), "{message}");
        }
    }
}
