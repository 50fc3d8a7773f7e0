//! A sample and its padded, channel-last form.

/// The size of a map, and its place in the padded form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Padded {
    pub(super) channels: usize,
    /// The size of the map, (H, W).
    pub(super) size: [usize; 2],
    /// The zeros before the first row and column.
    pub(super) front: [usize; 2],
    /// The columns of a padded row.
    pub(super) width: usize,
}

/// A sample in both forms.
pub(crate) struct Image<'a> {
    pub(super) input: &'a [f32],
    pub(super) pixels: &'a mut [f32],
    pub(super) padded: Padded,
}

impl Image<'_> {
    /// Returns the pixels of a plane, H·W.
    fn plane(&self) -> usize {
        self.padded.size[0] * self.padded.size[1]
    }

    /// Returns the offset in `pixels` of the first pixel of source row `y`.
    fn row(&self, y: usize) -> usize {
        let Padded { channels, front: [above, left], width, .. } = self.padded;
        ((above + y) * width + left) * channels
    }

    /// Writes one channel, of whose values `map` makes new ones.
    pub(super) fn scatter(&mut self, channel: usize, map: impl Fn(f32) -> f32) {
        let plane = &self.input[channel * self.plane()..(channel + 1) * self.plane()];
        for (y, values) in plane.chunks_exact(self.padded.size[1]).enumerate() {
            let start = self.row(y) + channel;
            let targets = self.pixels[start..].iter_mut().step_by(self.padded.channels);
            targets.zip(values).for_each(|(to, from)| *to = map(*from));
        }
    }

    /// Writes the channels up to the last multiple of `LANES`, `LANES` pixels at a time whatever
    /// rows they are on, and returns their number: 0 if the plane has fewer pixels. The last block
    /// of pixels overlaps the one before.
    ///
    /// `transpose(rows, columns)` writes the floats `rows[i][j]` to `columns[j][i]`: as many are
    /// readable and writable at each as there are rows.
    #[inline(always)]
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code))]
    pub(crate) fn transpose_blocks<const LANES: usize>(
        &mut self,
        transpose: impl Fn([*const f32; LANES], [*mut f32; LANES]),
    ) -> usize {
        let Padded { channels, size: [_, width], .. } = self.padded;
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
                // Each source is a slice of LANES floats. Offsets rise, so each target is followed
                // by the rest of its pixel's `channels` floats within `pixels`.
                transpose(sources, targets);
            }
        }
        done
    }
}

/// A function that writes the first channels of an image and returns their number.
///
/// # Safety
/// The instruction set is present.
pub(crate) type TransposeFn = unsafe fn(&mut Image<'_>) -> usize;

/// A [`TransposeFn`] that leaves all channels to [`Image::scatter`].
pub(crate) fn no_blocks(_: &mut Image<'_>) -> usize {
    0
}
