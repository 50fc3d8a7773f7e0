//! Images as they come out, against their specification pixel by pixel.

use std::path::Path;

use super::super::dataset::IMAGE_LEN;
use super::super::{ImageSource, Loader, LoaderConfig};
use super::*;

/// 1,000 images of pseudo-random bytes.
fn dataset() -> Dataset {
    let images = (0..1000 * IMAGE_LEN as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8);
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

/// An image file; its name says nothing of its format.
fn write(path: &Path, [width, height]: [u32; 2], pixel: impl Fn(u32, u32) -> [u8; 3]) {
    let mut bytes = format!("P6 {width} {height} 255\n").into_bytes();
    bytes.extend(
        (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y)),
    );
    std::fs::write(path, bytes).expect("a writable folder");
}

/// Files of two classes, `count` of them, 40 to 59 pixels wide. Image i has red i, green x, blue y.
fn folder(dir: &Path, count: u32) -> ImageFolder {
    for i in 0..count {
        let class = dir.join(["even", "odd"][i as usize % 2]);
        std::fs::create_dir_all(&class).expect("a folder");
        let path = class.join(format!("{i:03}.png"));
        write(&path, [40 + i % 20, 50], |x, y| [i as u8, x as u8, y as u8]);
    }
    ImageFolder::open(dir).expect("just written")
}

fn resized(crop: ResizedCrop) -> Augment {
    Augment { resized: Some(crop), ..raw() }
}

#[test]
fn files_are_resized_cropped_flipped_and_normalised() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = folder(dir.path(), 40);
    let all: Vec<_> = (0..data.len()).collect();
    let center = resized(ResizedCrop::Center { size: 30, resize: 40 });
    let batch = center.batch_of_files(&data, &all, 0, 0).expect("batch");
    assert_eq!(batch.dims(), [40, 3, 30, 30]);
    // The even ones come first. The first is 40x50: its crop begins at (10, 5).
    for (at, out) in batch.data().chunks(2700).enumerate() {
        let number = if at < 20 { 2 * at } else { 2 * (at - 20) + 1 };
        assert!(out[..900].iter().all(|red| (red - number as f32).abs() < 1e-3), "image {at}");
    }
    let first = &batch.data()[900..2700];
    assert!((first[0] - 5.0).abs() < 1e-3 && (first[900] - 10.0).abs() < 1e-3, "{first:?}");
    let flipped = Augment { flip: true, ..center.clone() };
    let flipped = flipped.batch_of_files(&data, &all, 0, 0).expect("batch");
    let mirrored = |row: &[f32]| row.iter().rev().copied().collect::<Vec<_>>();
    let mut count = 0;
    for (got, want) in flipped.data().chunks(2700).zip(batch.data().chunks(2700)) {
        let is_mirrored = got[900..930] != want[900..930];
        count += usize::from(is_mirrored);
        for (got, want) in got.chunks(30).zip(want.chunks(30)) {
            assert_eq!(got, if is_mirrored { mirrored(want) } else { want.to_vec() });
        }
    }
    assert!((10..30).contains(&count), "{count} of 40 flipped");

    let random = resized(ResizedCrop::Random { size: 8, scale: [0.1, 0.3] });
    let random = Augment { cutout: 4, mean: [-1.0; 3], ..random };
    let batch = random.batch_of_files(&data, &all, 0, 0).expect("batch");
    assert_eq!(batch.dims(), [40, 3, 8, 8]);
    let cut = |out: &&[f32]| out.iter().filter(|&&x| x == 0.0).count() == 3 * 16;
    assert!(batch.data().chunks(192).filter(cut).count() > 5, "no square was cut out");
}

#[test]
fn a_random_crop_depends_on_seed_epoch_and_image_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = ImageSource::from(folder(dir.path(), 30));
    let augment = Augment { flip: true, ..Augment::train_resized(16) };
    let config = LoaderConfig { batch_size: 8, shuffle: true, seed: 5, augment };
    let epoch = |epoch| {
        let loader = Loader::new(data.clone(), config.clone()).expect("valid");
        let batches = loader.epoch(epoch).map(|batch| batch.expect("good files"));
        batches.map(|batch| (batch.labels, batch.images.data().to_vec())).collect::<Vec<_>>()
    };
    let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("pool");
    let first = epoch(2);
    assert_eq!(first.len(), 4);
    let order: Vec<usize> = first.iter().flat_map(|(labels, _)| labels.clone()).collect();
    assert_eq!(order.iter().sum::<usize>(), 15, "every image once");
    assert_eq!(epoch(2), first);
    assert_ne!(epoch(3), first);
    let all: Vec<_> = (0..30).collect();
    let batch = |indices: &[usize]| {
        let batch = data.batch(&config.augment, indices, 5, 2).expect("good files");
        batch.data().to_vec()
    };
    let whole = batch(&all);
    assert_eq!(one_thread.install(|| batch(&all)), whole);
    assert_eq!(batch(&[17]), whole[17 * 768..18 * 768]);
}

#[test]
fn images_of_32_pixels_need_no_resizing_and_cifar_can_be_resized() {
    let dir = tempfile::tempdir().expect("a folder");
    let class = dir.path().join("any");
    std::fs::create_dir(&class).expect("a folder");
    let data = dataset();
    let planes = data.image(7).expect("image");
    let at = |c: usize, x: u32, y: u32| planes[c * 1024 + (y * 32 + x) as usize];
    write(&class.join("7.png"), [32; 2], |x, y| [at(0, x, y), at(1, x, y), at(2, x, y)]);
    let files = ImageFolder::open(dir.path()).expect("just written");
    let one = Dataset::new(planes.to_vec(), vec![0], vec!["any".into()]).expect("valid");
    for augment in [
        Augment { cutout: 8, ..Augment::train() },
        Augment { resized: Some(ResizedCrop::Random { size: 24, scale: [0.2, 1.0] }), ..raw() },
    ] {
        for epoch in 0..4 {
            let want = augment.batch(&one, &[0], 1, epoch).expect("batch");
            let got = augment.batch_of_files(&files, &[0], 1, epoch).expect("batch");
            assert_eq!(got.data(), want.data());
        }
    }
}

#[test]
fn a_bad_file_ends_the_epoch_with_its_name() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = folder(dir.path(), 12);
    for broken in ["even/004.png", "odd/003.png"] {
        std::fs::write(dir.path().join(broken), "no image").expect("a writable folder");
    }
    let augment = Augment::eval_resized(16);
    let config = LoaderConfig { batch_size: 4, shuffle: false, seed: 0, augment };
    let loader = Loader::new(data.clone(), config).expect("valid");
    let batches: Vec<_> = loader.epoch(0).collect();
    let messages: Vec<_> =
        batches.iter().filter_map(|batch| batch.as_ref().err()).map(Error::to_string).collect();
    assert_eq!(messages.len(), 2, "the first batch and the second one");
    assert!(messages[0].contains("004.png"), "{messages:?}");
    assert!(messages[1].contains("003.png") && messages[1].contains("8 bytes"), "{messages:?}");

    let message = Augment::eval().batch_of_files(&data, &[0], 0, 0).expect_err("not 32x32");
    let message = message.to_string();
    for part in ["000.png", "32x32 pixels, or a size to resize images to", "40x50"] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    let both = Augment { crop_padding: 4, ..Augment::eval_resized(16) };
    let message = both.batch_of_files(&data, &[0], 0, 0).expect_err("both crops").to_string();
    assert!(message.contains("crop_padding = 4: must be 0 where images are resized"), "{message}");
}

#[test]
fn images_of_any_size_in_memory_are_shifted_mirrored_and_resized() {
    let size @ [height, width] = [48, 40];
    let pixels = |i: usize| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let images: Vec<u8> = (0..100 * 3 * height * width).map(pixels).collect();
    let classes = vec!["any".into()];
    let data = Dataset::with_size(images, size, vec![0; 100], classes).expect("valid");
    let all: Vec<_> = (0..100).collect();
    let augment = Augment { crop_padding: 3, flip: true, cutout: 10, ..raw() };
    let batch = augment.batch(&data, &all, 1, 0).expect("batch");
    assert_eq!(batch.dims(), [100, 3, 48, 40]);
    let mut shifts = std::collections::BTreeSet::new();
    for (i, out) in batch.data().chunks(3 * height * width).enumerate() {
        let image = data.image(i).expect("image");
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

    let whole = resized(ResizedCrop::Center { size: 40, resize: 40 });
    let batch = whole.batch(&data, &[5], 0, 0).expect("batch");
    assert_eq!(batch.dims(), [1, 3, 40, 40]);
    let image = data.image(5).expect("image");
    for (at, &got) in batch.data().iter().enumerate() {
        // The middle 40 of 48 rows.
        let (plane, y, x) = (at / 1600, at / 40 % 40 + 4, at % 40);
        assert!((got - f32::from(image[(plane * height + y) * width + x])).abs() < 1e-3);
    }

    let small = Dataset::with_size(vec![0; 3 * 20 * 8], [20, 8], vec![0], vec!["any".into()]);
    let padded = Augment { crop_padding: 8, ..raw() };
    let message =
        padded.batch(&small.expect("valid"), &[0], 0, 0).expect_err("padding").to_string();
    assert!(message.contains("crop_padding = 8 with images of 20x8"), "{message}");
}
