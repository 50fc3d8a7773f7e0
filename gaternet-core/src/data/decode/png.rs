//! PNG.

use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

use super::header::{CHANNELS, Header, area, check_claim, cut_off, grey, number};

/// The most bytes that one byte of a deflate stream can stand for.
const DEFLATE: u64 = 1032;
/// For what a decoder keeps beside the pixels.
const SCRATCH: usize = 64 << 20;

/// All chunks up to the last one, with the checksums of those that matter.
pub(super) fn header(bytes: &[u8]) -> Result<Header<()>, String> {
    let mut at = 8;
    let mut data_bytes = 0;
    loop {
        let len = number::<4>(bytes, at, true)? as usize;
        let chunk = bytes.get(at + 4..).and_then(|rest| rest.split_at_checked(len + 4));
        let (chunk, rest) = chunk.ok_or_else(|| cut_off(bytes))?;
        let checksum = number::<4>(rest, 0, true).map_err(|_| cut_off(bytes))?;
        let name = &chunk[..4];
        // Capital letters begin the names of chunks that every reader has to know.
        if name[0].is_ascii_uppercase() && u64::from(crc32fast::hash(chunk)) != checksum {
            let name = String::from_utf8_lossy(name);
            return Err(format!("a PNG whose chunk {name} at byte {at} does not fit its checksum"));
        }
        at += len + 12;
        match name {
            b"IDAT" => data_bytes += len as u64,
            b"IEND" => break,
            _ => {}
        }
    }
    let decoder = decoder(bytes)?;
    let info = decoder.info();
    let [width, height] = [info.width, info.height].map(|side| side as usize);
    let raw = (info.raw_row_length() as u64).saturating_mul(height as u64);
    check_claim([width, height], raw, data_bytes, DEFLATE)?;
    let output = decoder.output_buffer_size().map_or(u64::MAX, |bytes| bytes as u64);
    let converted = match decoder.output_color_type().0 {
        ColorType::Rgb => 0,
        _ => area(width, height, CHANNELS as u64),
    };
    Ok(Header { width, height, memory: output.saturating_add(converted), kind: () })
}

/// To 8 bits a sample, without palettes.
fn decoder(bytes: &[u8]) -> Result<png::Reader<Cursor<&[u8]>>, String> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: SCRATCH });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    decoder.read_info().map_err(|error| error.to_string())
}

pub(super) fn pixels(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut decoder = decoder(bytes)?;
    let len = decoder.output_buffer_size().ok_or("a PNG too large for this machine")?;
    let mut samples = vec![0; len];
    let info = decoder.next_frame(&mut samples).map_err(|error| error.to_string())?;
    samples.truncate(info.buffer_size());
    let pixels = info.width as usize * info.height as usize;
    Ok(match info.color_type {
        ColorType::Rgb => samples,
        ColorType::Grayscale => grey(samples.into_iter(), pixels),
        ColorType::GrayscaleAlpha => grey(samples.into_iter().step_by(2), pixels),
        ColorType::Rgba => {
            samples.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect()
        }
        ColorType::Indexed => return Err("a PNG whose palette was not applied".to_owned()),
    })
}
