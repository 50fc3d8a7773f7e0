//! Images as they come out, against their specification pixel by pixel.

use super::super::{InMemory, Loader, LoaderConfig, synthetic};
use super::*;

const IMAGE_LEN: usize = 3072;

pub(super) fn in_memory(images: Vec<u8>, size: [usize; 2], count: usize) -> InMemory {
    let [height, width] = size;
    let data = InMemory::new(images, [3, height, width], vec![0; count], vec!["any".into()]);
    data.expect("valid")
}

/// The bytes of an image, (C, H, W).
pub(super) fn bytes(data: &InMemory, index: usize) -> Vec<u8> {
    data.image(index).expect("image").bytes().expect("bytes").to_vec()
}

fn scaled(mean: [f32; 3], std: [f32; 3]) -> Normalize {
    Normalize { mean: mean.into(), std: std.into() }
}

/// 1,000 images of pseudo-random bytes.
pub(super) fn dataset() -> InMemory {
    let images = (0..1000 * IMAGE_LEN as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
    in_memory(images.collect(), [32; 2], 1000)
}

pub(super) fn raw() -> Augment {
    Augment { normalize: scaled([0.0; 3], [1.0 / 255.0; 3]), ..Augment::eval() }
}

#[test]
fn eval_normalises_each_channel() {
    let images = (0..IMAGE_LEN).map(|i| (i / 1024 * 100) as u8).collect();
    let data = in_memory(images, [32; 2], 1);
    let batch = Augment::eval().batch(&data, &[0], 0, 0).expect("batch");
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
            let image = bytes(&data, i);
            let draws = (-2..=2).flat_map(|d| (-2..=2).map(move |r| (d, r)));
            let draws = draws.flat_map(|(d, r)| [(d, r, false), (d, r, true)]);
            let found: Vec<_> =
                draws.filter(|&draw| shows(out, &image, draw, padding_mode)).collect();
            assert_eq!(found.len(), 1, "{padding_mode:?}: image {i} is not one crop of its source");
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
        cut_out(side, centre, [32; 2], &mut out);
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
    let augment = Augment {
        crop_padding: 2,
        flip: true,
        normalize: scaled([-1.0; 3], [1.0 / 255.0; 3]),
        ..raw()
    };
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
        (
            "std = [1.0, 0.0, 1.0]",
            Augment { normalize: scaled([0.0; 3], [1.0, 0.0, 1.0]), ..raw() },
        ),
        (
            "mean = [NaN, 0.0, 0.0]",
            Augment { normalize: scaled([f32::NAN, 0.0, 0.0], [1.0; 3]), ..raw() },
        ),
    ];
    for (part, augment) in cases {
        let message = augment.batch(&data, &[0], 0, 0).expect_err(part).to_string();
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    let message = raw().batch(&data, &[1000], 0, 0).expect_err("index").to_string();
    assert!(message.contains("1000"), "{message}");
}

#[test]
fn images_of_any_size_in_memory_are_shifted_and_mirrored() {
    let size @ [height, width] = [48, 40];
    let pixels = |i: usize| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let images: Vec<u8> = (0..100 * 3 * height * width).map(pixels).collect();
    let data = in_memory(images, size, 100);
    let all: Vec<_> = (0..100).collect();
    let augment = Augment { crop_padding: 3, flip: true, cutout: 10, ..raw() };
    let batch = augment.batch(&data, &all, 1, 0).expect("batch");
    assert_eq!(batch.dims(), [100, 3, 48, 40]);
    let mut shifts = std::collections::BTreeSet::new();
    for (i, out) in batch.data().chunks(3 * height * width).enumerate() {
        let image = bytes(&data, i);
        let shown = |down: isize, right: isize, flip: bool| {
            out.iter().enumerate().all(|(at, &got)| {
                let (plane, y, x) = (at / (height * width), at / width % height, at % width);
                let x = if flip { width - 1 - x } else { x };
                let y = (y as isize + down) as usize;
                let x = (x as isize + right) as usize;
                let inside = y < height && x < width;
                let want = if inside { image[(plane * height + y) * width + x] } else { 0 };
                // 0 is what cutout leaves.
                got == 0.0 || (got - f32::from(want)).abs() < 1e-3
            })
        };
        let draws = (-3..=3).flat_map(|down| (-3..=3).map(move |right| (down, right)));
        let draws = draws.flat_map(|(down, right)| [(down, right, false), (down, right, true)]);
        let found: Vec<_> = draws.filter(|&(down, right, flip)| shown(down, right, flip)).collect();
        assert_eq!(found.len(), 1, "image {i}: {found:?}");
        shifts.extend(found);
    }
    assert!(shifts.len() > 40, "{shifts:?}");

    let small = in_memory(vec![0; 3 * 20 * 8], [20, 8], 1);
    let padded = Augment { crop_padding: 8, ..raw() };
    let message = padded.batch(&small, &[0], 0, 0).expect_err("padding").to_string();
    assert!(message.contains("crop_padding = 8 with images of 20x8"), "{message}");
}

#[test]
fn every_number_of_channels_and_every_type_is_augmented_as_colours_are() {
    let (size @ [height, width], count) = ([20, 12], 40);
    let plane = height * width;
    let samples: Vec<u8> = (0..count * 3 * plane).map(|i| (i * i % 251) as u8).collect();
    let colours = in_memory(samples.clone(), size, count);
    let all: Vec<_> = (0..count).collect();
    let augment = Augment { crop_padding: 4, flip: true, cutout: 5, ..Augment::eval() };
    let want = augment.batch(&colours, &all, 9, 2).expect("batch");
    for channels in [1, 2, 4, 7] {
        let image = |i: usize| -> Vec<u8> {
            (0..channels)
                .flat_map(|c| samples[(i * 3 + c % 3) * plane..][..plane].to_vec())
                .collect()
        };
        let bytes: Vec<u8> = (0..count).flat_map(image).collect();
        let numbers: Vec<f32> = bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        let shape = [channels, height, width];
        let (labels, names) = (vec![0; count], vec!["any".to_owned()]);
        let bytes = InMemory::new(bytes, shape, labels.clone(), names.clone()).expect("valid");
        let numbers = InMemory::new(numbers, shape, labels, names).expect("valid");
        let cycled = |of: &[f32]| (0..channels).map(|c| of[c % 3]).collect::<Vec<_>>();
        let Normalize { mean, std } = &augment.normalize;
        let normalize = Normalize { mean: cycled(mean), std: cycled(std) };
        let augment = Augment { normalize, ..augment.clone() };
        let sets: [&dyn Dataset; 2] = [&bytes, &numbers];
        for data in sets {
            let got = augment.batch(data, &all, 9, 2).expect("batch");
            assert_eq!(got.dims(), [count, channels, height, width]);
            let images = got.data().chunks(channels * plane).zip(want.data().chunks(3 * plane));
            for (got, want) in images {
                for (c, got) in got.chunks(plane).enumerate() {
                    assert_eq!(got, &want[c % 3 * plane..][..plane], "channel {c} of {channels}");
                }
            }
        }
    }
}

#[test]
fn images_of_no_data_set_are_a_batch_as_those_of_one() {
    let data = dataset();
    let images = [7, 0, 999].map(|i| data.image(i).expect("image"));
    let want = Augment::eval().batch(&data, &[7, 0, 999], 5, 5).expect("batch");
    let got = Augment::eval().batch_of_images(&images).expect("three images");
    assert_eq!((got.dims(), got.data()), (want.dims(), want.data()));
    let normalised = Augment::eval().normalize.batch(&images).expect("three images");
    assert_eq!(normalised.data(), want.data());
    assert!(Augment::eval().batch_of_images(&[]).is_err(), "no image");
    let small = Image::new(vec![0_u8; 12], Layout::Hwc, [3, 2, 2]).expect("fits");
    let [first, ..] = images;
    let message = Augment::eval().batch_of_images(&[first, small]).expect_err("sizes").to_string();
    assert!(message.contains("whose images differ in size"), "{message}");
}

/// FNV-1a of the bits.
pub(super) fn hash(values: &[f32]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A stored run is repeated bit by bit, so whoever changes these bits breaks it. They were printed
/// by the code that knew 32x32 RGB only.
#[test]
fn batches_keep_their_bits_from_version_to_version() {
    let (data, _) = synthetic(5, 200, 0);
    let all: Vec<_> = (0..200).rev().collect();
    for (augment, bits) in [
        (Augment::eval(), 0x8b64_1275_e6f3_1ea7),
        (Augment { cutout: 11, ..Augment::train() }, 0xdccb_243a_e90f_f104),
        (Augment { padding_mode: PaddingMode::Reflect, ..Augment::train() }, 0xe68c_fb2c_bf97_44d5),
    ] {
        let batch = augment.batch(&data, &all, 3, 7).expect("batch");
        assert_eq!(hash(batch.data()), bits, "{augment:?}");
    }
    let config = LoaderConfig {
        batch_size: 7,
        drop_last: false,
        shuffle: true,
        seed: 11,
        augment: Augment::train(),
    };
    let mut seen = Vec::new();
    for batch in Loader::new(data, config).expect("valid").epoch_from(3, 2) {
        let batch = batch.expect("in memory");
        seen.extend_from_slice(batch.images.data());
        seen.extend(batch.labels.iter().map(|label| *label as f32));
    }
    assert_eq!(hash(&seen), 0xb752_ba51_f1e2_8b36, "the rest of an epoch");
}

#[cfg(not(feature = "images"))]
#[test]
fn resizing_without_the_feature_is_an_error_that_names_it() {
    let data = in_memory(vec![0; IMAGE_LEN], [32; 2], 1);
    let message = Augment::eval_resized(24).batch(&data, &[0], 0, 0).expect_err("no feature");
    assert!(message.to_string().contains("takes the feature `images`"), "{message}");
}
