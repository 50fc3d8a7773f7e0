//! Crops of images of any size, resized to one.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{F32, U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::decode::View;
use super::normalize::misfit;
use super::resized_crop::ResizedCrop;
use super::{Dataset, Image, Layout, Pixels};
use crate::{Error, Result};

/// Width over height of a random crop.
const RATIO: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];
/// Draws before a random crop takes the middle of the image.
const ATTEMPTS: usize = 10;

/// What is read of an image: the pixels within `view`, of which `part` (left, top, width, height,
/// relative to the view) is spread over the output.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Region {
    view: View,
    part: [f64; 4],
}

impl ResizedCrop {
    /// Image `index` of `data` with C channels of `size` x `size` pixels.
    pub(super) fn read(
        self,
        data: &dyn Dataset,
        index: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Image<'static>> {
        let mut region = None;
        let part = data.image_part(index, &mut |[height, width]| {
            // An image with a side of 0 is none, and its data set has yet to find that.
            let region = region.insert(self.region([width.max(1), height.max(1)], rng));
            region.view
        })?;
        let region = region.ok_or_else(|| Error::Shape {
            op: "Dataset::image_part",
            rule: "it must ask which part is wanted",
            got: format!("an image {index} without that"),
        })?;
        let [_, _, width, height] = region.view;
        if part.size() != [height, width] || part.channels() != data.channels() {
            return Err(misfit(data, index, &part));
        }
        region.resize(part, self.size())
    }

    /// What is taken of an image with `sides` [width, height].
    fn region(self, sides: [usize; 2], rng: &mut ChaCha8Rng) -> Region {
        match self {
            ResizedCrop::Random { scale, .. } => random(scale, sides, rng),
            ResizedCrop::Center { size, resize } => center(size, resize, sides),
        }
    }
}

impl Region {
    /// `image` is what lies in the view.
    fn resize(self, image: Image<'_>, size: usize) -> Result<Image<'static>> {
        let (channels, sides) = (image.channels(), image.size());
        // Colours at once, which is faster; other channels plane by plane, so that the last of four
        // is no transparency.
        let layout = match (image.pixels(), channels) {
            (Pixels::U8(_), 3) => Layout::Hwc,
            _ => Layout::Chw,
        };
        let image = image.into_layout(layout);
        let pixels = match (image.pixels(), layout) {
            (Pixels::U8(bytes), Layout::Hwc) => self.scaled::<U8x3>(bytes, sides, size).into(),
            (Pixels::U8(bytes), Layout::Chw) => {
                self.planes(bytes, sides, |plane| self.scaled::<U8>(plane, sides, size)).into()
            }
            (Pixels::F32(numbers), _) => {
                self.planes(numbers, sides, |plane| self.scaled::<F32>(plane, sides, size)).into()
            }
        };
        let pixels: Pixels<'static> = pixels;
        Image::new(pixels, layout, [channels, size, size])
    }

    fn planes<T>(
        self,
        samples: &[T],
        [h, w]: [usize; 2],
        scaled: impl Fn(&[T]) -> Vec<T>,
    ) -> Vec<T> {
        samples.chunks_exact(h * w).flat_map(scaled).collect()
    }

    /// `samples` with `sides` [height, width] of this view as `size` x `size` pixels.
    fn scaled<P>(
        self,
        samples: &[P::Component],
        sides: [usize; 2],
        size: usize,
    ) -> Vec<P::Component>
    where
        P: PixelTrait,
        P::Component: bytemuck::Pod,
    {
        // Sides of images and of crops are checked before: a failure here would be our own mistake.
        const VALID: &str = "the region lies within the image";
        let side = |side: usize| u32::try_from(side).expect(VALID);
        let [height, width] = sides.map(side);
        let bytes = bytemuck::cast_slice(samples);
        let source = TypedImageRef::<P>::from_buffer(width, height, bytes).expect(VALID);
        let mut pixels = vec![bytemuck::Zeroable::zeroed(); P::count_of_components() * size * size];
        let target = bytemuck::cast_slice_mut(&mut pixels);
        let mut target = TypedImage::<P>::from_buffer(side(size), side(size), target).expect(VALID);
        let [left, top, width, height] = self.part;
        let bilinear = ResizeAlg::Convolution(FilterType::Bilinear);
        let options = ResizeOptions::new().resize_alg(bilinear).crop(left, top, width, height);
        // Of one type: the routine that takes any would be compiled for all of them.
        Resizer::new().resize_typed(&source, &mut target, &options).expect(VALID);
        pixels
    }
}

fn center(size: usize, resize: usize, sides: [usize; 2]) -> Region {
    let [width, height] = sides;
    let shorter = width.min(height);
    // The longer side is rounded down, so the two scales differ a little.
    let resized = sides.map(|side| resize * side / shorter);
    let mut part = [0.0; 4];
    for axis in 0..2 {
        let scale = sides[axis] as f64 / resized[axis] as f64;
        let start = ((resized[axis] - size) as f64 / 2.0).round_ties_even() * scale;
        part[axis] = start;
        part[axis + 2] = (size as f64 * scale).min(sides[axis] as f64 - start);
    }
    Region { view: [0, 0, width, height], part }
}

fn random(scale: [f64; 2], [width, height]: [usize; 2], rng: &mut ChaCha8Rng) -> Region {
    let whole = |[left, top, w, h]: [usize; 4]| {
        let part = [0.0, 0.0, w as f64, h as f64];
        Region { view: [left, top, w, h], part }
    };
    for _ in 0..ATTEMPTS {
        let area = (width * height) as f64 * rng.random_range(scale[0]..=scale[1]);
        let ratio = rng.random_range(RATIO[0].ln()..=RATIO[1].ln()).exp();
        let [w, h] =
            [area * ratio, area / ratio].map(|square| square.sqrt().round_ties_even() as usize);
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let top = rng.random_range(0..=height - h);
            let left = rng.random_range(0..=width - w);
            return whole([left, top, w, h]);
        }
    }
    let rounded = |side: f64| (side.round_ties_even() as usize).max(1);
    let ratio = width as f64 / height as f64;
    let w = if ratio > RATIO[1] { rounded(height as f64 * RATIO[1]) } else { width };
    let h = if ratio < RATIO[0] { rounded(width as f64 / RATIO[0]) } else { height };
    whole([(width - w) / 2, (height - h) / 2, w, h])
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::super::decode::Rgb;
    use super::*;

    /// The image of the Python lines below.
    fn image(width: usize, height: usize) -> Rgb {
        let pixel = |i: usize| {
            let (c, x, y) = (i % 3, i / 3 % width, i / 3 / width);
            (x * 37 + y * 101 + c * 59 + x * y * 7) as u8
        };
        Rgb { width, height, pixels: (0..width * height * 3).map(pixel).collect() }
    }

    fn rng() -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(3)
    }

    /// A data set of one image.
    struct One(Image<'static>);

    impl Dataset for One {
        fn len(&self) -> usize {
            1
        }

        fn classes(&self) -> &[String] {
            &[]
        }

        fn channels(&self) -> usize {
            self.0.channels()
        }

        fn size(&self) -> Option<[usize; 2]> {
            None
        }

        fn label(&self, _: usize) -> Result<usize> {
            Ok(0)
        }

        fn image(&self, _: usize) -> Result<Image<'_>> {
            Ok(self.0.clone())
        }
    }

    /// (size, size, C).
    fn read(crop: ResizedCrop, image: Image<'static>) -> Image<'static> {
        let image = crop.read(&One(image), 0, &mut rng()).expect("no file to read");
        image.into_layout(Layout::Hwc)
    }

    fn applied(crop: ResizedCrop, image: &Rgb) -> Vec<u8> {
        read(crop, image.part([0, 0, image.width, image.height]).into())
            .bytes()
            .expect("bytes")
            .to_vec()
    }

    fn same(got: &[u8], channel: usize, want: &[&[u8]]) {
        let got: Vec<_> = got.iter().skip(channel).step_by(3).copied().collect();
        let close = |(got, want): (&u8, &u8)| got.abs_diff(*want) <= 1;
        assert!(got.iter().zip(&want.concat()).all(close), "{got:?} is not {want:?} to a rounding");
        assert_eq!(got.len(), want.concat().len());
    }

    /// Pillow 13.0, torchvision 0.29:
    ///
    /// ```python
    /// a = numpy.zeros((17, 23, 3), numpy.uint8)
    /// for y in range(17):
    ///     for x in range(23):
    ///         for c in range(3): a[y, x, c] = (x * 37 + y * 101 + c * 59 + x * y * 7) % 256
    /// image = Image.fromarray(a)
    /// numpy.asarray(CenterCrop(7)(Resize(9)(image)))[:, :, 0]
    /// numpy.asarray(CenterCrop(6)(Resize(20)(image)))[:, :, 1]
    /// numpy.asarray(resized_crop(image, 3, 5, 11, 13, [8, 8]))[:, :, 2]
    /// numpy.asarray(resized_crop(image, 2, 4, 3, 5, [6, 6]))[:, :, 2]
    /// ```
    #[test]
    fn pixels_are_those_of_torchvision() {
        let image = image(23, 17);
        let down = ResizedCrop::Center { size: 7, resize: 9 };
        #[rustfmt::skip]
        same(&applied(down, &image), 0, &[
            &[122, 151, 150, 148, 135, 131, 162], &[121, 127, 151, 111, 136, 124, 140],
            &[126, 134, 133, 115, 100, 154, 131], &[133, 144, 96, 122, 131, 112, 153],
            &[92, 124, 134, 111, 151, 110, 113], &[93, 83, 140, 149, 137, 122, 121],
            &[99, 108, 122, 124, 124, 133, 143],
        ]);
        let up = ResizedCrop::Center { size: 6, resize: 20 };
        #[rustfmt::skip]
        same(&applied(up, &image), 1, &[
            &[64, 121, 166, 232, 107, 141], &[85, 54, 126, 197, 51, 85],
            &[108, 81, 55, 131, 115, 72], &[136, 114, 76, 65, 146, 124],
            &[168, 131, 140, 69, 96, 172], &[169, 185, 97, 188, 89, 125],
        ]);
        let crop = |view: [usize; 4], size| {
            let part = [0.0, 0.0, view[2] as f64, view[3] as f64];
            let image = image.part(view).into();
            let image = Region { view, part }.resize(image, size).expect("inside");
            image.bytes().expect("bytes").to_vec()
        };
        #[rustfmt::skip]
        same(&crop([5, 3, 13, 11], 8), 2, &[
            &[113, 88, 123, 162, 87, 150, 95, 90], &[123, 126, 136, 134, 125, 90, 164, 100],
            &[135, 169, 147, 156, 132, 126, 132, 118], &[155, 128, 154, 145, 154, 161, 103, 184],
            &[170, 122, 128, 149, 149, 105, 128, 138], &[149, 149, 120, 108, 99, 121, 125, 106],
            &[70, 153, 164, 147, 128, 112, 129, 136], &[80, 94, 118, 118, 114, 107, 96, 89],
        ]);
        #[rustfmt::skip]
        same(&crop([4, 2, 5, 3], 6), 2, &[
            &[12, 50, 93, 135, 178, 216], &[44, 84, 91, 108, 152, 191],
            &[109, 151, 86, 53, 100, 142], &[109, 155, 92, 62, 96, 92],
            &[46, 94, 109, 135, 139, 43], &[14, 63, 117, 171, 161, 18],
        ]);
    }

    #[test]
    fn an_image_of_the_right_size_is_itself() {
        let image = image(32, 32);
        let crop = ResizedCrop::Center { size: 32, resize: 32 };
        assert_eq!(applied(crop, &image), image.pixels);
    }

    #[test]
    fn random_crops_have_areas_and_ratios_of_the_range_all_over_the_image() {
        let (mut rng, scale) = (rng(), [0.08, 1.0]);
        let crops: Vec<_> = (0..4000).map(|_| random(scale, [500, 375], &mut rng).view).collect();
        let fractions = crops.iter().map(|[_, _, w, h]| (w * h) as f64 / (500.0 * 375.0));
        assert!(fractions.clone().all(|fraction| (0.078..=1.0).contains(&fraction)));
        // torchvision: the mean of 4000 draws of its get_params is 0.435 +- 0.004.
        let mean = fractions.sum::<f64>() / 4000.0;
        assert!((0.42..0.45).contains(&mean), "{mean}");
        assert!(crops.iter().all(|&[left, top, w, h]| {
            let ratio = w as f64 / h as f64;
            left + w <= 500 && top + h <= 375 && (0.73..1.37).contains(&ratio)
        }));
        let edge = |at: fn(&[usize; 4]) -> bool| crops.iter().filter(|view| at(view)).count();
        let small = |[_, _, w, _]: &[usize; 4]| *w < 200;
        assert!(edge(|view| view[0] == 0) > 10 && edge(|view| view[1] == 0) > 10);
        let right = crops.iter().filter(|view| small(view) && view[0] > 250).count();
        assert!((100..1500).contains(&right), "{right}");
    }

    #[test]
    fn an_image_that_no_draw_fits_gives_its_middle() {
        let scale = [0.9, 1.0];
        let view = |width, height| random(scale, [width, height], &mut rng()).view;
        assert_eq!(view(1000, 30), [480, 0, 40, 30]);
        assert_eq!(view(30, 1000), [0, 480, 30, 40]);
        assert_eq!(view(1, 1), [0, 0, 1, 1]);
        let thin = image(300, 1);
        for crop in
            [ResizedCrop::Random { size: 4, scale }, ResizedCrop::Center { size: 4, resize: 4096 }]
        {
            assert_eq!(applied(crop, &thin).len(), 48);
        }
    }

    #[test]
    fn channels_of_any_number_and_type_are_resized_as_colours_are() {
        for crop in [
            ResizedCrop::Center { size: 7, resize: 9 },
            ResizedCrop::Random { size: 30, scale: [0.3, 0.8] },
        ] {
            let colours = applied(crop, &image(23, 17));
            let planes = Image::from(image(23, 17)).into_layout(Layout::Chw);
            let bytes = planes.bytes().expect("bytes").to_vec();
            for channels in [1, 2, 4, 5] {
                let many: Vec<u8> =
                    (0..channels).flat_map(|c| &bytes[c % 3 * 391..][..391]).copied().collect();
                let many = Image::new(many, Layout::Chw, [channels, 17, 23]).expect("fits");
                let many = read(crop, many);
                let same = many.bytes().expect("bytes").chunks(channels).zip(colours.chunks(3));
                let close = |(got, want): (&u8, &u8)| got.abs_diff(*want) <= 1;
                same.for_each(|(got, want)| {
                    assert!(got.iter().zip(want).all(close), "{got:?} for {want:?}");
                });
            }
            let numbers: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte)).collect();
            let numbers = Image::new(numbers, Layout::Chw, [3, 17, 23]).expect("fits");
            let numbers = read(crop, numbers);
            let Pixels::F32(got) = numbers.pixels() else { panic!("another type") };
            // Bytes are rounded once a direction.
            let close = |(got, want): (&f32, &u8)| (got - f32::from(*want)).abs() < 1.6;
            assert!(got.iter().zip(&colours).all(close), "{got:?} for {colours:?}");
        }
    }
}
