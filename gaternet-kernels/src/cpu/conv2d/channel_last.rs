//! Copies a sample into bordered, channel-last form.

use crate::cpu::isa::Isa;

/// The size of a map, and where it lies in its bordered form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bordered {
    pub(super) channels: usize,
    /// (H, W).
    pub(super) size: [usize; 2],
    /// Zeros before the first row and column.
    pub(super) front: [usize; 2],
    /// Columns of a bordered row.
    pub(super) width: usize,
}

/// `input` (C, H, W) -> `pixels` (rows, width, C) with zeros around the map. Channels not in the list
/// become zeros.
pub(super) fn channel_last(
    isa: Isa,
    bordered: Bordered,
    channels: Option<&[u32]>,
    input: &[f32],
    pixels: &mut [f32],
) {
    let Bordered { channels: c, size: [h, w], front: [above, left], width } = bordered;
    let (inside, below) = pixels[above * width * c..].split_at_mut(h * width * c);
    below.fill(0.0);
    for row in inside.chunks_exact_mut(width * c) {
        row[..left * c].fill(0.0);
        row[(left + w) * c..].fill(0.0);
    }
    pixels[..above * width * c].fill(0.0);
    if h * w == 0 {
        return;
    }
    let mut image = Image { input, pixels, bordered };
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
        crate::cpu::isa::Level::Avx512 => unsafe { image.transpose_blocks() },
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
    bordered: Bordered,
}

impl Image<'_> {
    /// H·W.
    fn plane(&self) -> usize {
        self.bordered.size[0] * self.bordered.size[1]
    }

    /// Offset in `pixels` of the first pixel of source row `y`.
    fn row(&self, y: usize) -> usize {
        let Bordered { channels, front: [above, left], width, .. } = self.bordered;
        ((above + y) * width + left) * channels
    }

    fn scatter(&mut self, channel: usize, map: impl Fn(f32) -> f32) {
        let plane = &self.input[channel * self.plane()..(channel + 1) * self.plane()];
        for (y, values) in plane.chunks_exact(self.bordered.size[1]).enumerate() {
            let start = self.row(y) + channel;
            let targets = self.pixels[start..].iter_mut().step_by(self.bordered.channels);
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

        let Bordered { channels, size: [_, width], .. } = self.bordered;
        let (plane, done) = (self.plane(), channels / LANES * LANES);
        if plane < LANES {
            return 0;
        }
        for first in (0..plane).step_by(LANES).map(|p| p.min(plane - LANES)) {
            let (mut y, mut x) = (first / width, first % width);
            let offsets: [usize; LANES] = std::array::from_fn(|_| {
                let offset = self.row(y) + x * channels;
                x += 1;
                if x == width {
                    (y, x) = (y + 1, 0);
                }
                offset
            });
            let pixels = &mut self.pixels[..offsets[LANES - 1] + channels];
            for channel in (0..done).step_by(LANES) {
                let sources = std::array::from_fn(|i| {
                    let start = (channel + i) * plane + first;
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
