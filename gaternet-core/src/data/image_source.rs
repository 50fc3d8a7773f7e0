//! A data set by what can be done with it beyond reading it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::dataset::{relabelling, same_as};
#[cfg(feature = "images")]
use super::image_folder::ImageFolder;
use super::{Dataset, Image, InMemory};
use crate::Result;

/// Any [`Dataset`], as a training or a program holds it: bytes in memory can be copied to a GPU as
/// they are, files can be checked before a run, and of others nothing more is known. Clones share
/// the images.
#[derive(Clone)]
#[non_exhaustive]
pub enum ImageSource {
    /// Bytes in memory.
    Memory(Arc<InMemory>),
    /// Image files. With the feature `images`.
    #[cfg(feature = "images")]
    Files(Arc<ImageFolder>),
    /// Any other data set.
    Other(Arc<dyn Dataset>),
}

impl From<Arc<InMemory>> for ImageSource {
    fn from(data: Arc<InMemory>) -> ImageSource {
        ImageSource::Memory(data)
    }
}

impl From<InMemory> for ImageSource {
    fn from(data: InMemory) -> ImageSource {
        ImageSource::Memory(data.into())
    }
}

impl From<InMemory<f32>> for ImageSource {
    fn from(data: InMemory<f32>) -> ImageSource {
        ImageSource::other(data)
    }
}

#[cfg(feature = "images")]
impl From<ImageFolder> for ImageSource {
    fn from(folder: ImageFolder) -> ImageSource {
        ImageSource::Files(folder.into())
    }
}

impl From<Arc<dyn Dataset>> for ImageSource {
    fn from(data: Arc<dyn Dataset>) -> ImageSource {
        ImageSource::Other(data)
    }
}

impl ImageSource {
    /// A data set of one's own.
    #[must_use]
    pub fn other(data: impl Dataset + 'static) -> ImageSource {
        ImageSource::Other(Arc::new(data))
    }

    /// The same images with the classes in the order of `names`; each keeps its class, whose label
    /// is then another number.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless `names` has every class once, and nothing
    /// else.
    pub fn with_classes(&self, names: &[String]) -> Result<ImageSource> {
        Ok(match self {
            ImageSource::Memory(data) => data.with_classes(names)?.into(),
            #[cfg(feature = "images")]
            ImageSource::Files(folder) => folder.with_classes(names)?.into(),
            ImageSource::Other(data) => ImageSource::other(Relabelled {
                places: relabelling(data.classes(), names)?,
                classes: names.to_vec(),
                data: Arc::clone(data),
            }),
        })
    }

    fn data(&self) -> &dyn Dataset {
        match self {
            ImageSource::Memory(data) => data,
            #[cfg(feature = "images")]
            ImageSource::Files(folder) => folder,
            ImageSource::Other(data) => data,
        }
    }
}

impl Dataset for ImageSource {
    same_as!(self => self.data());
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ImageSource({} {})", self.len(), self.name())
    }
}

/// A data set whose classes have another order.
struct Relabelled {
    data: Arc<dyn Dataset>,
    /// What becomes of each label of the data.
    places: Vec<usize>,
    classes: Vec<String>,
}

impl Dataset for Relabelled {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn channels(&self) -> usize {
        self.data.channels()
    }

    fn size(&self) -> Option<[usize; 2]> {
        self.data.size()
    }

    fn label(&self, index: usize) -> Result<usize> {
        let label = self.data.label(index)?;
        // A label that is no class stays none: who asked for it says so.
        Ok(self.places.get(label).copied().unwrap_or(label))
    }

    fn image(&self, index: usize) -> Result<Image<'_>> {
        self.data.image(index)
    }

    fn image_part(
        &self,
        index: usize,
        part: &mut dyn FnMut([usize; 2]) -> [usize; 4],
    ) -> Result<Image<'_>> {
        self.data.image_part(index, part)
    }

    fn name(&self) -> &str {
        self.data.name()
    }

    fn path(&self, index: usize) -> Option<PathBuf> {
        self.data.path(index)
    }

    fn is_in_memory(&self) -> bool {
        self.data.is_in_memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_in_another_order_are_the_same_images_whatever_the_source() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let before = names(&["cat", "dog", "eel"]);
        let data = InMemory::new(vec![7_u8; 4], [1, 1, 1], vec![2, 0, 1, 0], before);
        let data = data.expect("valid").with_name("animals");
        for source in [ImageSource::other(data.clone()), ImageSource::from(data)] {
            let after = source.with_classes(&names(&["dog", "eel", "cat"])).expect("a permutation");
            assert_eq!([0, 1, 2, 3].map(|i| after.label(i).expect("in range")), [1, 2, 0, 2]);
            assert_eq!(after.classes(), ["dog", "eel", "cat"]);
            assert_eq!((after.name(), after.len(), after.size()), ("animals", 4, Some([1, 1])));
            assert_eq!(after.image(3).expect("in range"), source.image(3).expect("in range"));
            let message = source.with_classes(&names(&["dog"])).expect_err("one").to_string();
            assert!(message.contains("each once"), "{message}");
            let kept = matches!(after, ImageSource::Memory(_));
            assert_eq!(kept, matches!(source, ImageSource::Memory(_)));
        }
    }
}
