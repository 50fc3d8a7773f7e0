//! Images that are resized, from files and from memory.

use std::path::Path;

use super::super::{ImageFolder, Loader, LoaderConfig, synthetic};
use super::tests::{bytes, dataset, hash, in_memory, raw};
use super::*;

fn scaled(mean: [f32; 3], std: [f32; 3]) -> Normalize {
    Normalize { mean: mean.into(), std: std.into() }
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
    let batch = center.batch(&data, &all, 0, 0).expect("batch");
    assert_eq!(batch.dims(), [40, 3, 30, 30]);
    // The even ones come first. The first is 40x50: its crop begins at (10, 5).
    for (at, out) in batch.data().chunks(2700).enumerate() {
        let number = if at < 20 { 2 * at } else { 2 * (at - 20) + 1 };
        assert!(out[..900].iter().all(|red| (red - number as f32).abs() < 1e-3), "image {at}");
    }
    let first = &batch.data()[900..2700];
    assert!((first[0] - 5.0).abs() < 1e-3 && (first[900] - 10.0).abs() < 1e-3, "{first:?}");
    let flipped = Augment { flip: true, ..center.clone() };
    let flipped = flipped.batch(&data, &all, 0, 0).expect("batch");
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
    let random = Augment { cutout: 4, normalize: scaled([-1.0; 3], [1.0 / 255.0; 3]), ..random };
    let batch = random.batch(&data, &all, 0, 0).expect("batch");
    assert_eq!(batch.dims(), [40, 3, 8, 8]);
    let cut = |out: &&[f32]| out.iter().filter(|&&x| x == 0.0).count() == 3 * 16;
    assert!(batch.data().chunks(192).filter(cut).count() > 5, "no square was cut out");
}

#[test]
fn a_random_crop_depends_on_seed_epoch_and_image_only() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = folder(dir.path(), 30);
    let augment = Augment { flip: true, ..Augment::train_resized(16) };
    let config = LoaderConfig { batch_size: 8, drop_last: false, shuffle: true, seed: 5, augment };
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
        let batch = config.augment.batch(&data, indices, 5, 2).expect("good files");
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
    let planes = bytes(&data, 7);
    let at = |c: usize, x: u32, y: u32| planes[c * 1024 + (y * 32 + x) as usize];
    write(&class.join("7.png"), [32; 2], |x, y| [at(0, x, y), at(1, x, y), at(2, x, y)]);
    let files = ImageFolder::open(dir.path()).expect("just written");
    let one = in_memory(planes.clone(), [32; 2], 1);
    for augment in [
        Augment { cutout: 8, ..Augment::train() },
        Augment { resized: Some(ResizedCrop::Random { size: 24, scale: [0.2, 1.0] }), ..raw() },
    ] {
        for epoch in 0..4 {
            let want = augment.batch(&one, &[0], 1, epoch).expect("batch");
            let got = augment.batch(&files, &[0], 1, epoch).expect("batch");
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
    let config = LoaderConfig { batch_size: 4, drop_last: false, shuffle: false, seed: 0, augment };
    let loader = Loader::new(data.clone(), config).expect("valid");
    let batches: Vec<_> = loader.epoch(0).collect();
    let messages: Vec<_> =
        batches.iter().filter_map(|batch| batch.as_ref().err()).map(Error::to_string).collect();
    assert_eq!(messages.len(), 2, "the first batch and the second one");
    assert!(messages[0].contains("004.png"), "{messages:?}");
    assert!(messages[1].contains("003.png") && messages[1].contains("8 bytes"), "{messages:?}");

    let message = Augment::eval().batch(&data, &[0], 0, 0).expect_err("not 32x32");
    let message = message.to_string();
    for part in ["000.png", "32x32 pixels, or a size to resize images to", "40x50"] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    let both = Augment { crop_padding: 4, ..Augment::eval_resized(16) };
    let message = both.batch(&data, &[0], 0, 0).expect_err("both crops").to_string();
    assert!(message.contains("crop_padding = 4: must be 0 where images are resized"), "{message}");
}

#[test]
fn images_of_any_size_in_memory_are_resized() {
    let size @ [height, width] = [48, 40];
    let pixels = |i: usize| (i.wrapping_mul(2_654_435_761) >> 24) as u8;
    let images: Vec<u8> = (0..100 * 3 * height * width).map(pixels).collect();
    let data = in_memory(images, size, 100);
    let whole = resized(ResizedCrop::Center { size: 40, resize: 40 });
    let batch = whole.batch(&data, &[5], 0, 0).expect("batch");
    assert_eq!(batch.dims(), [1, 3, 40, 40]);
    let image = bytes(&data, 5);
    for (at, &got) in batch.data().iter().enumerate() {
        // The middle 40 of 48 rows.
        let (plane, y, x) = (at / 1600, at / 40 % 40 + 4, at % 40);
        assert!((got - f32::from(image[(plane * height + y) * width + x])).abs() < 1e-3);
    }
}

#[test]
fn files_of_another_size_need_no_resizing_where_the_folder_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = folder(dir.path(), 4).with_size([50, 42]);
    let message = Augment::eval().batch(&data, &[0], 0, 0).expect_err("40 wide").to_string();
    for part in ["000.png", "42x50 pixels, or a size", "40x50"] {
        assert!(message.contains(part), "no {part:?} in {message:?}");
    }
    let batch = Augment { crop_padding: 3, ..raw() }.batch(&data, &[1], 0, 0).expect("42 wide");
    assert_eq!(batch.dims(), [1, 3, 50, 42]);
}

#[test]
fn resized_batches_keep_their_bits_from_version_to_version() {
    let (data, _) = synthetic(5, 200, 0);
    let dir = tempfile::tempdir().expect("a folder");
    let files = folder(dir.path(), 40);
    let train = Augment { cutout: 5, ..Augment::train_resized(24) };
    let eval = Augment::eval_resized(28);
    let [all, every]: [Vec<usize>; 2] = [(0..200).rev().collect(), (0..40).collect()];
    for (augment, memory, disk) in [
        (train, 0x1739_912e_7fae_88b0, 0x2abb_7a06_f704_2df0),
        (eval, 0x1f34_9b9f_dcd9_5df4, 0x3a03_e0f9_b680_d4ed_u64),
    ] {
        let batch = augment.batch(&data, &all, 3, 7).expect("batch");
        assert_eq!(hash(batch.data()), memory, "{augment:?} of memory");
        let batch = augment.batch(&files, &every, 3, 7).expect("batch");
        assert_eq!(hash(batch.data()), disk, "{augment:?} of files");
    }
}

#[test]
fn images_of_requests_are_resized_as_those_of_a_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    let data = folder(dir.path(), 20);
    let all: Vec<_> = (0..data.len()).collect();
    let eval = Augment::eval_resized(28);
    let want = eval.batch(&data, &all, 0, 0).expect("batch");
    let open = |i| Image::open(data.path(i).expect("in range")).expect("just written");
    let images: Vec<_> = all.iter().map(|i| open(*i)).collect();
    let got = eval.batch_of_images(&images).expect("images of several sizes");
    assert_eq!((got.dims(), got.data()), (want.dims(), want.data()));
}
