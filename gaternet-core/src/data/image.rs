//! One image: its samples, their type and their order.

use std::borrow::Cow;

use crate::{Error, Result};

/// Order of the samples of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// (C, H, W): planes, as CIFAR's files and PyTorch's tensors have them.
    Chw,
    /// (H, W, C): pixel by pixel, as image files, Pillow and OpenCV have them.
    Hwc,
}

/// The samples of an image, borrowed or owned.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Pixels<'a> {
    /// Bytes, 0 to 255. A normalisation divides them by 255 first, as torchvision's `ToTensor`.
    U8(Cow<'a, [u8]>),
    /// Numbers on the scale of the normalisation, usually 0 to 1.
    F32(Cow<'a, [f32]>),
}

impl Pixels<'_> {
    /// Number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Pixels::U8(samples) => samples.len(),
            Pixels::F32(samples) => samples.len(),
        }
    }

    /// True if there is no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a> From<&'a [u8]> for Pixels<'a> {
    fn from(samples: &'a [u8]) -> Pixels<'a> {
        Pixels::U8(samples.into())
    }
}

impl From<Vec<u8>> for Pixels<'_> {
    fn from(samples: Vec<u8>) -> Self {
        Pixels::U8(samples.into())
    }
}

impl<'a> From<&'a [f32]> for Pixels<'a> {
    fn from(samples: &'a [f32]) -> Pixels<'a> {
        Pixels::F32(samples.into())
    }
}

impl From<Vec<f32>> for Pixels<'_> {
    fn from(samples: Vec<f32>) -> Self {
        Pixels::F32(samples.into())
    }
}

/// Type of a sample: `u8` or `f32`; see [`Pixels`] for their scales.
pub trait Pixel: sealed::Sample {}

impl Pixel for u8 {}
impl Pixel for f32 {}

pub(super) mod sealed {
    use std::fmt::Debug;

    use super::Pixels;

    /// What the augmentation does with a sample. Its default is black.
    pub trait Sample: Copy + Default + PartialEq + Debug + Send + Sync + 'static {
        fn pixels(samples: &[Self]) -> Pixels<'_>;

        /// The samples, if they are of this type.
        fn samples<'a>(pixels: &'a Pixels<'_>) -> Option<&'a [Self]>;

        /// `(x - mean) / std`, with `x` on a scale of 0 to 1.
        fn normaliser(mean: f32, std: f32) -> impl Fn(Self) -> f32;
    }

    impl Sample for u8 {
        fn pixels(samples: &[u8]) -> Pixels<'_> {
            samples.into()
        }

        fn samples<'a>(pixels: &'a Pixels<'_>) -> Option<&'a [u8]> {
            match pixels {
                Pixels::U8(samples) => Some(samples),
                Pixels::F32(_) => None,
            }
        }

        fn normaliser(mean: f32, std: f32) -> impl Fn(u8) -> f32 {
            let levels: [f32; 256] = std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
            move |byte| levels[usize::from(byte)]
        }
    }

    impl Sample for f32 {
        fn pixels(samples: &[f32]) -> Pixels<'_> {
            samples.into()
        }

        fn samples<'a>(pixels: &'a Pixels<'_>) -> Option<&'a [f32]> {
            match pixels {
                Pixels::F32(samples) => Some(samples),
                Pixels::U8(_) => None,
            }
        }

        fn normaliser(mean: f32, std: f32) -> impl Fn(f32) -> f32 {
            move |sample| (sample - mean) / std
        }
    }
}

/// An image of any size and any number of channels.
#[derive(Debug, Clone, PartialEq)]
pub struct Image<'a> {
    pixels: Pixels<'a>,
    layout: Layout,
    /// C, H, W.
    shape: [usize; 3],
}

impl<'a> Image<'a> {
    /// Samples in the order of `layout`; `shape` is [C, H, W] whatever the order is.
    ///
    /// # Errors
    /// [`Error::Shape`] unless C is at least 1, H and W are 1 to 2^31 - 1 and there are C · H · W
    /// samples.
    pub fn new(
        pixels: impl Into<Pixels<'a>>,
        layout: Layout,
        shape: [usize; 3],
    ) -> Result<Image<'a>> {
        let pixels = pixels.into();
        if samples_of(shape) != Some(pixels.len()) {
            let [channels, height, width] = shape;
            return Err(Error::Shape {
                op: "Image::new",
                rule: "C must be at least 1, H and W 1 to 2^31 - 1, with C H W samples",
                got: format!("{} samples for ({channels}, {height}, {width})", pixels.len()),
            });
        }
        Ok(Image { pixels, layout, shape })
    }

    /// Pixels that are known to be as many as `shape` says.
    #[cfg(feature = "images")]
    pub(super) fn of_checked(pixels: Vec<u8>, layout: Layout, shape: [usize; 3]) -> Image<'a> {
        debug_assert_eq!(samples_of(shape), Some(pixels.len()));
        Image { pixels: pixels.into(), layout, shape }
    }

    /// The samples in the order of [`layout`](Self::layout).
    #[must_use]
    pub fn pixels(&self) -> &Pixels<'a> {
        &self.pixels
    }

    /// The samples if they are bytes.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.pixels {
            Pixels::U8(samples) => Some(samples),
            Pixels::F32(_) => None,
        }
    }

    /// Order of the samples.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// C.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.shape[0]
    }

    /// [H, W] in pixels.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.shape[1], self.shape[2]]
    }

    /// The same image, borrowed.
    pub(super) fn view(&self) -> Image<'_> {
        let pixels = match &self.pixels {
            Pixels::U8(samples) => Pixels::U8(Cow::Borrowed(samples)),
            Pixels::F32(samples) => Pixels::F32(Cow::Borrowed(samples)),
        };
        Image { pixels, layout: self.layout, shape: self.shape }
    }

    /// The same image with its samples in the order of `layout`.
    #[must_use]
    pub fn into_layout(self, layout: Layout) -> Image<'a> {
        if layout == self.layout {
            return self;
        }
        let Image { pixels, layout: from, shape } = self;
        let pixels = match pixels {
            Pixels::U8(samples) => reordered(&samples, from, shape).into(),
            Pixels::F32(samples) => reordered(&samples, from, shape).into(),
        };
        Image { pixels, layout, shape }
    }

    /// The part of it that `view` says: left, top, width, height, in pixels.
    ///
    /// # Errors
    /// [`Error::Shape`] unless the part has a pixel and lies in the image.
    pub fn crop(self, view: [usize; 4]) -> Result<Image<'a>> {
        let [left, top, width, height] = view;
        let [channels, rows, columns] = self.shape;
        let inside = |start: usize, len: usize, side: usize| {
            len > 0 && start.checked_add(len).is_some_and(|end| end <= side)
        };
        if !inside(left, width, columns) || !inside(top, height, rows) {
            return Err(Error::Shape {
                op: "Image::crop",
                rule: "the part must have a pixel and lie in the image",
                got: format!("{width}x{height} at ({left}, {top}) of {columns}x{rows}"),
            });
        }
        if [width, height] == [columns, rows] {
            return Ok(self);
        }
        let (layout, whole) = (self.layout, self.shape);
        let pixels = match &self.pixels {
            Pixels::U8(samples) => part(samples, layout, whole, view).into(),
            Pixels::F32(samples) => part(samples, layout, whole, view).into(),
        };
        Ok(Image { pixels, layout, shape: [channels, height, width] })
    }
}

/// C H W; `None` if an image cannot have that shape.
pub(super) fn samples_of([channels, height, width]: [usize; 3]) -> Option<usize> {
    let sides = [height, width].iter().all(|side| (1..1 << 31).contains(side));
    let plane = height.checked_mul(width)?;
    (channels > 0 && sides).then(|| plane.checked_mul(channels)).flatten()
}

/// Samples of the order `from` in the other one.
fn reordered<T: Copy>(samples: &[T], from: Layout, [channels, h, w]: [usize; 3]) -> Vec<T> {
    let plane = h * w;
    match from {
        Layout::Chw => {
            let at = |i: usize| samples[i % channels * plane + i / channels];
            (0..samples.len()).map(at).collect()
        }
        Layout::Hwc => {
            let channel = |c| samples.iter().skip(c).step_by(channels).copied();
            (0..channels).flat_map(channel).collect()
        }
    }
}

fn part<T: Copy>(
    samples: &[T],
    layout: Layout,
    [channels, rows, columns]: [usize; 3],
    [left, top, width, height]: [usize; 4],
) -> Vec<T> {
    // Planes of rows of pixels.
    let (planes, pixel) = match layout {
        Layout::Chw => (channels, 1),
        Layout::Hwc => (1, channels),
    };
    let row = |plane: usize, y: usize| {
        &samples[((plane * rows + top + y) * columns + left) * pixel..][..width * pixel]
    };
    let every = (0..planes).flat_map(|plane| (0..height).map(move |y| (plane, y)));
    let mut part = Vec::with_capacity(channels * height * width);
    every.for_each(|(plane, y)| part.extend_from_slice(row(plane, y)));
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sample (c, y, x) is 100 c + 10 y + x.
    fn planes() -> Image<'static> {
        let at = |i: usize| (i / 12 * 100 + i / 4 % 3 * 10 + i % 4) as u8;
        Image::new((0..24).map(at).collect::<Vec<_>>(), Layout::Chw, [2, 3, 4]).expect("24 bytes")
    }

    #[test]
    fn both_orders_are_the_same_image_and_give_the_same_parts() {
        let interleaved = planes().into_layout(Layout::Hwc);
        assert_eq!(interleaved.bytes().expect("bytes")[..6], [0, 100, 1, 101, 2, 102]);
        assert_eq!(interleaved.clone().into_layout(Layout::Chw), planes());
        let view = [1, 1, 2, 2];
        let part = planes().crop(view).expect("inside");
        assert_eq!(part.bytes(), Some(&[11, 12, 21, 22, 111, 112, 121, 122][..]));
        assert_eq!((part.size(), part.channels()), ([2, 2], 2));
        let other = interleaved.crop(view).expect("inside");
        assert_eq!(other.into_layout(Layout::Chw), part);
    }

    #[test]
    fn a_borrowed_whole_is_not_copied() {
        let samples = [0.5_f32; 6];
        let image = Image::new(&samples[..], Layout::Hwc, [1, 2, 3]).expect("6 samples");
        let whole = image.crop([0, 0, 3, 2]).expect("all of it");
        let Pixels::F32(Cow::Borrowed(same)) = whole.pixels() else { panic!("a copy") };
        assert!(std::ptr::eq(*same, &samples[..]));
    }

    #[test]
    fn shapes_and_parts_that_cannot_be_are_errors() {
        let new = |shape| Image::new(vec![0_u8; 12], Layout::Chw, shape);
        for shape in [[3, 2, 3], [0, 3, 4], [12, 0, 1], [usize::MAX, 2, 2], [1, usize::MAX, 12]] {
            let message = new(shape).expect_err("shape").to_string();
            assert!(message.contains("12 samples for ("), "{message}");
        }
        for view in [[0, 0, 5, 1], [3, 0, 2, 1], [0, 1, 1, 3], [0, 0, 0, 1], [usize::MAX, 0, 2, 1]]
        {
            let message = planes().crop(view).expect_err("view").to_string();
            assert!(message.contains("of 4x3"), "{message}");
        }
    }
}
