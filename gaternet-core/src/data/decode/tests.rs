//! Files of tools/write_image_fixtures.py, against the pixels of Pillow; and a grid of JPEGs
//! against `djpeg`.

use std::process::{Command, Stdio};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn files(folder: &str) -> Vec<std::path::PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images").join(folder);
    let files = fs::read_dir(folder).expect("in the repository");
    let mut files: Vec<_> = files.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

fn bytes_of(name: &str) -> Vec<u8> {
    let found = ["good", "refused"].map(files).concat().into_iter();
    let path = found.into_iter().find(|path| self::name(path) == name).expect(name);
    fs::read(path).expect("in the repository")
}

fn worst(got: &[u8], want: &[u8]) -> u8 {
    assert_eq!(got.len(), want.len());
    got.iter().zip(want).map(|(got, want)| got.abs_diff(*want)).max().unwrap_or(0)
}

#[test]
fn pixels_are_those_of_pillow() {
    let (mut exact, mut close) = (0, 0);
    for path in files("good").iter().filter(|path| name(path).matches('.').count() == 1) {
        Rgb::check(path).unwrap_or_else(|error| panic!("{error}"));
        let got = Rgb::decode(path).unwrap_or_else(|error| panic!("{error}"));
        let want = Rgb::decode(&path.with_file_name(format!("{}.ppm", name(path)))).expect("a PPM");
        assert_eq!([got.width, got.height], [want.width, want.height], "{}", name(path));
        // Only JPEG leaves a decoder its own rounding.
        let is_jpeg = fs::read(path).expect("readable").starts_with(&[0xFF, 0xD8]);
        let worst = worst(&got.pixels, &want.pixels);
        assert!(worst <= if is_jpeg { 4 } else { 0 }, "{}: {worst} levels", name(path));
        *(if is_jpeg { &mut close } else { &mut exact }) += 1;
    }
    assert_eq!((exact, close), (31, 22), "files of other formats and JPEGs");
}

/// The parts of an image that differ in where decoding may end, and its edges.
fn views([width, height]: [usize; 2]) -> Vec<View> {
    let ends = (1..=height).map(|bottom| [0, bottom - 1, width, 1]);
    let tops = (1..=height).map(|bottom| [width / 3, 0, width.div_ceil(3), bottom]);
    ends.chain(tops).chain([[width - 1, height / 2, 1, height.div_ceil(2)]]).collect()
}

#[test]
fn parts_are_those_of_the_whole() {
    for path in files("good") {
        let whole = Rgb::decode(&path).unwrap_or_else(|error| panic!("{error}"));
        for view in views([whole.width, whole.height]) {
            let file = Encoded::open(&path).expect("decoded above");
            assert_eq!(file.size(), [whole.width, whole.height], "{}", name(&path));
            let part = file.decode(view).expect("decoded above");
            assert_eq!([part.width, part.height], [view[2], view[3]], "{}", name(&path));
            let row = |y: usize| {
                let start = 3 * ((view[1] + y) * whole.width + view[0]);
                &whole.pixels[start..start + 3 * view[2]]
            };
            let want: Vec<_> = (0..view[3]).flat_map(row).copied().collect();
            assert_eq!(part.pixels, want, "{view:?} of {}", name(&path));
        }
    }
}

#[test]
fn what_would_come_out_otherwise_is_refused_by_name_before_and_while_decoding() {
    let reasons = [
        ("12-bits.jpg", "12 bits a sample"),
        ("arithmetic.jpg", "arithmetic coding"),
        ("claims-more.jpg", "24576x24576 pixels, more than its"),
        ("cut-then-second.jpg", "where another image begins"),
        ("cut.bmp", "cut off after"),
        ("cut.jpg", "a JPEG cut off after"),
        ("cut.png", "cut off after"),
        ("cut.ppm", "cut off after"),
        ("cut.tif", "cut off after"),
        ("cut.webp", "cut off after"),
        ("empty.jpg", "0 bytes of no known type"),
        ("flipped.png", "chunk IDAT at byte 33 does not fit its checksum"),
        ("gif.png", "a GIF file"),
        ("jpeg.tif", "compression 7"),
        ("lossless.jpg", "a lossless JPEG"),
        ("luma-below-one.jpg", "samplings 1x1,2x1,1x1, the first below another"),
        ("luma-below.jpg", "samplings 1x1,2x2,2x2, the first below another"),
        ("narrow.jpg", "at most 4 pixels wide"),
        ("no-end.jpg", "a JPEG cut off after"),
        ("no-end.png", "cut off after"),
        ("no-height.jpg", "18x0 pixels"),
        ("page.jpg", "22 bytes of no known type"),
        ("palette.tif", "RGBPalette"),
        ("planes.tif", "inconsistent sizes"),
        ("run-lengths.bmp", "run lengths"),
        ("several-scans.jpg", "a sequential JPEG with several scans"),
        ("three-to-one.jpg", "samplings 3x1,1x1,1x1"),
        ("three-to-two.jpg", "samplings 3x1,2x1,1x1, not a whole ratio"),
        ("turned.tif", "orientation 6"),
        ("two-scans.jpg", "a sequential JPEG with several scans"),
        ("unfinished.jpg", "ends before its last scan"),
    ];
    let files = files("refused");
    assert_eq!(
        files.iter().map(|path| name(path)).collect::<Vec<_>>(),
        reasons.map(|(name, _)| name)
    );
    for (path, (name, reason)) in files.iter().zip(reasons) {
        for result in [Rgb::check(path), Rgb::decode(path).map(drop)] {
            let message = result.expect_err(name).to_string();
            assert!(
                message.contains(name) && message.contains(reason),
                "no {reason:?} in {message:?}"
            );
            assert!(message.contains("expected a whole JPEG, PNG, WebP"), "{message}");
        }
    }
}

#[test]
fn samples_of_sixteen_bits_keep_their_upper_eight() {
    let wide = b"P5 2 1 65535\n\x80\x00\xff\xff";
    let wide = Rgb::of_bytes(wide.to_vec(), LIMIT).expect("whole");
    assert_eq!(wide.pixels, [128, 128, 128, 255, 255, 255]);
    let mut png = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut png, 2, 1);
    encoder.set_color(::png::ColorType::Grayscale);
    encoder.set_depth(::png::BitDepth::Sixteen);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&[0x80, 0, 0xFF, 0xFF]).expect("two samples");
    drop(writer);
    assert_eq!(Rgb::of_bytes(png, LIMIT).expect("whole").pixels, wide.pixels);
}

#[test]
fn the_limit_counts_decoding_and_conversion_together() {
    for (file, least) in [
        // 18x14 pixels: result, samples before it, coefficients of a progressive JPEG; and the file
        // itself.
        ("1.png", 3 * 252 + 252),
        ("LA.png", 3 * 252 + 2 * 252),
        ("1x1-progressive.jpg", 3 * 252 + 3 * 6 * 128),
        ("1x1.jpg", 3 * 252),
        ("P.bmp", 3 * 252),
        ("lzw.tif", 3 * 252 + 3 * 252),
        ("lossy.webp", 3 * 252 + 252 * 3 / 2),
        ("P5.pgm", 3 * 252),
    ] {
        let bytes = bytes_of(file);
        let least = least + bytes.len() as u64;
        let message = Rgb::of_bytes(bytes.clone(), least - 1).expect_err(file);
        assert!(message.contains("18x14 pixels, which take 1 MiB to decode"), "{file}: {message}");
        Rgb::of_bytes(bytes, 16 * least).expect(file);
    }
    // What took 1.9 GB: one bit a pixel, and three bytes at the end.
    let mut png = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut png, 22_000, 22_000);
    encoder.set_depth(::png::BitDepth::One);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&vec![0; 2750 * 22_000]).expect("all rows");
    drop(writer);
    let message = Rgb::of_bytes(png, LIMIT).expect_err("too large");
    assert!(message.contains("22000x22000") && message.contains("more than 512 MiB"), "{message}");
}

#[test]
fn only_files_of_bytes_are_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let message = Rgb::decode(folder.path()).expect_err("a folder").to_string();
    assert!(message.contains("no file of bytes"), "{message}");
    let nowhere = folder.path().join("nowhere.jpg");
    let message = Rgb::check(&nowhere).expect_err("no file").to_string();
    assert!(message.contains("cannot read") && message.contains("nowhere.jpg"), "{message}");
}

/// No mutation may panic or make room for more than the file can hold.
#[test]
fn damaged_files_are_errors_or_images() {
    let seeds: Vec<_> = ["good", "refused"].map(files).concat();
    let seeds: Vec<_> = seeds.iter().map(|path| fs::read(path).expect("readable")).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut random = |below: usize| rng.random_range(0..below.max(1));
    let mut refused = 0;
    for round in 0..3000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(5) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] ^= 1 << random(8),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, random(256) as u8),
                3 => {
                    let at = at % bytes.len().min(64);
                    bytes[at] = [0, 1, 0x7F, 0xFF][random(4)];
                }
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(header) = Looked::of(&bytes, LIMIT) {
            assert!(
                header.memory < 64 << 20,
                "{} bytes for a file of {}",
                header.memory,
                bytes.len()
            );
        }
        refused += usize::from(Rgb::of_bytes(bytes, LIMIT).is_err());
    }
    assert!(refused > 1000, "{refused} of 3000 were refused");
}

fn tool(command: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &input));
    let output = child.wait_with_output().expect("waited for");
    // A program that refuses its input closes it early.
    writer.join().expect("no panic").ok();
    Some(output.stdout).filter(|_| output.status.success())
}

#[test]
fn a_grid_of_jpegs_is_decoded_as_by_djpeg_or_refused() {
    if tool(&["djpeg"], b"").is_none() && Command::new("djpeg").arg("-version").output().is_err() {
        gaternet_kernels::test_support::skipped("djpeg", "there is no djpeg");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let scans = folder.path().join("scans");
    fs::write(&scans, "0;\n1;\n2;\n").expect("a writable folder");
    let scans = scans.to_str().expect("Unicode");
    let (mut same, mut refused) = (0, 0);
    for [width, height] in [[1, 1], [7, 9], [10, 12], [33, 18], [50, 38]] {
        let pixel = |i: usize| {
            let (x, y, c) = (i / 3 % width, i / 3 / width, i % 3);
            ((x / 3 + y / 2 + c) % 2 * 130 + (x * 7 + y * 5 + c * 40) % 90) as u8
        };
        let mut ppm = format!("P6 {width} {height} 255\n").into_bytes();
        ppm.extend((0..width * height * 3).map(pixel));
        for luma in ["1x1", "2x1", "1x2", "2x2", "4x1", "1x4", "2x4", "3x1", "1x3"] {
            for chroma in ["1x1,1x1", "2x1,2x1", "1x2,1x2", "2x2,2x2", "2x1,1x1"] {
                let sampling = format!("{luma},{chroma}");
                for mode in [
                    &["-baseline"][..],
                    &["-progressive"],
                    &["-scans", scans],
                    &["-rgb"],
                    &["-grayscale"],
                ] {
                    let command = ["cjpeg", "-quality", "80", "-sample", &sampling];
                    // Not all samplings can be written.
                    let Some(jpeg) = tool(&[&command, mode].concat(), &ppm) else { continue };
                    let want = tool(&["djpeg", "-ppm"], &jpeg).expect("a valid file");
                    let want = Rgb::of_bytes(want, LIMIT).expect("a PPM");
                    match Rgb::of_bytes(jpeg.clone(), LIMIT) {
                        Ok(got) => {
                            for view in views([width, height]) {
                                let header = Looked::of(&jpeg, LIMIT).expect("decoded above");
                                let part = header.decode(jpeg.clone(), LIMIT, view);
                                let part = part.expect("decoded above").pixels;
                                assert_eq!(part, got.part(view).pixels, "{view:?}");
                            }
                            let worst = worst(&got.pixels, &want.pixels);
                            let at = format!("{width}x{height} {sampling} {mode:?}");
                            assert!(worst <= 4, "{at}: {worst} levels");
                            same += 1;
                        }
                        Err(reason) => {
                            let named = ["samplings", "several scans"];
                            assert!(named.iter().any(|name| reason.contains(name)), "{reason}");
                            refused += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(same > 300 && refused > 100, "{same} decoded, {refused} refused");
}

#[test]
fn bytes_of_a_file_are_the_image_of_the_file() {
    for path in files("good").iter().filter(|path| !name(path).ends_with(".ppm")) {
        let bytes = fs::read(path).expect("in the repository");
        let image = Image::decode(bytes.clone()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(image, Image::open(path).unwrap_or_else(|error| panic!("{error}")));
        let message = Image::decode(bytes[..9].to_vec()).expect_err("cut off").to_string();
        assert!(message.starts_with("Image::decode: a whole JPEG"), "{message}");
    }
}
