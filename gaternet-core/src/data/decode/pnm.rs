//! PNM: `.pbm`, `.pgm` and `.ppm`, as text and as bytes.

use super::header::{CHANNELS, Header, area, cut_off};

/// Where the samples begin and how they are written.
#[derive(Debug)]
pub(super) struct Pnm {
    start: usize,
    text: bool,
    channels: usize,
    /// `None` for bits, of which 1 is black.
    most: Option<u32>,
}

pub(super) fn header(bytes: &[u8]) -> Result<Header<Pnm>, String> {
    let kind = bytes[1];
    let mut at = 2;
    let mut next = || token(bytes, &mut at);
    let [width, height] = [next()?, next()?];
    let most = match kind {
        b'1' | b'4' => None,
        _ => Some(next()?),
    };
    if most.is_some_and(|most| !(1..=65_535).contains(&most)) {
        return Err(format!("a PNM whose largest sample is {}", most.unwrap_or(0)));
    }
    let (text, channels) = match kind {
        b'1' | b'2' => (true, 1),
        b'3' => (true, 3),
        b'4' | b'5' => (false, 1),
        _ => (false, 3),
    };
    let [width, height] = [width, height].map(|side| side as usize);
    // One byte of white space ends the header.
    let start = at + 1;
    let row = match (text, most) {
        (false, None) => width.div_ceil(8) as u64,
        (false, Some(most)) => area(width, channels, if most > 255 { 2 } else { 1 }),
        // A digit for each sample, and but for bits, a space between them.
        (true, None) => width as u64,
        (true, Some(_)) => area(width, channels, 2),
    };
    let least = row.saturating_mul(height as u64);
    if least.saturating_add(start as u64) > bytes.len() as u64 + u64::from(text) {
        return Err(cut_off(bytes));
    }
    let memory = area(width, height, CHANNELS as u64);
    Ok(Header { width, height, memory, kind: Pnm { start, text, channels, most } })
}

/// The next number of the header, over white space and comments.
fn token(bytes: &[u8], at: &mut usize) -> Result<u32, String> {
    let mut comment = false;
    let mut value: Option<u32> = None;
    loop {
        let byte = *bytes.get(*at).ok_or_else(|| cut_off(bytes))?;
        match byte {
            b'\n' | b'\r' if comment => comment = false,
            _ if comment => {}
            b'#' => comment = true,
            b'0'..=b'9' => {
                let digit = u32::from(byte - b'0');
                let longer =
                    value.unwrap_or(0).checked_mul(10).and_then(|value| value.checked_add(digit));
                value = Some(longer.ok_or("a PNM with a number of over 32 bits in its header")?);
            }
            _ if byte.is_ascii_whitespace() => {
                if let Some(value) = value {
                    return Ok(value);
                }
            }
            _ => return Err(format!("a PNM with the byte {byte} in its header")),
        }
        *at += 1;
    }
}

impl Pnm {
    pub(super) fn pixels(&self, bytes: &[u8], size: [usize; 2]) -> Result<Vec<u8>, String> {
        let [width, height] = size;
        let mut pixels = Vec::with_capacity(width * height * CHANNELS);
        let repeat = CHANNELS / self.channels;
        let mut push = |sample: u8| pixels.extend(std::iter::repeat_n(sample, repeat));
        let count = width * height * self.channels;
        let data = &bytes[self.start..];
        let byte = |value: u32, most| scaled(value, most).ok_or_else(|| above(value, most));
        match (self.text, self.most) {
            (false, None) => {
                for row in data.chunks_exact(width.div_ceil(8)).take(height) {
                    (0..width).for_each(|x| {
                        push(if row[x / 8] << (x % 8) & 0x80 == 0 { 255 } else { 0 })
                    });
                }
            }
            (false, Some(most @ ..=255)) => {
                for &sample in &data[..count] {
                    push(byte(sample.into(), most)?);
                }
            }
            (false, Some(most)) => {
                for &sample in &data.as_chunks::<2>().0[..count] {
                    push(byte(u16::from_be_bytes(sample).into(), most)?);
                }
            }
            (true, None) => {
                let bits = data.iter().filter(|byte| !byte.is_ascii_whitespace()).take(count);
                for bit in bits {
                    match bit {
                        b'0' => push(255),
                        b'1' => push(0),
                        _ => return Err(format!("a PNM with the byte {bit} for a bit")),
                    }
                }
            }
            (true, Some(most)) => {
                let words = data.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
                for word in words.take(count) {
                    let value = str::from_utf8(word).ok().and_then(|word| word.parse().ok());
                    let value = value.ok_or_else(|| {
                        format!("a PNM with {:?} for a sample", String::from_utf8_lossy(word))
                    })?;
                    push(byte(value, most)?);
                }
            }
        }
        if pixels.len() != width * height * CHANNELS {
            return Err(cut_off(bytes));
        }
        Ok(pixels)
    }
}

/// From 0..=most to 0..=255, to the nearest, the even one of two; `None` above.
fn scaled(value: u32, most: u32) -> Option<u8> {
    let scale = |value: u32| (f64::from(value) / f64::from(most) * 255.0).round_ties_even() as u8;
    (value <= most).then(|| if most == 255 { value as u8 } else { scale(value) })
}

fn above(value: u32, most: u32) -> String {
    format!("the sample {value} in a PNM whose largest is {most}")
}
