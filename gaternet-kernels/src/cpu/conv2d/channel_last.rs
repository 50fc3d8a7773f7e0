//! Copies a sample into bordered, channel-last form.

use crate::cpu::isa::{Isa, Level};
use crate::dims::Conv2dDims;

/// `input` (C, H, W) -> `pixels` (H + 2·padding, W + 2·padding, C) with zero borders, and zeros in what
/// `pixels` has beyond that. Channels not in the list become zeros.
pub(super) fn channel_last(
    isa: Isa,
    dims: &Conv2dDims,
    channels: Option<&[u32]>,
    input: &[f32],
    pixels: &mut [f32],
) {
    let ([h, w], [py, px]) = (dims.in_size(), dims.padding());
    let c = dims.in_channels();
    let width = w + 2 * px;
    let (inside, below) = pixels[py * width * c..].split_at_mut(h * width * c);
    below.fill(0.0);
    for row in inside.chunks_exact_mut(width * c) {
        row[..px * c].fill(0.0);
        row[(px + w) * c..].fill(0.0);
    }
    pixels[..py * width * c].fill(0.0);
    let mut image = Image { input, pixels, channels: c, plane: h * w, width: w, border: [py, px] };
    if h * w == 0 {
        return;
    }
    if let Some(live) = channels {
        let mut next = live.iter().map(|channel| *channel as usize).peekable();
        for channel in 0..c {
            let is_live = next.next_if_eq(&channel).is_some();
            image.scatter(channel, |value| if is_live { value } else { 0.0 });
        }
        return;
    }
    let done = match isa.level() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Isa` of this level exists only where the features were detected.
        Level::Avx512 => unsafe { image.transpose_blocks() },
        _ => 0,
    };
    for channel in done..c {
        image.scatter(channel, |value| value);
    }
}

/// A sample in both forms.
struct Image<'a> {
    input: &'a [f32],
    pixels: &'a mut [f32],
    channels: usize,
    /// Source plane and row.
    plane: usize,
    width: usize,
    border: [usize; 2],
}

impl Image<'_> {
    fn row_stride(&self) -> usize {
        (self.width + 2 * self.border[1]) * self.channels
    }

    /// Offset in `pixels` of the first pixel of source row `y`.
    fn row(&self, y: usize) -> usize {
        (self.border[0] + y) * self.row_stride() + self.border[1] * self.channels
    }

    fn scatter(&mut self, channel: usize, map: impl Fn(f32) -> f32) {
        let plane = &self.input[channel * self.plane..(channel + 1) * self.plane];
        for (y, values) in plane.chunks_exact(self.width).enumerate() {
            let start = self.row(y) + channel;
            let targets = self.pixels[start..].iter_mut().step_by(self.channels);
            targets.zip(values).for_each(|(to, from)| *to = map(*from));
        }
    }

    /// Does the channels up to the last multiple of 16, 16 pixels at a time whatever rows they are on,
    /// and returns their number: 0 if the plane has no 16 pixels. The last block of pixels overlaps the
    /// one before.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f")]
    fn transpose_blocks(&mut self) -> usize {
        use crate::cpu::simd::avx512::{LANES, transpose};

        let done = self.channels / LANES * LANES;
        if self.plane < LANES {
            return 0;
        }
        for first in (0..self.plane).step_by(LANES).map(|p| p.min(self.plane - LANES)) {
            let (mut y, mut x) = (first / self.width, first % self.width);
            let offsets: [usize; LANES] = std::array::from_fn(|_| {
                let offset = self.row(y) + x * self.channels;
                x += 1;
                if x == self.width {
                    (y, x) = (y + 1, 0);
                }
                offset
            });
            let pixels = &mut self.pixels[..offsets[LANES - 1] + self.channels];
            for channel in (0..done).step_by(LANES) {
                let sources = std::array::from_fn(|i| {
                    let start = (channel + i) * self.plane + first;
                    self.input[start..start + LANES].as_ptr()
                });
                let targets = offsets.map(|o| pixels.as_mut_ptr().wrapping_add(o + channel));
                // SAFETY: each source is a slice of LANES floats. Offsets rise, so each target is
                // followed by the rest of its pixel's `channels` floats within `pixels`.
                unsafe { transpose(sources, targets) };
            }
        }
        done
    }
}
