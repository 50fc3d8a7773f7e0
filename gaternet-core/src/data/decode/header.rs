//! What all formats say of an image before it is decoded, and how they read it.

/// Red, green, blue.
pub(in crate::data) const CHANNELS: usize = 3;

/// A part of an image: left, top, width, height, in pixels.
pub(in crate::data) type View = [usize; 4];

/// What a file says of itself, as far as the file bears it out; K is what its format keeps.
pub(super) struct Header<K> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Bytes that decoding and converting hold at once, the file itself aside.
    pub(super) memory: u64,
    pub(super) kind: K,
}

impl<K> Header<K> {
    /// The same with another word for its format.
    pub(super) fn map<L>(self, to: impl FnOnce(K) -> L) -> Header<L> {
        let Header { width, height, memory, kind } = self;
        Header { width, height, memory, kind: to(kind) }
    }
}

/// `width * height * bytes`, without overflow.
pub(super) fn area(width: usize, height: usize, bytes: u64) -> u64 {
    (width as u64).saturating_mul(height as u64).saturating_mul(bytes)
}

/// `Err` if so many bytes of pixels cannot come out of `held` compressed ones, of which each gives
/// at most `most`.
pub(super) fn check_claim(
    size: [usize; 2],
    pixels: u64,
    held: u64,
    most: u64,
) -> Result<(), String> {
    // What a stream needs before its first pixel is less than this.
    if pixels / most > held + 64 {
        let [width, height] = size;
        return Err(format!("{width}x{height} pixels, more than its {held} bytes can hold"));
    }
    Ok(())
}

/// Grey (N) as (N, 3).
pub(super) fn grey(samples: impl Iterator<Item = u8>, len: usize) -> Vec<u8> {
    let mut pixels = Vec::with_capacity(len * CHANNELS);
    samples.for_each(|sample| pixels.extend([sample; CHANNELS]));
    pixels
}

/// Pillow's way from cyan, magenta, yellow and black to red, green and blue.
pub(super) fn from_cmyk([c, m, y, k]: [u8; 4]) -> [u8; 3] {
    let white = u32::from(255 - k);
    [c, m, y].map(|ink| {
        let product = u32::from(ink) * white + 128;
        white.saturating_sub((product + (product >> 8)) >> 8) as u8
    })
}

/// The big- or little-endian number of N bytes at `at`.
pub(super) fn number<const N: usize>(bytes: &[u8], at: usize, big: bool) -> Result<u64, String> {
    let field = bytes.get(at..at.saturating_add(N)).ok_or_else(|| cut_off(bytes))?;
    let push = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    Ok(if big { field.iter().fold(0, push) } else { field.iter().rev().fold(0, push) })
}

pub(super) fn cut_off(bytes: &[u8]) -> String {
    format!("a file cut off after {} bytes", bytes.len())
}
