//! BMP without compression, in the kinds that Pillow reads.

use super::header::{CHANNELS, Header, area, cut_off, number};

/// Where the pixels lie and what they are.
#[derive(Debug)]
pub(super) struct Bmp {
    /// Of the first row in the file.
    start: usize,
    /// Bytes from one row to the next.
    stride: usize,
    top_down: bool,
    format: Format,
}

#[derive(Debug)]
enum Format {
    /// So many bits for a number of a colour.
    Palette(usize, Vec<[u8; 3]>),
    /// Blue, green, red, and bytes without meaning, so many in all.
    Bytes(usize),
    /// Red, green and blue in 16 bits: shift and largest value of each.
    Bits16([(u32, u32); 3]),
}

pub(super) fn header(bytes: &[u8]) -> Result<Header<Bmp>, String> {
    let field = |at| number::<4>(bytes, at, false);
    let short = |at| number::<2>(bytes, at, false);
    let start = field(10)? as usize;
    let info = field(14)? as usize;
    let (width, height, bits, compression, colours, entry) = match info {
        12 => (short(18)?, short(20)? as i64, short(24)?, 0, 0, 3),
        40 | 52 | 56 | 64 | 108 | 124 => {
            let height = i64::from(field(22)? as u32 as i32);
            (field(18)?, height, short(28)?, field(30)?, field(46)?, 4)
        }
        _ => return Err(format!("a BMP with a header of {info} bytes")),
    };
    let (top_down, height) = (height < 0, height.unsigned_abs());
    if width > 1 << 24 || height > 1 << 24 {
        return Err(format!("a BMP of {width}x{height} pixels"));
    }
    let [width, height] = [width, height].map(|side| side as usize);
    let masks = || -> Result<[u64; 3], String> { Ok([field(54)?, field(58)?, field(62)?]) };
    let format = match (bits, compression) {
        (1 | 4 | 8, 0) => {
            let most = 1 << bits;
            let count = match colours as usize {
                0 => most,
                colours => colours.min(most),
            };
            let table = bytes.get(14 + info..).unwrap_or_default();
            let table = table.get(..count * entry).ok_or_else(|| cut_off(bytes))?;
            let colours = table.chunks_exact(entry).map(|bgr| [bgr[2], bgr[1], bgr[0]]);
            Format::Palette(bits as usize, colours.collect())
        }
        (24, 0) => Format::Bytes(3),
        (32, 0) => Format::Bytes(4),
        (32, 3) if masks()? == [0xFF_0000, 0xFF00, 0xFF] => Format::Bytes(4),
        (16, 0) => Format::Bits16([(10, 31), (5, 31), (0, 31)]),
        (16, 3) if masks()? == [0x7C00, 0x3E0, 0x1F] => {
            Format::Bits16([(10, 31), (5, 31), (0, 31)])
        }
        (16, 3) if masks()? == [0xF800, 0x7E0, 0x1F] => {
            Format::Bits16([(11, 31), (5, 63), (0, 31)])
        }
        (_, 1 | 2) => return Err("a BMP with run lengths".to_owned()),
        (_, 3) => return Err(format!("a BMP with colour masks {:x?}", masks()?)),
        _ => return Err(format!("a BMP of {bits} bits a pixel, compression {compression}")),
    };
    let stride = (width * bits as usize).div_ceil(32) * 4;
    // The last row may lack its padding.
    let end = (stride as u64).saturating_mul(height as u64) + start as u64;
    let padding = (stride - (width * bits as usize).div_ceil(8)) as u64;
    if end > bytes.len() as u64 + padding {
        return Err(cut_off(bytes));
    }
    let memory = area(width, height, CHANNELS as u64);
    let kind = Bmp { start, stride, top_down, format };
    Ok(Header { width, height, memory, kind })
}

impl Bmp {
    pub(super) fn pixels(
        &self,
        bytes: &[u8],
        [width, height]: [usize; 2],
    ) -> Result<Vec<u8>, String> {
        let mut pixels = Vec::with_capacity(width * height * CHANNELS);
        for y in 0..height {
            let row = if self.top_down { y } else { height - 1 - y };
            let row = &bytes[self.start + row * self.stride..];
            match &self.format {
                Format::Palette(bits, colours) => {
                    for x in 0..width {
                        let bit = x * bits;
                        let number = row[bit / 8] >> (8 - bits - bit % 8) & (0xFF >> (8 - bits));
                        let colour = colours.get(usize::from(number)).ok_or_else(|| {
                            format!("colour {number} of a BMP with {}", colours.len())
                        })?;
                        pixels.extend(colour);
                    }
                }
                Format::Bytes(size) => {
                    let row = row.chunks_exact(*size).take(width);
                    row.for_each(|bgr| pixels.extend([bgr[2], bgr[1], bgr[0]]));
                }
                Format::Bits16(channels) => {
                    for pixel in row.as_chunks::<2>().0.iter().take(width) {
                        let bits = u32::from(u16::from_le_bytes(*pixel));
                        let channel =
                            |(shift, most): (u32, u32)| ((bits >> shift & most) * 255 / most) as u8;
                        pixels.extend(channels.map(channel));
                    }
                }
            }
        }
        Ok(pixels)
    }
}
