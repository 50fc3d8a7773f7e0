//! The layout of a convolution, made before it runs: source planes with padding, taps as address
//! offsets, and the vectors of output pixels.
//!
//! Forward and input gradient are the same computation, a *correlation*: for an output row r (a
//! filter, or an input channel) and a pixel,
//! `Σ_channel Σ_tap weight[r, channel, tap] · source[channel, pixel + tap]`. They differ in how the
//! source is spread over planes and in the offset and weight of a tap, which is what [`Plan`]
//! holds.

use crate::dims::Conv2dDims;

/// One kernel position: the place it reads and the weight it multiplies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tap {
    /// The offset in floats from a pixel's address in the padded source.
    pub(crate) source: usize,
    /// The offset of the weight within its (KH, KW) block.
    pub(crate) weight: usize,
}

/// Up to `lanes` output pixels whose sources are adjacent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PixelVector {
    /// The offset of the first lane in the padded source.
    pub(crate) source: usize,
    /// The offset of the first valid lane in the output plane.
    pub(crate) target: usize,
    /// The lanes that are output pixels; the others fall on padding and are computed for nothing.
    pub(crate) mask: u16,
}

/// Output pixels that share their taps: all of them, but for the gradient of a strided
/// convolution, where each phase of the input has taps of its own.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) taps: Vec<Tap>,
    pub(crate) vectors: Vec<PixelVector>,
}

/// The rule by which rows of a source plane are copied into its padded form.
///
/// A plane is split into `step[0]·step[1]` sub-planes, so that the pixels a strided tap reads are
/// adjacent. Zeros to the left of a row also serve as those to the right of the row before it.
#[derive(Debug)]
pub(crate) struct Padding {
    /// The size of a source plane, (height, width).
    pub(crate) size: [usize; 2],
    /// The zeros before the first row and column.
    front: [usize; 2],
    step: [usize; 2],
    /// The sub-planes that some tap reads: fewer than `step` if the kernel is smaller than the
    /// stride.
    used: [usize; 2],
    /// The rows of a sub-plane, and the floats from one to the next.
    rows: usize,
    row_stride: usize,
    /// The floats of a channel: all its sub-planes, and the zeros after its last row.
    pub(crate) channel_stride: usize,
}

impl Padding {
    fn new(
        size: [usize; 2],
        front: [usize; 2],
        rows: usize,
        row_stride: usize,
        step: [usize; 2],
        used: [usize; 2],
    ) -> Padding {
        // The last row has no next one to lend it zeros, so each channel ends with its own.
        let channel_stride = used[0] * used[1] * rows * row_stride + front[1];
        Padding { size, front, step, used, rows, row_stride, channel_stride }
    }

    /// Returns the offset of the padded pixel (y, x), padding included, in its channel.
    fn offset(&self, y: usize, x: usize) -> usize {
        let sub_plane = (y % self.step[0]) * self.used[1] + x % self.step[1];
        (sub_plane * self.rows + y / self.step[0]) * self.row_stride + x / self.step[1]
    }

    /// Writes one channel in its padded form. `plane` is (H, W), `padded` is one `channel_stride`
    /// long.
    pub(crate) fn fill(&self, copy: CopyRow, plane: &[f32], padded: &mut [f32]) {
        let [height, width] = self.size;
        let [step_y, step_x] = self.step;
        padded.fill(0.0);
        for sub_y in 0..self.used[0] {
            for sub_x in 0..self.used[1] {
                // First and one-past-last column of this sub-plane that holds a source pixel.
                let first = (self.front[1].saturating_sub(sub_x)).div_ceil(step_x);
                let end = (self.front[1] + width).saturating_sub(sub_x).div_ceil(step_x);
                let sub_plane = (sub_y * self.used[1] + sub_x) * self.rows * self.row_stride;
                let rows = &mut padded[sub_plane..sub_plane + self.rows * self.row_stride];
                for (i, row) in rows.chunks_exact_mut(self.row_stride).enumerate() {
                    let y = (i * step_y + sub_y).checked_sub(self.front[0]);
                    let Some(y) = y.filter(|y| *y < height && end > first) else { continue };
                    let x = first * step_x + sub_x - self.front[1];
                    let source = &plane[y * width + x..(y + 1) * width];
                    if step_x == 1 {
                        copy(&mut row[first..end], source);
                    } else {
                        let pixels = source.iter().step_by(step_x);
                        row[first..end].iter_mut().zip(pixels).for_each(|(to, from)| *to = *from);
                    }
                }
            }
        }
    }
}

/// A function that copies a row: `copy_from_slice` for rows so short that a call of memmove costs
/// more than the copy.
pub(crate) type CopyRow = fn(&mut [f32], &[f32]);

/// All of a correlation but its data.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Whether the source is read where it is, instead of from a padded copy. A 1x1 kernel needs no
    /// padding.
    pub(crate) in_place: bool,
    /// The number of source channels.
    pub(crate) channels: usize,
    pub(crate) padding: Padding,
    pub(crate) phases: Vec<Phase>,
    /// The distance of neighbouring pixels of a vector in the output plane, which is above 1 only
    /// for the input gradient of a convolution strided along the width.
    pub(crate) target_step: usize,
    /// The distance of an output row's weights from the next one's.
    pub(crate) weight_row: usize,
    /// The distance of a source channel's weights from the next one's.
    pub(crate) weight_channel: usize,
}

impl Plan {
    /// Returns the plan of a 1x1 kernel that needs no copy: whole vectors over a plane, of which
    /// the last may overlap the one before, so that none reaches beyond the plane. Returns `None`
    /// for other kernels, and for tiny planes.
    fn in_place(dims: &Conv2dDims, lanes: usize) -> Option<Plan> {
        let ([h, w], plane) = (dims.in_size(), dims.in_plane());
        let pointwise = (dims.kernel(), dims.stride(), dims.padding()) == ([1; 2], [1; 2], [0; 2]);
        if !pointwise || plane < lanes {
            return None;
        }
        let vector = |first: usize| {
            let first = first.min(plane - lanes);
            PixelVector { source: first, target: first, mask: prefix(lanes) }
        };
        let vectors = (0..plane).step_by(lanes).map(vector).collect();
        let taps = vec![Tap { source: 0, weight: 0 }];
        Some(Plan {
            in_place: true,
            channels: 0,
            padding: Padding::new([h, w], [0, 0], h, w, [1, 1], [1, 1]),
            phases: vec![Phase { taps, vectors }],
            target_step: 1,
            weight_row: 0,
            weight_channel: 0,
        })
    }

    pub(crate) fn forward(dims: &Conv2dDims, lanes: usize) -> Plan {
        let channels = dims.in_channels();
        let (weight_row, weight_channel) = (channels * dims.taps(), dims.taps());
        if let Some(plan) = Plan::in_place(dims, lanes) {
            return Plan { channels, weight_row, weight_channel, ..plan };
        }
        let ([h, w], [kh, kw]) = (dims.in_size(), dims.kernel());
        let ([sy, sx], [py, px]) = (dims.stride(), dims.padding());
        let [oh, ow] = dims.out_size();
        let row_stride = if sx == 1 { (w + px).max(ow) } else { (w + 2 * px).div_ceil(sx) };
        let rows = (h + 2 * py).div_ceil(sy);
        let used = [sy.min(kh), sx.min(kw)];
        let padding = Padding::new([h, w], [py, px], rows, row_stride, [sy, sx], used);
        let taps = (0..kh * kw)
            .map(|weight| Tap { source: padding.offset(weight / kw, weight % kw), weight })
            .collect();
        let grid = Grid { first: 0, size: [oh, ow], row_stride, target: 0, target_row: ow };
        let vectors = grid.vectors(lanes, 1);
        Plan {
            in_place: false,
            channels,
            padding,
            phases: vec![Phase { taps, vectors }],
            target_step: 1,
            weight_row,
            weight_channel,
        }
    }

    /// Padded input row Y = s·o + k receives the gradient of output row o through kernel row k. For
    /// the rows of one phase, Y = s·i + a, that leaves k = a + s·j and o = i - j: an unstrided
    /// correlation with the kernel rows a, a + s, ... in reverse. Columns alike.
    pub(crate) fn backward_input(dims: &Conv2dDims, lanes: usize) -> Plan {
        let channels = dims.out_channels();
        let (weight_row, weight_channel) = (dims.taps(), dims.in_channels() * dims.taps());
        if let Some(plan) = Plan::in_place(dims, lanes) {
            return Plan { channels, weight_row, weight_channel, ..plan };
        }
        let [oh, ow] = dims.out_size();
        let axis = |i: usize| {
            Axis::new(
                dims.in_size()[i],
                dims.kernel()[i],
                dims.stride()[i],
                dims.padding()[i],
                dims.out_size()[i],
            )
        };
        let (rows, columns) = (axis(0), axis(1));
        // Zeros right of a row are those left of the next, as far as these reach.
        let widest = columns.phases.iter().map(|phase| phase.count).max().unwrap_or(0);
        let row_stride =
            (columns.front + ow + columns.back.saturating_sub(columns.front)).max(widest);
        let padding = Padding::new(
            [oh, ow],
            [rows.front, columns.front],
            rows.front + oh + rows.back,
            row_stride,
            [1, 1],
            [1, 1],
        );
        let width = dims.in_size()[1];
        let [sy, sx] = dims.stride();
        let mut phases = Vec::with_capacity(sy * sx);
        for y in &rows.phases {
            for x in &columns.phases {
                let mut taps = Vec::with_capacity(y.taps.len() * x.taps.len());
                for (ky, back_y) in &y.taps {
                    for (kx, back_x) in &x.taps {
                        let source = (y.span - back_y) * row_stride + x.span - back_x;
                        taps.push(Tap { source, weight: ky * dims.kernel()[1] + kx });
                    }
                }
                let first = (rows.front + y.first - y.span) * row_stride
                    + (columns.front + x.first - x.span);
                let grid = Grid {
                    first,
                    size: [y.count, x.count],
                    row_stride,
                    target: y.input * width + x.input,
                    target_row: sy * width,
                };
                phases.push(Phase { taps, vectors: grid.vectors(lanes, sx) });
            }
        }
        Plan {
            in_place: false,
            channels,
            padding,
            phases,
            target_step: sx,
            weight_row,
            weight_channel,
        }
    }

    /// Returns the floats of one sample's padded source, with what the last vector reads beyond its
    /// end.
    pub(crate) fn scratch_len(&self, lanes: usize) -> usize {
        let last = self.reach(lanes).max(self.padding.channel_stride);
        self.channels.saturating_sub(1) * self.padding.channel_stride + last
    }

    /// Returns the floats of a channel up to the last that any tap and vector reads.
    pub(crate) fn reach(&self, lanes: usize) -> usize {
        let reach = self.phases.iter().filter_map(|phase| {
            let tap = phase.taps.iter().map(|tap| tap.source).max()?;
            let vector = phase.vectors.iter().map(|vector| vector.source).max()?;
            Some(tap + vector + lanes)
        });
        reach.max().unwrap_or(0)
    }
}

/// One side of the input gradient.
struct Axis {
    phases: Vec<AxisPhase>,
    /// The zeros needed before and after the output gradient.
    front: usize,
    back: usize,
}

struct AxisPhase {
    /// The first input coordinate of the phase, and its index i in the phase.
    input: usize,
    first: usize,
    count: usize,
    /// (kernel coordinate, j): the tap reads output coordinate i - j.
    taps: Vec<(usize, usize)>,
    /// The largest j.
    span: usize,
}

impl Axis {
    fn new(size: usize, kernel: usize, stride: usize, padding: usize, out: usize) -> Axis {
        let phases: Vec<AxisPhase> = (0..stride)
            .map(|a| {
                // Padded coordinate s·i + a is input coordinate s·i + a - padding.
                let first = padding.saturating_sub(a).div_ceil(stride);
                let input = first * stride + a - padding;
                let count = size.saturating_sub(input).div_ceil(stride);
                let taps: Vec<_> =
                    (a..kernel).step_by(stride).enumerate().map(|(j, k)| (k, j)).collect();
                AxisPhase { input, first, count, span: taps.len().saturating_sub(1), taps }
            })
            .filter(|phase| phase.count > 0)
            .collect();
        let front = phases.iter().map(|p| p.span.saturating_sub(p.first)).max().unwrap_or(0);
        let back = phases.iter().map(|p| (p.first + p.count).saturating_sub(out)).max();
        Axis { phases, front, back: back.unwrap_or(0) }
    }
}

/// Output pixels and their sources: pixel (y, x) is read around `first + y·row_stride + x` and
/// written to `target + y·target_row + x·step`.
struct Grid {
    first: usize,
    size: [usize; 2],
    row_stride: usize,
    target: usize,
    target_row: usize,
}

impl Grid {
    /// Returns vectors that start at every row, or that run on over the padding between the rows,
    /// whichever are fewer. On an 8x8 map rows fill half a 16-lane register, a running vector all.
    fn vectors(&self, lanes: usize, step: usize) -> Vec<PixelVector> {
        let [height, width] = self.size;
        if height * width == 0 {
            return Vec::new();
        }
        let span = (height - 1) * self.row_stride + width;
        let dense = step == 1 && self.target_row == width;
        if dense && span.div_ceil(lanes) < height * width.div_ceil(lanes) {
            return self.running(lanes, span);
        }
        let row = |y: usize| {
            (0..width).step_by(lanes).map(move |x| PixelVector {
                source: self.first + y * self.row_stride + x,
                target: self.target + y * self.target_row + x * step,
                mask: prefix(lanes.min(width - x)),
            })
        };
        (0..height).flat_map(row).collect()
    }

    fn running(&self, lanes: usize, span: usize) -> Vec<PixelVector> {
        let width = self.size[1];
        let mut target = self.target;
        let mut vectors = Vec::with_capacity(span.div_ceil(lanes));
        for start in (0..span).step_by(lanes) {
            let valid =
                |lane: &usize| start + lane < span && (start + lane) % self.row_stride < width;
            let mask = (0..lanes).filter(valid).fold(0u16, |mask, lane| mask | 1 << lane);
            if mask != 0 {
                vectors.push(PixelVector { source: self.first + start, target, mask });
                target += mask.count_ones() as usize;
            }
        }
        vectors
    }
}

/// Returns the mask of the lowest `count` lanes.
fn prefix(count: usize) -> u16 {
    ((1u32 << count) - 1) as u16
}
