//! Image files to pixels.

use std::fs;
use std::path::Path;

use image::ImageFormat;

use super::dataset::{CHANNELS, SIDE};
use crate::{Error, Result};

/// An image of any size: bytes (height, width, 3), red, green, blue.
pub(super) struct Rgb {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

impl Rgb {
    /// Decodes a JPEG or PNG file, whatever its name says. Grey becomes three equal channels, transparency
    /// is left out, orientation in metadata is not applied: as `PIL.Image.open(path).convert("RGB")`.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Field`] naming it if it is no such image, broken,
    /// cut off, or would need more than 512 MiB.
    pub(super) fn decode(path: &Path) -> Result<Rgb> {
        let bytes = fs::read(path).map_err(|source| Error::Io {
            action: "read",
            path: path.to_path_buf(),
            source,
        })?;
        let fail = |got: String| Error::Field {
            path: path.to_path_buf(),
            field: "image".to_owned(),
            expected: "a whole JPEG or PNG file".to_owned(),
            got,
        };
        let format = match image::guess_format(&bytes) {
            Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
            Ok(other) => return Err(fail(format!("a file of type {other:?}"))),
            Err(_) => return Err(fail(format!("{} bytes of no known type", bytes.len()))),
        };
        if format == ImageFormat::Jpeg && is_cut_off(&bytes) {
            return Err(fail(format!("a JPEG cut off after {} bytes", bytes.len())));
        }
        let image = image::load_from_memory_with_format(&bytes, format)
            .map_err(|error| fail(error.to_string()))?
            .into_rgb8();
        let [width, height] = [image.width(), image.height()].map(|side| side as usize);
        Ok(Rgb { width, height, pixels: image.into_raw() })
    }

    /// Of planes (3, 32, 32).
    pub(super) fn from_planes(planes: &[u8]) -> Rgb {
        let at = |i: usize| planes[i % CHANNELS * SIDE * SIDE + i / CHANNELS];
        Rgb { width: SIDE, height: SIDE, pixels: (0..planes.len()).map(at).collect() }
    }

    /// (3, height, width).
    pub(super) fn planes(&self) -> Vec<u8> {
        let channel = |c| self.pixels.iter().skip(c).step_by(CHANNELS).copied();
        (0..CHANNELS).flat_map(channel).collect()
    }
}

/// Whether a JPEG has no end after its first scan. Decoders fill in what is missing, which would train on
/// grey rectangles.
fn is_cut_off(jpeg: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xDA;
    const END_OF_IMAGE: u8 = 0xD9;
    // After the start marker, segments up to the scan: one may hold a thumbnail with an end of its own.
    let mut at = 2;
    loop {
        match jpeg.get(at..at + 2) {
            Some([0xFF, START_OF_SCAN]) => {
                return !jpeg[at..].windows(2).rev().any(|pair| pair == [0xFF, END_OF_IMAGE]);
            }
            Some([0xFF, 0xFF]) => at += 1,
            // Markers that are alone.
            Some([0xFF, 0x01 | 0xD0..=0xD7]) => at += 2,
            Some([0xFF, _]) => match jpeg.get(at + 2..at + 4) {
                Some(&[high, low]) => at += 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return true,
            },
            // No segment where one should be: the decoder says what is wrong.
            Some(_) => return false,
            None => return true,
        }
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::jpeg::JpegEncoder;
    use image::{DynamicImage, GrayImage, ImageBuffer, LumaA, Rgb as Pixel, RgbImage, Rgba};

    use super::*;

    /// A smooth picture, which JPEG keeps.
    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Pixel([x * 5, y * 6, x + y].map(|v| v as u8)))
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a folder")
    }

    #[test]
    fn every_kind_of_png_becomes_rgb() {
        let folder = folder();
        let path = folder.path().join("image.png");
        let decode = |image: DynamicImage| {
            image.save(&path).expect("a writable folder");
            let Rgb { width, height, pixels } = Rgb::decode(&path).expect("just written");
            assert_eq!((width, height), (3, 2));
            pixels
        };
        let rgb = RgbImage::from_fn(3, 2, |x, y| Pixel([x as u8, y as u8, 200]));
        assert_eq!(decode(rgb.clone().into()), rgb.into_raw());
        let grey = decode(GrayImage::from_fn(3, 2, |x, y| [(10 * x + y) as u8].into()).into());
        assert_eq!(grey, [0, 10, 20, 1, 11, 21].map(|v| [v; 3]).concat());
        let alpha = |x: u32, _| Rgba([9, 8, x as u8, 100 * x as u8]);
        let alpha = decode(ImageBuffer::from_fn(3, 2, alpha).into());
        assert_eq!(alpha, [[9, 8, 0], [9, 8, 1], [9, 8, 2]].repeat(2).concat());
        let deep = decode(ImageBuffer::from_pixel(3, 2, LumaA([0x8000_u16, 0])).into());
        assert_eq!(deep, [128; 18]);
    }

    #[test]
    fn a_jpeg_decodes_to_its_picture_whatever_its_name() {
        let folder = folder();
        let path = folder.path().join("image.png");
        let picture = picture(40, 30);
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 95).encode_image(&picture).expect("encoded");
        // Some cameras write more behind the end.
        bytes.extend([7; 100]);
        fs::write(&path, bytes).expect("a writable folder");
        let image = Rgb::decode(&path).expect("just written");
        assert_eq!((image.width, image.height), (40, 30));
        let error = |(got, want): (&u8, &u8)| got.abs_diff(*want);
        let worst = image.pixels.iter().zip(picture.as_raw()).map(error).max();
        assert!(worst < Some(12), "{worst:?}");
    }

    #[test]
    fn a_broken_file_is_named_with_what_is_wrong() {
        let folder = folder();
        let path = folder.path().join("image.jpg");
        let mut jpeg = Vec::new();
        JpegEncoder::new(&mut jpeg).encode_image(&picture(64, 64)).expect("encoded");
        let mut png = Vec::new();
        let target = &mut std::io::Cursor::new(&mut png);
        picture(64, 64).write_to(target, ImageFormat::Png).expect("encoded");
        let mut flipped = png.clone();
        flipped[60] ^= 1;
        // A segment with a thumbnail, whose end is not that of the picture.
        let thumbnail = [&jpeg[..2], &[0xFF, 0xE1, 0, 6, 0xFF, 0xD8, 0xFF, 0xD9], &jpeg[2..]];
        let thumbnail = thumbnail.concat();
        let cases: [(&[u8], &str); 8] = [
            (&[], "0 bytes of no known type"),
            (b"<html>not found</html>", "22 bytes of no known type"),
            (b"GIF89a----", "a file of type Gif"),
            (&jpeg[..jpeg.len() / 2], "a JPEG cut off after"),
            (&jpeg[..30], "a JPEG cut off after 30 bytes"),
            (&thumbnail[..thumbnail.len() - 40], "a JPEG cut off after"),
            (&png[..png.len() / 2], "got "),
            (&flipped, "got "),
        ];
        for (bytes, part) in cases {
            fs::write(&path, bytes).expect("a writable folder");
            let message = Rgb::decode(&path).err().expect(part).to_string();
            assert!(
                message.contains("image.jpg: image: expected a whole JPEG or PNG"),
                "{message}"
            );
            assert!(message.contains(part), "no {part:?} in {message:?}");
        }
        fs::write(&path, thumbnail).expect("a writable folder");
        Rgb::decode(&path).expect("whole");
        let nowhere = folder.path().join("nowhere.jpg");
        let message = Rgb::decode(&nowhere).err().expect("no file").to_string();
        assert!(message.contains("cannot read") && message.contains("nowhere.jpg"), "{message}");
    }
}
