//! Image files to pixels, as `PIL.Image.open(path).convert("RGB")` gives them, or an error.
//!
//! Every format has a module with two halves: `header` looks at the whole file without decoding a
//! pixel, so that a set of images can be checked before a run, and `pixels` decodes what `header`
//! let pass.

mod bmp;
mod header;
mod jpeg;
mod png;
mod pnm;
mod rows;
mod tiff;
mod webp;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

pub(super) use header::{CHANNELS, View};

use header::Header;
use rows::{check_len, cut};

use super::{Image, Layout};
use crate::{Error, Result};

/// Bytes that reading, decoding and converting one image may hold at once.
const LIMIT: u64 = 512 << 20;
/// Images that need more are decoded one at a time, so that N threads hold at most `LIMIT` and N
/// times this.
const LARGE: u64 = 64 << 20;
static ONE_LARGE: Mutex<()> = Mutex::new(());

const WANTED: &str = "a whole JPEG, PNG, WebP, BMP, TIFF or PNM file";

/// An image file that has been looked at and not been decoded.
pub(super) struct Encoded<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    header: Looked,
}

/// An image of any size: bytes (height, width, 3), red, green, blue.
#[derive(Debug)]
pub(super) struct Rgb {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) pixels: Vec<u8>,
}

/// A file of any format that has been looked at.
type Looked = Header<Kind>;

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
        let header = Looked::of(&bytes, LIMIT).map_err(|got| refused(path, got))?;
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
        let header = Looked::of(&bytes, limit)?;
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
        Looked::of(&bytes, LIMIT).map(drop).map_err(|got| refused(path, got))
    }
}

impl From<Rgb> for Image<'static> {
    fn from(Rgb { width, height, pixels }: Rgb) -> Image<'static> {
        Image::of_checked(pixels, Layout::Hwc, [CHANNELS, height, width])
    }
}

impl Image<'static> {
    /// Reads and decodes an image file, whatever its name says: JPEG, PNG, WebP, BMP, TIFF or PNM,
    /// as RGB bytes (H, W, 3). With the feature `images`.
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

impl Looked {
    fn of(bytes: &[u8], limit: u64) -> Result<Looked, String> {
        let header = match bytes {
            [0xFF, 0xD8, ..] => jpeg::header(bytes).map(|header| header.map(Kind::Jpeg)),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => {
                png::header(bytes).map(|header| header.map(|()| Kind::Png))
            }
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                webp::header(bytes).map(|header| header.map(|()| Kind::WebP))
            }
            [b'B', b'M', ..] => bmp::header(bytes).map(|header| header.map(Kind::Bmp)),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => {
                tiff::header(bytes, limit).map(|header| header.map(|()| Kind::Tiff))
            }
            [b'P', b'1'..=b'6', ..] => pnm::header(bytes).map(|header| header.map(Kind::Pnm)),
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

#[cfg(test)]
mod tests;
