//! What a set of labelled images is.

use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use super::Image;
use crate::{Error, Result};

/// Labelled images that can be asked for in any order, from several threads at once: what a
/// [`Loader`](super::Loader) goes through and [`Augment`](super::Augment) prepares, as PyTorch's
/// `Dataset` of map style. [`InMemory`](super::InMemory) images,
/// [`Cifar`](super::Cifar), [`synthetic`](super::synthetic) ones and image folders are such sets;
/// so is any type of yours that has these methods:
///
/// ```
/// use gaternet_core::data::{Augment, Dataset, Image, Layout, Loader, LoaderConfig, Normalize};
///
/// /// Grey images of 28x28 pixels: bright on the left or on the right.
/// struct Halves(Vec<String>);
///
/// impl Dataset for Halves {
///     fn len(&self) -> usize { 100 }
///     fn classes(&self) -> &[String] { &self.0 }
///     fn channels(&self) -> usize { 1 }
///     fn size(&self) -> Option<[usize; 2]> { Some([28, 28]) }
///     fn label(&self, index: usize) -> gaternet_core::Result<usize> { Ok(index % 2) }
///     fn image(&self, index: usize) -> gaternet_core::Result<Image<'_>> {
///         let bright = |x: usize| x / 14 == index % 2;
///         let bytes: Vec<u8> = (0..28 * 28).map(|i| 255 * u8::from(bright(i % 28))).collect();
///         Image::new(bytes, Layout::Chw, [1, 28, 28])
///     }
/// }
///
/// let halves = Halves(vec!["left".to_owned(), "right".to_owned()]);
/// let augment = Augment { normalize: Normalize::of(&halves)?, flip: false, ..Augment::train() };
/// let config = LoaderConfig { batch_size: 10, drop_last: false, shuffle: true, seed: 0, augment };
/// let batch = Loader::new(halves, config)?.epoch(0).next().expect("ten batches")?;
/// assert_eq!(batch.images.dims(), [10, 1, 28, 28]);
/// # Ok::<_, gaternet_core::Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// N, the number of images.
    fn len(&self) -> usize;

    /// True if there is no image.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The names of the classes.
    fn classes(&self) -> &[String];

    /// C, the number of channels of every image.
    fn channels(&self) -> usize;

    /// [H, W] in pixels that every image has; an image of another size is then an error that says
    /// which one it is, unless images are resized. `None` if they differ: such images have to be
    /// resized.
    fn size(&self) -> Option<[usize; 2]>;

    /// The class of image `index`, below the number of [`classes`](Self::classes).
    ///
    /// # Errors
    /// [`Error::Config`] from N on, and whatever reading the label meets.
    fn label(&self, index: usize) -> Result<usize>;

    /// Image `index`.
    ///
    /// # Errors
    /// [`Error::Config`] from N on, and whatever reading the image meets.
    fn image(&self, index: usize) -> Result<Image<'_>>;

    /// A part of image `index`: `part` gets the size of the image, [H, W], and says left, top,
    /// width and height in pixels. Worth writing where a part is read faster than the whole.
    ///
    /// # Errors
    /// Those of [`image`](Self::image) and [`Image::crop`].
    fn image_part(
        &self,
        index: usize,
        part: &mut dyn FnMut([usize; 2]) -> [usize; 4],
    ) -> Result<Image<'_>> {
        let image = self.image(index)?;
        let view = part(image.size());
        image.crop(view)
    }

    /// What checkpoints call the set, as in `cifar10`.
    fn name(&self) -> &str {
        "images"
    }

    /// The file of image `index`, if it has one.
    fn path(&self, index: usize) -> Option<PathBuf> {
        let _ = index;
        None
    }

    /// Whether an image is read at the cost of a look at memory, so that a task of the thread pool
    /// had better take several. It changes the speed only.
    fn is_in_memory(&self) -> bool {
        false
    }
}

/// The methods of a [`Dataset`] that are those of another one, `$data` of `$self`.
macro_rules! same_as {
    ($self:ident => $data:expr) => {
        fn len(&$self) -> usize {
            $data.len()
        }

        fn is_empty(&$self) -> bool {
            $data.is_empty()
        }

        fn classes(&$self) -> &[String] {
            $data.classes()
        }

        fn channels(&$self) -> usize {
            $data.channels()
        }

        fn size(&$self) -> Option<[usize; 2]> {
            $data.size()
        }

        fn label(&$self, index: usize) -> $crate::Result<usize> {
            $data.label(index)
        }

        fn image(&$self, index: usize) -> $crate::Result<$crate::data::Image<'_>> {
            $data.image(index)
        }

        fn image_part(
            &$self,
            index: usize,
            part: &mut dyn FnMut([usize; 2]) -> [usize; 4],
        ) -> $crate::Result<$crate::data::Image<'_>> {
            $data.image_part(index, part)
        }

        fn name(&$self) -> &str {
            $data.name()
        }

        fn path(&$self, index: usize) -> Option<std::path::PathBuf> {
            $data.path(index)
        }

        fn is_in_memory(&$self) -> bool {
            $data.is_in_memory()
        }
    };
}
pub(super) use same_as;

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    same_as!(self => (**self));
}

/// The images of `data` that cannot be read, in order, each with the reason. All of them are read,
/// on all cores. [`Subset::without`](super::Subset::without) leaves them out.
#[must_use]
pub fn bad_images(data: &dyn Dataset) -> Vec<(usize, Error)> {
    let read = |index| Some((index, data.image(index).err()?));
    (0..data.len()).into_par_iter().filter_map(read).collect()
}

/// An `Err` for an index that is not below the number of images.
pub(super) fn no_image(index: usize, len: usize) -> Error {
    Error::Config {
        field: "indices",
        value: format!("{index} of {len} images"),
        rule: "must be below the number of images",
    }
}

/// The label that each label of `classes` becomes where the classes are in the order of `names`.
///
/// # Errors
/// [`Error::Config`] unless `names` has every class once, and nothing else.
pub(super) fn relabelling(classes: &[String], names: &[String]) -> Result<Vec<usize>> {
    let [mut before, mut after] = [classes, names].map(<[String]>::to_vec);
    before.sort();
    after.sort();
    if before != after || after.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::Config {
            field: "class names",
            value: format!("{names:?} for {classes:?}"),
            rule: "must be those of the images, each once",
        });
    }
    let place = |class: &String| names.iter().position(|name| name == class);
    Ok(classes.iter().filter_map(place).collect())
}
