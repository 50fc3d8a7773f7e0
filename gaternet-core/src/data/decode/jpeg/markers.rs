//! From the first marker of a JPEG to the end of its first image.

use std::ops::Range;

/// Coefficients of a block.
const COEFFICIENTS: usize = 64;

/// Markers, the byte after 0xFF.
const TEMPORARY: u8 = 0x01;
const DHT: u8 = 0xC4;
const RST0: u8 = 0xD0;
const RST7: u8 = 0xD7;
const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
const DQT: u8 = 0xDB;
const DRI: u8 = 0xDD;
const APP0: u8 = 0xE0;
const APP14: u8 = 0xEE;
const APP15: u8 = 0xEF;
const COM: u8 = 0xFE;

/// The picture that a file holds, and where.
#[derive(Debug, Default)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
    pub(super) jfif: bool,
    /// The colour transform that Adobe's marker names.
    pub(super) adobe: Option<u8>,
    /// Bytes of compressed data.
    pub(super) scan_bytes: u64,
    /// Where in the file the segments lie that decide the samples, in order.
    segments: Vec<Segment>,
}

/// One component of a frame.
#[derive(Debug, Clone)]
pub(super) struct Component {
    pub(super) name: u8,
    /// Sampling factors.
    pub(super) across: usize,
    pub(super) down: usize,
    /// The lowest bit that has come of each coefficient.
    bits: [Option<u8>; COEFFICIENTS],
}

/// From 0xFF and the marker to before the next one.
#[derive(Debug)]
struct Segment {
    marker: u8,
    range: Range<usize>,
}

/// Walks over all segments and scans up to the end of the image.
pub(super) fn read(bytes: &[u8]) -> Result<Frame, String> {
    let mut frame = Frame::default();
    let mut at = 2;
    loop {
        let marker = next_marker(bytes, &mut at)?;
        let start = at - 2;
        if marker == EOI {
            break;
        }
        if marker == TEMPORARY || (RST0..=RST7).contains(&marker) {
            continue;
        }
        if marker == SOI {
            return Err(format!("a JPEG cut off at byte {start}, where another image begins"));
        }
        let body = segment(bytes, at)?;
        let data = &bytes[body.clone()];
        at = body.end;
        match marker {
            APP0 if data.len() >= 14 && data.starts_with(b"JFIF\0") => frame.jfif = true,
            APP14 if data.len() >= 12 && data.starts_with(b"Adobe") => frame.adobe = Some(data[11]),
            APP0..=APP15 | COM => {}
            SOS => {
                frame.scan(data)?;
                at = scan_end(bytes, at)?;
                frame.scan_bytes += (at - body.end) as u64;
                frame.segments.push(Segment { marker, range: start..at });
            }
            DQT if frame.scans() > 0 => {
                return Err("a JPEG whose quantisation changes between its scans".to_owned());
            }
            DHT | DQT | DRI => frame.segments.push(Segment { marker, range: start..at }),
            0xC0..=0xC2 => {
                frame.start(marker, data)?;
                frame.segments.push(Segment { marker, range: start..at });
            }
            _ => return Err(unsupported(marker)),
        }
    }
    if frame.scans() == 0 {
        return Err("a JPEG without a scan".to_owned());
    }
    frame.check_complete()?;
    Ok(frame)
}

fn unsupported(marker: u8) -> String {
    let kind = match marker {
        0xC3 => "a lossless JPEG",
        0xC5..=0xC7 => "a hierarchical JPEG",
        0xC9 | 0xCA | 0xCC => "a JPEG with arithmetic coding",
        0xCB | 0xCD..=0xCF => "a lossless or hierarchical JPEG with arithmetic coding",
        0xDC => "a JPEG that states its height after its first scan",
        _ => return format!("a JPEG with the marker 0xFF{marker:02X}"),
    };
    kind.to_owned()
}

fn cut_off(bytes: &[u8]) -> String {
    format!("a JPEG cut off after {} bytes", bytes.len())
}

/// The marker at or after `at`, which then lies behind it. As libjpeg, over bytes that belong to no
/// segment.
fn next_marker(bytes: &[u8], at: &mut usize) -> Result<u8, String> {
    loop {
        match bytes.get(*at..*at + 2) {
            None => return Err(cut_off(bytes)),
            Some(&[0xFF, marker @ 1..=0xFE]) => {
                *at += 2;
                return Ok(marker);
            }
            Some(_) => *at += 1,
        }
    }
}

/// What the segment whose length is at `at` holds.
fn segment(bytes: &[u8], at: usize) -> Result<Range<usize>, String> {
    let &[high, low] = bytes.get(at..at + 2).ok_or_else(|| cut_off(bytes))? else {
        return Err(cut_off(bytes));
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    match len {
        0 | 1 => Err(format!("a JPEG segment of {len} bytes at byte {at}")),
        _ if at + len > bytes.len() => Err(cut_off(bytes)),
        _ => Ok(at + 2..at + len),
    }
}

/// Where the marker that ends the compressed data from `at` on begins.
fn scan_end(bytes: &[u8], mut at: usize) -> Result<usize, String> {
    loop {
        // Most groups hold none, and their largest byte is found in one go.
        let groups = bytes[at..].as_chunks::<32>().0.iter();
        at += 32 * groups.take_while(|group| group.iter().max() < Some(&0xFF)).count();
        let next = bytes[at..].iter().position(|&byte| byte == 0xFF);
        at += next.ok_or_else(|| cut_off(bytes))?;
        match bytes.get(at + 1) {
            None => return Err(cut_off(bytes)),
            Some(0 | RST0..=RST7) => at += 2,
            Some(0xFF) => at += 1,
            Some(_) => return Ok(at),
        }
    }
}

impl Frame {
    fn scans(&self) -> usize {
        self.segments.iter().filter(|segment| segment.marker == SOS).count()
    }

    /// The header of the frame.
    fn start(&mut self, marker: u8, data: &[u8]) -> Result<(), String> {
        let &[precision, h1, h0, w1, w0, count, ref components @ ..] = data else {
            return Err(format!("a JPEG frame header of {} bytes", data.len()));
        };
        if !self.components.is_empty() {
            return Err("a JPEG with two frames".to_owned());
        }
        if precision != 8 {
            return Err(format!("a JPEG of {precision} bits a sample"));
        }
        self.progressive = marker == 0xC2;
        [self.width, self.height] =
            [[w1, w0], [h1, h0]].map(|side| u16::from_be_bytes(side).into());
        if self.width == 0 || self.height == 0 {
            return Err(format!("a JPEG of {}x{} pixels", self.width, self.height));
        }
        if components.len() != 3 * usize::from(count) || count == 0 {
            return Err(format!("{} bytes for {count} components of a JPEG", components.len()));
        }
        for component in components.as_chunks::<3>().0 {
            let &[name, factors, _] = component;
            let [across, down] = [factors >> 4, factors & 15].map(usize::from);
            if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
                return Err(format!("a JPEG with a sampling of {across}x{down}"));
            }
            if self.components.iter().any(|other| other.name == name) {
                return Err(format!("a JPEG with two components of the number {name}"));
            }
            self.components.push(Component { name, across, down, bits: [None; COEFFICIENTS] });
        }
        if let [alone] = &mut self.components[..] {
            // Then they mean nothing.
            [alone.across, alone.down] = [1, 1];
        }
        Ok(())
    }

    /// The header of a scan.
    fn scan(&mut self, data: &[u8]) -> Result<(), String> {
        let broken = || format!("a JPEG scan header of {} bytes", data.len());
        let (&count, rest) = data.split_first().ok_or_else(broken)?;
        let (tables, rest) = rest.split_at_checked(2 * usize::from(count)).ok_or_else(broken)?;
        let &[first, last, bits] = rest else { return Err(broken()) };
        if !self.progressive {
            if self.scans() > 0 || usize::from(count) != self.components.len() {
                return Err(
                    "a sequential JPEG with several scans, which zune-jpeg decodes to another \
                     picture"
                        .to_owned(),
                );
            }
            return Ok(());
        }
        if first > last || usize::from(last) >= COEFFICIENTS {
            return Err(format!("a JPEG scan of the coefficients {first} to {last}"));
        }
        for table in tables.as_chunks::<2>().0 {
            let named = self.components.iter_mut().find(|component| component.name == table[0]);
            let component = named.ok_or_else(|| {
                format!("a JPEG scan of component {}, which its frame lacks", table[0])
            })?;
            component.bits[usize::from(first)..=usize::from(last)].fill(Some(bits & 15));
        }
        Ok(())
    }

    /// Every coefficient has to have come to its last bit: libjpeg smooths what is left of an
    /// unfinished picture.
    fn check_complete(&self) -> Result<(), String> {
        let whole = |component: &Component| component.bits.iter().all(|bits| *bits == Some(0));
        if self.progressive && !self.components.iter().all(whole) {
            return Err("a progressive JPEG that ends before its last scan".to_owned());
        }
        Ok(())
    }

    /// How many pixels a sample of this component spans, across and down.
    pub(super) fn ratio(&self, component: &Component) -> [usize; 2] {
        let [across, down] = self.factors();
        [across / component.across, down / component.down]
    }

    /// The largest sampling factors.
    fn factors(&self) -> [usize; 2] {
        let most = |of: fn(&Component) -> usize| self.components.iter().map(of).max().unwrap_or(1);
        [most(|component| component.across), most(|component| component.down)]
    }

    /// Blocks of 8x8 samples of a component.
    pub(super) fn blocks(&self, component: &Component) -> u64 {
        let [across, down] = self.factors();
        let side =
            |side: usize, factor: usize, most: usize| (side * factor).div_ceil(8 * most) as u64;
        side(self.width, component.across, across) * side(self.height, component.down, down)
    }

    /// The same, up to where the blocks of all components end together.
    pub(super) fn padded_blocks(&self, component: &Component) -> u64 {
        let [across, down] = self.factors();
        let units = self.width.div_ceil(8 * across) * self.height.div_ceil(8 * down);
        (units * component.across * component.down) as u64
    }

    /// Rows of pixels whose blocks are coded together.
    pub(super) fn unit_rows(&self) -> usize {
        let [_, down] = self.factors();
        8 * down
    }

    /// A file of nothing but what decides the samples of the upper `height` rows, with components
    /// that are numbered.
    pub(super) fn bare(&self, bytes: &[u8], height: usize) -> Vec<u8> {
        let number = |name: u8| {
            let same = |component: &Component| component.name == name;
            self.components.iter().position(same).map_or(0, |number| number as u8 + 1)
        };
        let mut bare = Vec::with_capacity(bytes.len());
        bare.extend([0xFF, SOI]);
        for Segment { marker, range } in &self.segments {
            let start = bare.len();
            bare.extend_from_slice(&bytes[range.clone()]);
            let segment = &mut bare[start..];
            match *marker {
                0xC0..=0xC2 => {
                    segment[5..7].copy_from_slice(&(height as u16).to_be_bytes());
                    for component in segment[10..].as_chunks_mut::<3>().0 {
                        component[0] = number(component[0]);
                        if self.components.len() == 1 {
                            component[1] = 0x11;
                        }
                    }
                }
                SOS => {
                    let count = usize::from(segment[4]);
                    for table in segment[5..5 + 2 * count].as_chunks_mut::<2>().0 {
                        table[0] = number(table[0]);
                    }
                }
                _ => {}
            }
        }
        bare.extend([0xFF, EOI]);
        bare
    }
}
