//! TIFF: the first picture, where the `tiff` crate and Pillow agree on it.

use std::io::Cursor;

use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use super::header::{CHANNELS, Header, area, check_claim, cut_off, from_cmyk, grey, number};

/// Largest value of a tag but for the pixels, in bytes: lists of a million strips, profiles.
const TAG: usize = 16 << 20;

/// Grey and its opacity, as the `tiff` crate calls it.
const GREY_ALPHA: ColorType = ColorType::Multiband { bit_depth: 8, num_samples: 2 };
const BLACK_IS_ZERO: u16 = 1;

type Tiff<'a> = Decoder<Cursor<&'a [u8]>>;

pub(super) fn header(bytes: &[u8], limit: u64) -> Result<Header<()>, String> {
    check_directory(bytes)?;
    look(bytes, limit).map_err(|error| error.to_string())?
}

/// `Err` if a list of the first directory is longer than the file: the `tiff` crate makes room for
/// it first.
fn check_directory(bytes: &[u8]) -> Result<(), String> {
    let big = bytes[0] == b'M';
    let short = |at| number::<2>(bytes, at, big);
    // Sizes of the number of entries, of an entry, and where its value is.
    let (start, entries, first, entry) = match short(2)? {
        43 => {
            let start = number::<8>(bytes, 8, big)?;
            (start, number::<8>(bytes, position(bytes, start)?, big)?, 8, 20)
        }
        _ => {
            let start = number::<4>(bytes, 4, big)?;
            (start, short(position(bytes, start)?)?, 2, 12)
        }
    };
    let first = position(bytes, start)? + first;
    for index in 0..position(bytes, entries)? {
        let at = index.saturating_mul(entry).saturating_add(first);
        let count = match entry {
            20 => number::<8>(bytes, at.saturating_add(4), big)?,
            _ => number::<4>(bytes, at.saturating_add(4), big)?,
        };
        let size = match number::<2>(bytes, at.saturating_add(2), big)? {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => 1,
        };
        if count.saturating_mul(size) > bytes.len() as u64 {
            return Err(cut_off(bytes));
        }
    }
    Ok(())
}

/// A place in the file.
fn position(bytes: &[u8], at: u64) -> Result<usize, String> {
    usize::try_from(at).ok().filter(|at| *at <= bytes.len()).ok_or_else(|| cut_off(bytes))
}

fn look(bytes: &[u8], limit: u64) -> tiff::TiffResult<Result<Header<()>, String>> {
    let mut tiff = decoder(bytes, limit)?;
    let (width, height) = tiff.dimensions()?;
    let size @ [width, height] = [width, height].map(|side| side as usize);
    let colours = tiff.colortype()?;
    if let Some(refusal) = refusal(&mut tiff, colours)? {
        return Ok(Err(refusal));
    }
    let [offsets, counts] = match tiff.find_tag(Tag::TileOffsets)? {
        Some(_) => [Tag::TileOffsets, Tag::TileByteCounts],
        None => [Tag::StripOffsets, Tag::StripByteCounts],
    };
    let [offsets, counts] = [tiff.get_tag_u64_vec(offsets)?, tiff.get_tag_u64_vec(counts)?];
    let mut held = 0_u64;
    if offsets.len() != counts.len() {
        let [offsets, counts] = [offsets, counts].map(|list| list.len());
        return Ok(Err(format!("a TIFF with {offsets} offsets of data and {counts} lengths")));
    }
    for (offset, count) in offsets.iter().zip(&counts) {
        if offset.saturating_add(*count) > bytes.len() as u64 {
            return Ok(Err(cut_off(bytes)));
        }
        held = held.saturating_add(*count);
    }
    // Parts that lie over each other hold no more.
    let held = held.min(bytes.len() as u64);
    let [bits, samples] = [u64::from(colours.bit_depth()), u64::from(colours.num_samples())];
    let raw = (width as u64 * bits * samples).div_ceil(8).saturating_mul(height as u64);
    let most = match compression(&mut tiff)? {
        NONE => 1,
        PACK_BITS => 64,
        LZW => 1400,
        _ => 1032,
    };
    if let Err(refusal) = check_claim(size, raw, held, most) {
        return Ok(Err(refusal));
    }
    // A tile or strip at a time lies beside the picture; it can be as large.
    let memory = area(width, height, CHANNELS as u64).saturating_add(raw.saturating_mul(2));
    Ok(Ok(Header { width, height, memory, kind: () }))
}

const NONE: u16 = 1;
const LZW: u16 = 5;
const DEFLATE: u16 = 8;
const PACK_BITS: u16 = 32_773;
const OLD_DEFLATE: u16 = 32_946;

fn compression(tiff: &mut Tiff<'_>) -> tiff::TiffResult<u16> {
    Ok(tiff.find_tag_unsigned(Tag::Compression)?.unwrap_or(NONE))
}

/// Why this file cannot be read as Pillow reads it.
fn refusal(tiff: &mut Tiff<'_>, colours: ColorType) -> tiff::TiffResult<Option<String>> {
    let compression = compression(tiff)?;
    if ![NONE, LZW, DEFLATE, PACK_BITS, OLD_DEFLATE].contains(&compression) {
        return Ok(Some(format!("a TIFF with compression {compression}")));
    }
    let samples = colours.num_samples();
    let known = matches!(
        colours,
        ColorType::Gray(1 | 8 | 16)
            | ColorType::RGB(8 | 16)
            | ColorType::RGBA(8)
            | ColorType::CMYK(8)
            | GREY_ALPHA
    );
    if !known {
        return Ok(Some(format!("a TIFF of {colours:?}")));
    }
    let photometric = tiff.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation)?;
    if colours == GREY_ALPHA && photometric != Some(BLACK_IS_ZERO) {
        return Ok(Some(format!("a TIFF of {samples} samples, photometric {photometric:?}")));
    }
    let mut tag = |tag| tiff.find_tag_unsigned::<u16>(tag);
    for (what, tag, usual) in [
        ("planes", tag(Tag::PlanarConfiguration)?, 1),
        ("orientation", tag(Tag::Orientation)?, 1),
        ("order of bits", tag(Tag::FillOrder)?, 1),
    ] {
        let matters = what != "planes" || samples > 1;
        if let Some(value) = tag.filter(|value| *value != usual && matters) {
            return Ok(Some(format!("a TIFF with {what} {value}")));
        }
    }
    let formats = tiff.find_tag_unsigned_vec::<u16>(Tag::SampleFormat)?.unwrap_or_default();
    if let Some(format) = formats.iter().find(|format| **format != 1) {
        return Ok(Some(format!("a TIFF with samples of format {format}")));
    }
    let extra = tiff.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples)?.unwrap_or_default();
    if extra.contains(&1) {
        return Ok(Some("a TIFF whose colours are multiplied by their opacity".to_owned()));
    }
    Ok(None)
}

fn decoder(bytes: &[u8], limit: u64) -> tiff::TiffResult<Tiff<'_>> {
    let mut limits = Limits::default();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    [limits.decoding_buffer_size, limits.intermediate_buffer_size] = [limit; 2];
    limits.ifd_value_size = TAG.min(bytes.len());
    Ok(Decoder::new(Cursor::new(bytes))?.with_limits(limits))
}

pub(super) fn pixels(bytes: &[u8], size: [usize; 2], limit: u64) -> Result<Vec<u8>, String> {
    decode(bytes, size, limit).map_err(|error| error.to_string())?
}

fn decode(
    bytes: &[u8],
    [width, height]: [usize; 2],
    limit: u64,
) -> tiff::TiffResult<Result<Vec<u8>, String>> {
    let mut tiff = decoder(bytes, limit)?;
    let colours = tiff.colortype()?;
    let samples = match tiff.read_image()? {
        DecodingResult::U8(samples) => samples,
        DecodingResult::U16(samples) => {
            samples.into_iter().map(|sample| (sample >> 8) as u8).collect()
        }
        _ => return Ok(Err(format!("a TIFF of {colours:?}"))),
    };
    let count = width * height;
    Ok(match colours {
        ColorType::Gray(1) => {
            let rows = samples.chunks_exact(width.div_ceil(8)).take(height);
            let bits = rows.flat_map(|row| (0..width).map(|x| row[x / 8] << (x % 8) & 0x80));
            Ok(grey(bits.map(|bit| if bit == 0 { 0 } else { 255 }), count))
        }
        ColorType::Gray(_) => Ok(grey(samples.into_iter(), count)),
        ColorType::RGB(_) => Ok(samples),
        ColorType::RGBA(_) => {
            let pixels = samples.as_chunks::<4>().0.iter();
            Ok(pixels.flat_map(|&[r, g, b, _]| [r, g, b]).collect())
        }
        ColorType::CMYK(_) => {
            Ok(samples.as_chunks::<4>().0.iter().flat_map(|&inks| from_cmyk(inks)).collect())
        }
        GREY_ALPHA => Ok(grey(samples.into_iter().step_by(2), count)),
        _ => Err(format!("a TIFF of {colours:?}")),
    })
}
