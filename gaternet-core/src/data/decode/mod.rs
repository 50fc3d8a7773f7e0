//! Image files to pixels, as `PIL.Image.open(path).convert("RGB")` gives them, or an error.
//!
//! Every format has a module with two halves: `header` looks at the whole file without decoding a
//! pixel, so that a set of images can be checked before a run, and `pixels` decodes what `header`
//! let pass.

mod bmp;
mod jpeg;
mod png;
mod pnm;
mod tiff;
mod webp;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::{Image, Layout};
use crate::{Error, Result};

/// Red, green, blue.
pub(super) const CHANNELS: usize = 3;

/// Bytes that reading, decoding and converting one image may hold at once.
const LIMIT: u64 = 512 << 20;
/// Images that need more are decoded one at a time, so that N threads hold at most `LIMIT` and N
/// times this.
const LARGE: u64 = 64 << 20;
static ONE_LARGE: Mutex<()> = Mutex::new(());

const WANTED: &str = "a whole JPEG, PNG, WebP, BMP, TIFF or PNM file";

/// A part of an image: left, top, width, height, in pixels.
pub(super) type View = [usize; 4];

/// An image file that has been looked at and not been decoded.
pub(super) struct Encoded<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    header: Header,
}

/// An image of any size: bytes (height, width, 3), red, green, blue.
#[derive(Debug)]
pub(super) struct Rgb {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

/// What a file says of itself, as far as the file bears it out.
struct Header {
    width: usize,
    height: usize,
    /// Bytes that decoding and converting hold at once, the file itself aside.
    memory: u64,
    kind: Kind,
}

enum Kind {
    Jpeg(jpeg::Jpeg),
    Png,
    WebP,
    Bmp(bmp::Bmp),
    Tiff,
    Pnm(pnm::Pnm),
}

impl Encoded<'_> {
    /// Reads and looks at an image file.
    ///
    /// # Errors
    /// Those of [`Rgb::check`].
    pub(super) fn open(path: &Path) -> Result<Encoded<'_>> {
        let bytes = read(path, LIMIT)?;
        let header = Header::of(&bytes, LIMIT).map_err(|got| refused(path, got))?;
        Ok(Encoded { path, bytes, header })
    }

    /// Width and height, in pixels.
    pub(super) fn size(&self) -> [usize; 2] {
        [self.header.width, self.header.height]
    }

    /// [`Rgb::decode`] of what lies in `view`, which lies in the image. The rows below may not be
    /// decoded, and then damage to them is not found.
    pub(super) fn decode(self, view: View) -> Result<Rgb> {
        let Encoded { path, bytes, header } = self;
        header.decode(bytes, LIMIT, view).map_err(|got| refused(path, got))
    }
}

impl Rgb {
    /// Decodes an image file, whatever its name says: JPEG, PNG, WebP, BMP, TIFF or PNM (`.ppm`,
    /// `.pgm`). Grey becomes three equal channels, transparency is left out, of several pictures
    /// the first is read. Samples of 16 bits keep their upper eight: as Pillow does for colours,
    /// while it clips grey at 255. Orientation in the metadata of a JPEG is not applied, and colour
    /// profiles are not.
    ///
    /// Decoding and conversion together hold at most 512 MiB, known from the header before anything
    /// is allocated; of the images that need more than 64 MiB, one is decoded at a time.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Field`] naming it if it is no such image,
    /// broken, cut off, too large, or of a kind that would not come out with the pixels of Pillow.
    pub(super) fn decode(path: &Path) -> Result<Rgb> {
        let file = Encoded::open(path)?;
        let [width, height] = file.size();
        file.decode([0, 0, width, height])
    }

    #[cfg(test)]
    pub(super) fn part(&self, view: View) -> Rgb {
        let pixels = cut(self.pixels.clone(), [self.width, CHANNELS], view);
        Rgb { width: view[2], height: view[3], pixels }
    }

    fn of_bytes(bytes: Vec<u8>, limit: u64) -> Result<Rgb, String> {
        let header = Header::of(&bytes, limit)?;
        let whole = [0, 0, header.width, header.height];
        header.decode(bytes, limit, whole)
    }

    /// Looks at a whole file without decoding it.
    ///
    /// # Errors
    /// Those of [`decode`](Self::decode), except what only decoding can find: damage within the
    /// compressed data that leaves the structure of the file whole.
    pub(super) fn check(path: &Path) -> Result<()> {
        let bytes = read(path, LIMIT)?;
        Header::of(&bytes, LIMIT).map(drop).map_err(|got| refused(path, got))
    }
}

impl From<Rgb> for Image<'static> {
    fn from(Rgb { width, height, pixels }: Rgb) -> Image<'static> {
        Image::of_checked(pixels, Layout::Hwc, [CHANNELS, height, width])
    }
}

impl Image<'static> {
    /// Reads and decodes an image file, whatever its name says: JPEG, PNG, WebP, BMP, TIFF or PNM, as
    /// RGB bytes (H, W, 3). With the feature `images`.
    ///
    /// Grey becomes three equal channels, transparency is left out, of several pictures the first
    /// is read. Orientation in the metadata of a JPEG is not applied, and colour profiles are not.
    /// It takes at most 512 MiB at once.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read, [`Error::Field`] naming it if it is no such image,
    /// broken, cut off or too large.
    pub fn open(path: impl AsRef<Path>) -> Result<Image<'static>> {
        Rgb::decode(path.as_ref()).map(Image::from)
    }

    /// The same of what is in a file, as a request brings it. With the feature `images`.
    ///
    /// # Errors
    /// [`Error::Shape`] if it is no such image, broken, cut off or too large.
    pub fn decode(file: Vec<u8>) -> Result<Image<'static>> {
        let decoded = Rgb::of_bytes(file, LIMIT).map(Image::from);
        decoded.map_err(|got| Error::Shape { op: "Image::decode", rule: WANTED, got })
    }
}

impl Header {
    fn of(bytes: &[u8], limit: u64) -> Result<Header, String> {
        let header = match bytes {
            [0xFF, 0xD8, ..] => jpeg::header(bytes),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => png::header(bytes),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp::header(bytes),
            [b'B', b'M', ..] => bmp::header(bytes),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => {
                tiff::header(bytes, limit)
            }
            [b'P', b'1'..=b'6', ..] => pnm::header(bytes),
            [b'G', b'I', b'F', b'8', ..] => Err("a GIF file".to_owned()),
            [_, _, _, _, b'f', b't', b'y', b'p', b'a', b'v', b'i', ..] => {
                Err("an AVIF file".to_owned())
            }
            _ => Err(format!("{} bytes of no known type", bytes.len())),
        }?;
        let Header { width, height, memory, .. } = header;
        if width == 0 || height == 0 {
            return Err(format!("{width}x{height} pixels"));
        }
        let memory = memory.saturating_add(bytes.len() as u64);
        if memory > limit {
            let [need, limit] = [memory, limit].map(|bytes| bytes.div_ceil(1 << 20));
            return Err(format!(
                "{width}x{height} pixels, which take {need} MiB to decode: more than {limit} MiB"
            ));
        }
        Ok(Header { memory, ..header })
    }

    /// What lies in `view` of the image in `bytes`, which this is the header of.
    fn decode(self, bytes: Vec<u8>, limit: u64, view: View) -> Result<Rgb, String> {
        // A poisoned lock is as good: it guards nothing but the number of its holders.
        let large =
            (self.memory > LARGE).then(|| ONE_LARGE.lock().unwrap_or_else(PoisonError::into_inner));
        let size = [self.width, self.height];
        let whole = match self.kind {
            Kind::Jpeg(jpeg) => {
                let pixels = jpeg.pixels(bytes, view)?;
                return Ok(Rgb { width: view[2], height: view[3], pixels });
            }
            Kind::Png => png::pixels(&bytes),
            Kind::WebP => webp::pixels(&bytes, limit),
            Kind::Bmp(bmp) => bmp.pixels(&bytes, size),
            Kind::Tiff => tiff::pixels(&bytes, size, limit),
            Kind::Pnm(pnm) => pnm.pixels(&bytes, size),
        }?;
        drop(large);
        check_len(&whole, size, CHANNELS)?;
        let [width, _] = size;
        Ok(Rgb { width: view[2], height: view[3], pixels: cut(whole, [width, CHANNELS], view) })
    }
}

/// `Err` unless there are so many `channels` of an image.
fn check_len(samples: &[u8], [width, height]: [usize; 2], channels: usize) -> Result<(), String> {
    if samples.len() != width * height * channels {
        return Err(format!("{} bytes of pixels for {width}x{height}", samples.len()));
    }
    Ok(())
}

/// What lies in `view` of samples (rows, columns, channels). In place: there may be no memory for
/// both.
fn cut(mut samples: Vec<u8>, [columns, channels]: [usize; 2], view: View) -> Vec<u8> {
    let [left, top, width, height] = view;
    let kept = width * channels;
    if kept < columns * channels || top > 0 {
        for y in 0..height {
            let start = ((top + y) * columns + left) * channels;
            samples.copy_within(start..start + kept, y * kept);
        }
    }
    samples.truncate(height * kept);
    samples
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let io = |source| Error::Io { action: "read", path: path.to_path_buf(), source };
    // Before it is opened: that waits for the other end of a pipe.
    let metadata = fs::metadata(path).map_err(io)?;
    if !metadata.is_file() {
        return Err(refused(path, "no file of bytes".to_owned()));
    }
    let too_long = || refused(path, format!("more than {} MiB", limit.div_ceil(1 << 20)));
    if metadata.len() > limit {
        return Err(too_long());
    }
    // Room for all of it and for the read that finds its end; it may have grown.
    let mut bytes = Vec::with_capacity(metadata.len() as usize + 1);
    let file = File::open(path).map_err(io)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_long());
    }
    Ok(bytes)
}

fn refused(path: &Path, got: String) -> Error {
    Error::Field {
        path: path.to_path_buf(),
        field: "image".to_owned(),
        expected: WANTED.to_owned(),
        got,
    }
}

/// `width * height * bytes`, without overflow.
fn area(width: usize, height: usize, bytes: u64) -> u64 {
    (width as u64).saturating_mul(height as u64).saturating_mul(bytes)
}

/// `Err` if so many bytes of pixels cannot come out of `held` compressed ones, of which each gives
/// at most `most`.
fn check_claim(size: [usize; 2], pixels: u64, held: u64, most: u64) -> Result<(), String> {
    // What a stream needs before its first pixel is less than this.
    if pixels / most > held + 64 {
        let [width, height] = size;
        return Err(format!("{width}x{height} pixels, more than its {held} bytes can hold"));
    }
    Ok(())
}

/// Grey (N) as (N, 3).
fn grey(samples: impl Iterator<Item = u8>, len: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(len * CHANNELS);
    samples.for_each(|sample| pixels.extend([sample; CHANNELS]));
    pixels
}

/// Pillow's way from cyan, magenta, yellow and black to red, green and blue.
fn from_cmyk([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = u32::from(255 - k);
    [c, m, y].map(|ink| {
        let product = u32::from(ink) * white + 128;
        white.saturating_sub((product + (product >> 8)) >> 8) as u8
    })
}

/// The big- or little-endian number of N bytes at `at`.
fn number<const N: usize>(bytes: &[u8], at: usize, big: bool) -> Result<u64, String> {
    let field = bytes.get(at..at.saturating_add(N)).ok_or_else(|| cut_off(bytes))?;
    let push = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    Ok(if big { field.iter().fold(0, push) } else { field.iter().rev().fold(0, push) })
}

fn cut_off(bytes: &[u8]) -> String {
    format!("a file cut off after {} bytes", bytes.len())
}

#[cfg(test)]
mod tests;
