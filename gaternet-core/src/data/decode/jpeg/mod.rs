//! JPEG: which files zune-jpeg decodes to the pixels of libjpeg-turbo, and the steps where it does
//! not.
//!
//! zune-jpeg decodes some valid files to other pictures: sequential ones with several scans, those
//! whose first component is sampled below another, and the last column and row of subsampled ones,
//! where it blends with samples beyond the edge. So it is given only what decides the samples (no
//! metadata, no names of components, nothing after the end), only kinds for which a grid of files
//! came out as from `djpeg`, and its samples are made colours here.
//!
//! The alternative is libjpeg-turbo or mozjpeg themselves, through a binding. Guarded like this,
//! zune-jpeg takes as long as Pillow with libjpeg-turbo 3.2.0: 4.5 to 5.0 ms for a picture of
//! 500x375 pixels and 79 KB, where Pillow took 4.5 to 5.0 ms (three rounds over 200 files each, on
//! a busy Xeon with AVX-512). It builds in 2.1 s of processor time, without more than Rust;
//! `mozjpeg-sys` 2.2.3 in 19.2 s and with a C compiler (`cargo build --release -j1` of a crate with
//! nothing else).

mod colour;
mod markers;

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::header::{CHANNELS, Header, View, area};
use super::rows::{check_len, cut};
use colour::Colour;
use markers::{Component, Frame};

/// Largest width and height of the format.
const MAX_SIDE: usize = 65_535;
/// Samples of a block, and bytes of a coefficient.
const BLOCK: u64 = 64;
const COEFFICIENT: u64 = 2;

/// A file that has been looked at.
#[derive(Debug)]
pub(super) struct Jpeg {
    frame: Frame,
    colour: Colour,
}

pub(super) fn header(bytes: &[u8]) -> Result<Header<Jpeg>, String> {
    let frame = markers::read(bytes)?;
    let colour = colour::of(&frame)?;
    check_sampling(&frame)?;
    let Frame { width, height, progressive, ref components, scan_bytes, .. } = frame;
    let blocks: u64 = components.iter().map(|component| frame.blocks(component)).sum();
    // Of each block its first code, and but for progressive scans, the one that ends it: a bit each
    // at least.
    let least = if progressive { 1 } else { 2 };
    if blocks * least > scan_bytes * 8 {
        return Err(format!(
            "{width}x{height} pixels, more than its {scan_bytes} bytes of scans can hold"
        ));
    }
    let coefficients = if progressive {
        components.iter().map(|c| frame.padded_blocks(c) * BLOCK * COEFFICIENT).sum()
    } else {
        0
    };
    let output = area(width, height, components.len().max(3) as u64);
    let memory = output.saturating_add(coefficients).saturating_add(bytes.len() as u64);
    Ok(Header { width, height, memory, kind: Jpeg { frame, colour } })
}

/// `Err` unless all components have the size of the first, or a half, a third or a quarter of it.
fn check_sampling(frame: &Frame) -> Result<(), String> {
    let [first, ..] = &frame.components[..] else { return Err("a JPEG without components".into()) };
    let factors = frame.components.iter().map(|c| format!("{}x{}", c.across, c.down));
    let refuse = |why: &str| {
        let factors: Vec<_> = factors.clone().collect();
        Err(format!("a JPEG with samplings {}, {why}", factors.join(",")))
    };
    let below = |c: &Component| c.across > first.across || c.down > first.down;
    if frame.components.iter().any(below) {
        return refuse("the first below another, which zune-jpeg decodes to another picture");
    }
    for component in &frame.components {
        let ratio = frame.ratio(component);
        match (component.across * ratio[0], component.down * ratio[1]) {
            (across, down) if [across, down] != [first.across, first.down] => {
                return refuse("not a whole ratio");
            }
            _ if ratio == [1, 1] => {}
            _ if first.across == 3
                || first.across.max(first.down) > 2 && component.across * component.down > 1 =>
            {
                return refuse("which zune-jpeg does not decode as libjpeg-turbo");
            }
            // Up to here libjpeg repeats samples.
            _ if ratio[0] == 2 && ratio[1] <= 2 && frame.width <= 4 => {
                return refuse(
                    "at most 4 pixels wide, which zune-jpeg blends and libjpeg-turbo does not",
                );
            }
            _ => {}
        }
    }
    Ok(())
}

impl Jpeg {
    /// What lies in `view`.
    pub(super) fn pixels(self, bytes: Vec<u8>, view: View) -> Result<Vec<u8>, String> {
        let Frame { width, .. } = self.frame;
        let height = self.rows(view);
        let bare = self.frame.bare(&bytes, height);
        drop(bytes);
        let raw = match self.frame.components.len() {
            1 => ColorSpace::RGB,
            4 => ColorSpace::CMYK,
            _ => ColorSpace::YCbCr,
        };
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(MAX_SIDE)
            .set_max_height(MAX_SIDE)
            .jpeg_set_out_colorspace(raw);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bare), options);
        let mut samples = decoder.decode().map_err(|error| error.to_string())?;
        let channels = self.frame.components.len();
        for (channel, component) in self.frame.components.iter().enumerate() {
            edges(&mut samples, [width, height], [channel, channels], self.frame.ratio(component));
        }
        let channels = channels.max(CHANNELS);
        check_len(&samples, [width, height], channels)?;
        Ok(self.colour.convert(cut(samples, [width, channels], view)))
    }

    /// Rows that have to be decoded for those in `view` to come out right: the first scan of a
    /// sequential image has all of a row.
    fn rows(&self, [_, top, _, height]: View) -> usize {
        if self.frame.progressive {
            return self.frame.height;
        }
        // A halved component is blended with its next row, the last one of an image is not.
        (top + height + 2).next_multiple_of(self.frame.unit_rows()).min(self.frame.height)
    }
}

/// Makes the last column and row of a halved component what libjpeg makes of them: its last samples
/// as they are. zune-jpeg blends them with what the encoder left beyond the edge. An upsampled pair
/// `a = (3 c + d) / 4`, `b = (3 d + c) / 4` of neighbours c and d gives c = (3 a - b) / 2.
fn edges(
    samples: &mut [u8],
    [width, height]: [usize; 2],
    [channel, channels]: [usize; 2],
    ratio: [usize; 2],
) {
    if ![[2, 1], [1, 2], [2, 2]].contains(&ratio) {
        return;
    }
    let last = |one: u8, before: u8| {
        ((3 * i32::from(one) - i32::from(before) + 1) >> 1).clamp(0, 255) as u8
    };
    // Where whole blocks end at the edge, there is nothing beyond it.
    let blends = |side: usize, ratio: usize| {
        ratio == 2 && side.is_multiple_of(2) && !side.is_multiple_of(16)
    };
    let row = width * channels;
    if blends(width, ratio[0]) {
        for row in samples.chunks_exact_mut(row) {
            let end = row.len() - channels + channel;
            row[end] = last(row[end - channels], row[end - 2 * channels]);
        }
    }
    if blends(height, ratio[1]) {
        let end = samples.len() - row;
        for at in (end + channel..samples.len()).step_by(channels) {
            samples[at] = match height {
                2 => samples[at - row],
                _ => last(samples[at - row], samples[at - 2 * row]),
            };
        }
    }
}
