//! WebP.

use std::io::Cursor;

use image_webp::WebPDecoder;

use super::header::{CHANNELS, Header, area, check_claim, cut_off, number};

/// Bytes that decoding holds for each pixel: planes, picture, canvas of an animation, result.
const BYTES: u64 = 14;
/// Up to so many bytes a header is believed.
const SMALL: u64 = 16 << 20;
/// Pixels that a byte of a larger picture can stand for: more than of any picture that is not of
/// one colour.
const PIXELS: u64 = 1024;

pub(super) fn header(bytes: &[u8]) -> Result<Header<()>, String> {
    if number::<4>(bytes, 4, false)? + 8 > bytes.len() as u64 {
        return Err(cut_off(bytes));
    }
    let decoder = decoder(bytes)?;
    let (width, height) = decoder.dimensions();
    let [width, height] = [width, height].map(|side| side as usize);
    let memory = area(width, height, BYTES);
    if memory > SMALL {
        check_claim([width, height], area(width, height, 1), bytes.len() as u64, PIXELS)?;
    }
    Ok(Header { width, height, memory, kind: () })
}

fn decoder(bytes: &[u8]) -> Result<WebPDecoder<Cursor<&[u8]>>, String> {
    WebPDecoder::new(Cursor::new(bytes)).map_err(|error| error.to_string())
}

pub(super) fn pixels(bytes: &[u8], limit: u64) -> Result<Vec<u8>, String> {
    let mut decoder = decoder(bytes)?;
    decoder.set_memory_limit(usize::try_from(limit).unwrap_or(usize::MAX));
    let len = decoder.output_buffer_size().ok_or("a WebP too large for this machine")?;
    let mut samples = vec![0; len];
    let result = match decoder.is_animated() {
        true => decoder.read_frame(&mut samples).map(drop),
        false => decoder.read_image(&mut samples),
    };
    result.map_err(|error| error.to_string())?;
    if decoder.has_alpha() {
        let opaque = samples.as_chunks::<4>().0.iter().map(|&[r, g, b, _]| [r, g, b]);
        let mut pixels = Vec::with_capacity(len / 4 * CHANNELS);
        opaque.for_each(|pixel| pixels.extend(pixel));
        return Ok(pixels);
    }
    Ok(samples)
}
