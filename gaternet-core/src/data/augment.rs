//! Random crop, horizontal flip, normalisation, cutout.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::dataset::{CHANNELS, Dataset, IMAGE_LEN, SIDE};
use super::stream;
use crate::{Error, Result, Tensor, storage};

/// Images of one task of the thread pool: enough work to be worth handing over.
const IMAGES_PER_TASK: usize = 16;

/// What is done to an image on its way to the model:
///
/// 1. pad by `crop_padding` pixels of `padding_mode` on each side and crop 32x32 at a random place,
/// 2. with `flip`, mirror left and right with probability 1/2,
/// 3. normalise: `(x / 255 - mean) / std` per channel,
/// 4. cutout (DeVries & Taylor 2017, arXiv 1708.04552): set a square with a side of `cutout` pixels to 0,
///    the mean colour; its centre is anywhere in the image, so part of it may lie outside.
///
/// The same order as torchvision's `RandomCrop(32, padding, padding_mode)`, `RandomHorizontalFlip()`,
/// `ToTensor()`, `Normalize(mean, std)` and the paper's `Cutout(n_holes=1, length=cutout)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Augment {
    /// Pixels of padding before the crop, below 32; 0 for no crop.
    pub crop_padding: usize,
    /// What the padding shows.
    pub padding_mode: PaddingMode,
    /// Whether to mirror half of the images.
    pub flip: bool,
    /// Side of the square that is cut out, in pixels (16 is usual on CIFAR-10, 8 on CIFAR-100); 0 for
    /// none.
    pub cutout: usize,
    /// Mean of each channel, on a scale of 0 to 1.
    pub mean: [f32; CHANNELS],
    /// Standard deviation of each channel, on a scale of 0 to 1.
    pub std: [f32; CHANNELS],
}

/// What lies beyond the border of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaddingMode {
    /// Black (0), as is usual on CIFAR.
    #[default]
    Constant,
    /// The image mirrored at its outermost pixels, which are not repeated: no edge that is not in the
    /// picture.
    Reflect,
}

impl PaddingMode {
    /// Where the pixel at `position` of a row or column of the padded image comes from.
    fn source(self, position: isize) -> Option<usize> {
        let last = SIDE as isize - 1;
        let inside = match self {
            PaddingMode::Constant => position,
            PaddingMode::Reflect => last - (last - position.abs()).abs(),
        };
        usize::try_from(inside).ok().filter(|&inside| inside < SIDE)
    }
}

impl Augment {
    /// The usual training augmentation of CIFAR: 4 pixels of padding, flips.
    #[must_use]
    pub fn train() -> Augment {
        Augment { crop_padding: 4, flip: true, ..Augment::eval() }
    }

    /// Nothing but the normalisation with the statistics of CIFAR-10.
    #[must_use]
    pub fn eval() -> Augment {
        Augment {
            crop_padding: 0,
            padding_mode: PaddingMode::Constant,
            flip: false,
            cutout: 0,
            mean: [0.4914, 0.4822, 0.4465],
            std: [0.2470, 0.2435, 0.2616],
        }
    }

    /// The images `indices` of `data`, augmented on all cores: (`indices.len()`, 3, 32, 32).
    ///
    /// What happens to image `i` depends on `seed`, `epoch` and `i` only.
    ///
    /// # Errors
    /// [`Error::Config`] if an index is not below N, the padding is 32 or more, a mean is not finite or
    /// a standard deviation is not a positive finite number.
    pub fn batch(
        &self,
        data: &Dataset,
        indices: &[usize],
        seed: u64,
        epoch: u64,
    ) -> Result<Tensor> {
        self.check()?;
        let images = indices.iter().map(|&index| data.image(index).ok_or(index));
        let images: Vec<&[u8]> =
            images.collect::<Result<_, _>>().map_err(|index| Error::Config {
                field: "indices",
                value: format!("{index} of {} images", data.len()),
                rule: "must be below the number of images",
            })?;
        let mut out = storage::take(images.len() * IMAGE_LEN);
        out.par_chunks_exact_mut(IMAGE_LEN)
            .zip(images)
            .zip(indices)
            .with_min_len(IMAGES_PER_TASK)
            .for_each(|((out, image), &index)| {
                let rng = &mut stream(seed, epoch, index as u64);
                let crop = Crop::sample(self, rng);
                self.apply(crop, image, out);
                if self.cutout > 0 {
                    cut_out(self.cutout, [0, 1].map(|_| rng.random_range(0..SIDE)), out);
                }
            });
        Tensor::new(out, [indices.len(), CHANNELS, SIDE, SIDE])
    }

    /// `Err` unless every field is usable.
    pub(super) fn check(&self) -> Result<()> {
        let fail = |field, value, rule| Err(Error::Config { field, value, rule });
        if self.crop_padding >= SIDE {
            return fail("crop_padding", self.crop_padding.to_string(), "must be below 32");
        }
        if !self.mean.iter().all(|mean| mean.is_finite()) {
            return fail("mean", format!("{:?}", self.mean), "must be finite");
        }
        if !self.std.iter().all(|std| std.is_finite() && *std > 0.0) {
            return fail("std", format!("{:?}", self.std), "must be positive and finite");
        }
        Ok(())
    }

    fn apply(&self, crop: Crop, image: &[u8], out: &mut [f32]) {
        let normalisation = self.mean.iter().zip(&self.std);
        let planes = image.chunks_exact(SIDE * SIDE).zip(out.chunks_exact_mut(SIDE * SIDE));
        for ((plane, out), (&mean, &std)) in planes.zip(normalisation) {
            for (y, out) in out.chunks_exact_mut(SIDE).enumerate() {
                let row = crop.row(self.padding_mode, plane, y);
                for (out, pixel) in out.iter_mut().zip(row) {
                    *out = (f32::from(pixel) / 255.0 - mean) / std;
                }
            }
        }
    }
}

/// Zeros a square around `centre` (y, x) in every plane, as far as it lies inside. A square with an even
/// side reaches one pixel further up and left.
fn cut_out(side: usize, centre: [usize; 2], out: &mut [f32]) {
    let [rows, columns] = centre.map(|centre| {
        let end = centre + side.min(2 * SIDE).div_ceil(2);
        centre.saturating_sub(side / 2)..end.min(SIDE)
    });
    for plane in out.chunks_exact_mut(SIDE * SIDE) {
        for row in plane.chunks_exact_mut(SIDE).take(rows.end).skip(rows.start) {
            row[columns.clone()].fill(0.0);
        }
    }
}

/// One draw: the output at (y, x) shows the input at (y + down, x + right), mirrored with `flip`.
#[derive(Clone, Copy)]
struct Crop {
    down: isize,
    right: isize,
    flip: bool,
}

impl Crop {
    fn sample(augment: &Augment, rng: &mut ChaCha8Rng) -> Crop {
        // `check` keeps the padding below 32.
        let padding = augment.crop_padding as i32;
        let mut shift = || rng.random_range(-padding..=padding) as isize;
        Crop { down: shift(), right: shift(), flip: augment.flip && rng.random() }
    }

    /// Row `y` of the cropped (and mirrored) plane.
    fn row(self, mode: PaddingMode, plane: &[u8], y: usize) -> [u8; SIDE] {
        let mut row = [0; SIDE];
        if let Some(source) = mode.source(y as isize + self.down) {
            let source = &plane[source * SIDE..][..SIDE];
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = mode.source(x as isize + self.right).map_or(0, |x| source[x]);
            }
        }
        if self.flip {
            row.reverse();
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 images of pseudo-random bytes.
    fn dataset() -> Dataset {
        let images =
            (0..1000 * IMAGE_LEN as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
        Dataset::new(images.collect(), vec![0; 1000], vec!["any".into()]).expect("valid")
    }

    fn raw() -> Augment {
        Augment { mean: [0.0; 3], std: [1.0 / 255.0; 3], ..Augment::eval() }
    }

    #[test]
    fn eval_normalises_each_channel() {
        let data = Dataset::new(
            (0..IMAGE_LEN).map(|i| (i / 1024 * 100) as u8).collect(),
            vec![0],
            vec!["any".into()],
        );
        let batch = Augment::eval().batch(&data.expect("valid"), &[0], 0, 0).expect("batch");
        assert_eq!(batch.dims(), [1, 3, 32, 32]);
        // PyTorch: transforms.Normalize(mean, std)(torch.tensor([0, 100, 200]) / 255)
        for (plane, want) in batch.data().chunks(1024).zip([-1.989_474, -0.369_787, 1.291_337]) {
            assert!(plane.iter().all(|&x| (x - want).abs() < 1e-5), "{} is not {want}", plane[0]);
        }
    }

    #[test]
    fn crops_show_every_offset_and_flips_half_and_borders_are_those_of_the_mode() {
        let data = dataset();
        for padding_mode in [PaddingMode::Constant, PaddingMode::Reflect] {
            let augment = Augment { crop_padding: 2, padding_mode, flip: true, ..raw() };
            let all: Vec<_> = (0..data.len()).collect();
            let batch = augment.batch(&data, &all, 1, 0).expect("batch");
            let mut seen = std::collections::BTreeMap::new();
            for (i, out) in batch.data().chunks(IMAGE_LEN).enumerate() {
                let image = data.image(i).expect("image");
                let draws = (-2..=2).flat_map(|d| (-2..=2).map(move |r| (d, r)));
                let draws = draws.flat_map(|(d, r)| [(d, r, false), (d, r, true)]);
                let found: Vec<_> =
                    draws.filter(|&draw| shows(out, image, draw, padding_mode)).collect();
                assert_eq!(
                    found.len(),
                    1,
                    "{padding_mode:?}: image {i} is not one crop of its source"
                );
                *seen.entry(found[0]).or_insert(0) += 1;
            }
            assert_eq!(seen.len(), 50, "{seen:?}");
            let flipped: i32 = seen.iter().filter(|(draw, _)| draw.2).map(|(_, n)| n).sum();
            assert!((450..=550).contains(&flipped), "{flipped} of 1000 flipped");
        }
    }

    /// The specification of one draw, pixel by pixel.
    fn shows(
        out: &[f32],
        image: &[u8],
        (down, right, flip): (isize, isize, bool),
        mode: PaddingMode,
    ) -> bool {
        let beyond = |at: isize| match mode {
            _ if (0..32).contains(&at) => Some(at),
            PaddingMode::Constant => None,
            // numpy.pad(..., mode="reflect")
            PaddingMode::Reflect if at < 0 => Some(-at),
            PaddingMode::Reflect => Some(62 - at),
        };
        out.iter().enumerate().all(|(at, &got)| {
            let (c, y, x) = (at / 1024, at / 32 % 32, at % 32);
            let x = if flip { 31 - x } else { x };
            let from = beyond(y as isize + down).zip(beyond(x as isize + right));
            let want = from.map_or(0, |(y, x)| image[c * 1024 + (y * 32 + x) as usize]);
            (got - f32::from(want)).abs() < 1e-3
        })
    }

    #[test]
    fn cutout_clears_a_clipped_square() {
        let cleared = |side, centre| {
            let mut out = vec![1.0; IMAGE_LEN];
            cut_out(side, centre, &mut out);
            let (first, rest) = out.split_at(1024);
            assert!(rest.chunks(1024).all(|plane| plane == first), "channels differ");
            let hole = |&at: &usize| first[at] == 0.0;
            let holes: Vec<_> = (0..1024).filter(hole).map(|at| (at / 32, at % 32)).collect();
            (holes.first().copied(), holes.last().copied(), holes.len())
        };
        assert_eq!(cleared(1, [0, 31]), (Some((0, 31)), Some((0, 31)), 1));
        assert_eq!(cleared(3, [10, 20]), (Some((9, 19)), Some((11, 21)), 9));
        assert_eq!(cleared(16, [16, 16]), (Some((8, 8)), Some((23, 23)), 256));
        assert_eq!(cleared(16, [2, 30]), (Some((0, 22)), Some((9, 31)), 100));
        assert_eq!(cleared(usize::MAX, [7, 7]), (Some((0, 0)), Some((31, 31)), 1024));
    }

    #[test]
    fn cutout_is_anywhere_and_changes_no_other_draw() {
        let data = dataset();
        let all: Vec<_> = (0..data.len()).collect();
        // No pixel is 0 by itself.
        let augment = Augment { crop_padding: 2, flip: true, mean: [-1.0; 3], ..raw() };
        let whole = augment.batch(&data, &all, 1, 0).expect("batch");
        let cut = Augment { cutout: 16, ..augment }.batch(&data, &all, 1, 0).expect("batch");
        let pixels = cut.data().iter().zip(whole.data());
        assert!(pixels.clone().all(|(&cut, &whole)| cut == 0.0 || cut == whole));
        // The centre is uniform, so each side of the square is whole for 17 of 32 centres.
        let whole_square = |image: &&[f32]| image.iter().filter(|&&x| x == 0.0).count() == 3 * 256;
        let count = cut.data().chunks(IMAGE_LEN).filter(whole_square).count();
        assert!((240..325).contains(&count), "{count} of 1000 squares are whole, expected 282");
    }

    #[test]
    fn draws_depend_on_seed_epoch_and_image_only() {
        let data = dataset();
        let augment = Augment { crop_padding: 4, flip: true, ..raw() };
        let batch = |indices: &[usize], seed, epoch| {
            augment.batch(&data, indices, seed, epoch).expect("batch").data().to_vec()
        };
        let many: Vec<_> = (0..100).collect();
        let all = batch(&many, 3, 5);
        assert_eq!(batch(&[42], 3, 5), all[42 * IMAGE_LEN..][..IMAGE_LEN]);
        assert_ne!(batch(&many, 3, 6), all, "another epoch");
        assert_ne!(batch(&many, 4, 5), all, "another seed");
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("pool");
        assert_eq!(one_thread.install(|| batch(&many, 3, 5)), all);
    }

    #[test]
    fn unusable_fields_are_errors() {
        let data = dataset();
        let cases = [
            ("crop_padding = 32", Augment { crop_padding: 32, ..raw() }),
            ("std = [1.0, 0.0, 1.0]", Augment { std: [1.0, 0.0, 1.0], ..raw() }),
            ("mean = [NaN, 0.0, 0.0]", Augment { mean: [f32::NAN, 0.0, 0.0], ..raw() }),
        ];
        for (part, augment) in cases {
            let message = augment.batch(&data, &[0], 0, 0).expect_err(part).to_string();
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
        let message = raw().batch(&data, &[1000], 0, 0).expect_err("index").to_string();
        assert!(message.contains("1000"), "{message}");
    }
}
