//! Weights in Winograd's form: `U = G g Gᵀ`.

use rayon::prelude::*;

use super::points::{A, B};
use crate::cpu::isa::{Isa, dispatch};
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// The number of channels that are transformed together.
const LANES: usize = 16;

/// The elements of the larger tile, n².
const MOST_ELEMENTS: usize = 36;

/// The weights of a convolution in Winograd's form, (n², rows, channels).
#[derive(Debug)]
pub(in super::super) struct Weights {
    pub(in super::super) data: Vec<f32>,
    pub(super) channels: usize,
    /// The floats from one element to the next.
    pub(super) element: usize,
}

impl Weights {
    /// Transforms the kernels of `taps` for tiles of m = `tile`, in memory `data` of at least
    /// [`len`](Self::len) floats.
    pub(in super::super) fn new(
        isa: Isa,
        tile: usize,
        taps: &Taps<'_>,
        mut data: Vec<f32>,
    ) -> Weights {
        let channels = taps.channels;
        let element = taps.rows * channels;
        let shared = SharedSlice::new(&mut data);
        taps.transform(isa, tile, |row, first, e, values| {
            let at = e * element + row * channels + first;
            // SAFETY: each row and range of channels is written by one task, once.
            let target = unsafe { shared.part(at..at + values.len()) };
            target.copy_from_slice(values);
        });
        Weights { data, channels, element }
    }

    /// Returns the floats that the weights of a convolution take.
    pub(in super::super) fn len(tile: usize, dims: &Conv2dDims) -> usize {
        (tile + 2) * (tile + 2) * dims.out_channels() * dims.in_channels()
    }

    /// Returns the weights from a row's first one on.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.channels..]
    }
}

/// The kernels of a convolution, or those of the gradient of its input.
pub(in super::super) struct Taps<'a> {
    pub(super) rows: usize,
    pub(super) channels: usize,
    weight: &'a [f32],
    /// Whether rows are channels, channels are filters, and kernels are turned by 180 degrees.
    turned: bool,
}

impl<'a> Taps<'a> {
    /// Returns the kernels of `weight` (F, C, 3, 3).
    pub(in super::super) fn forward(dims: &Conv2dDims, weight: &'a [f32]) -> Taps<'a> {
        let (rows, channels) = (dims.out_channels(), dims.in_channels());
        Taps { rows, channels, weight, turned: false }
    }

    /// Returns the kernels of `weight` (F, C, 3, 3) for the gradient of the input.
    pub(in super::super) fn backward_input(dims: &Conv2dDims, weight: &'a [f32]) -> Taps<'a> {
        let (rows, channels) = (dims.in_channels(), dims.out_channels());
        Taps { rows, channels, weight, turned: true }
    }

    fn tap(&self, row: usize, channel: usize, tap: usize) -> f32 {
        match self.turned {
            false => self.weight[(row * self.channels + channel) * 9 + tap],
            true => self.weight[(channel * self.rows + row) * 9 + 8 - tap],
        }
    }

    /// Calls `write(row, first channel, element, channels)` with the elements of all `G g Gᵀ` once;
    /// rows are done in parallel.
    pub(super) fn transform(
        &self,
        isa: Isa,
        tile: usize,
        write: impl Fn(usize, usize, usize, &[f32]) + Sync,
    ) {
        (0..self.rows).into_par_iter().for_each(|row| {
            for first in (0..self.channels).step_by(LANES) {
                let count = LANES.min(self.channels - first);
                let mut kernel = [[0.0; LANES]; 9];
                for (i, taps) in kernel.iter_mut().enumerate() {
                    for (lane, value) in taps.iter_mut().enumerate().take(count) {
                        *value = self.tap(row, first + lane, i);
                    }
                }
                let mut elements = [[0.0; LANES]; MOST_ELEMENTS];
                let (kernel, of) = (&kernel, &mut elements);
                dispatch!(
                    isa,
                    transform_tile(
                        tile: usize,
                        kernel: &[[f32; LANES]; 9],
                        of: &mut [[f32; LANES]; MOST_ELEMENTS],
                    )
                );
                let elements = &elements[..(tile + 2) * (tile + 2)];
                elements.iter().enumerate().for_each(|(e, v)| write(row, first, e, &v[..count]));
            }
        });
    }
}

/// The matrix G for m = 2.
const SMALL: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// The matrix G for m = 4: `[1, p, p²]` of each point p over the product of its distances to the
/// others.
const LARGE: [[f32; 3]; 6] = {
    let at_a = 2.0 * A * A * (A * A - B * B);
    let at_b = 2.0 * B * B * (B * B - A * A);
    [
        [1.0 / (A * A * B * B), 0.0, 0.0],
        [1.0 / at_a, A / at_a, A * A / at_a],
        [1.0 / at_a, -A / at_a, A * A / at_a],
        [1.0 / at_b, B / at_b, B * B / at_b],
        [1.0 / at_b, -B / at_b, B * B / at_b],
        [0.0, 0.0, 1.0],
    ]
};

/// Writes the elements of `G g Gᵀ`, as many as `tile` has.
#[inline(always)]
fn transform_tile(tile: usize, kernel: &[[f32; LANES]; 9], of: &mut [[f32; LANES]; MOST_ELEMENTS]) {
    if tile == 2 {
        transform(kernel, &SMALL, of);
    } else {
        transform(kernel, &LARGE, of);
    }
}

#[inline(always)]
fn transform<const N: usize>(
    kernel: &[[f32; LANES]; 9],
    g: &[[f32; 3]; N],
    of: &mut [[f32; LANES]; MOST_ELEMENTS],
) {
    let combine = |[a, b, c]: [f32; 3], taps: [&[f32; LANES]; 3]| -> [f32; LANES] {
        std::array::from_fn(|lane| a * taps[0][lane] + b * taps[1][lane] + c * taps[2][lane])
    };
    for (y, g_y) in g.iter().enumerate() {
        let row: [[f32; LANES]; 3] =
            std::array::from_fn(|x| combine(*g_y, [&kernel[x], &kernel[3 + x], &kernel[6 + x]]));
        for (x, g_x) in g.iter().enumerate() {
            of[y * N + x] = combine(*g_x, [&row[0], &row[1], &row[2]]);
        }
    }
}

/// The gradient of the kernels, from its form (n², F, C in whole vectors): `Gᵀ dU G`.
pub(super) struct Gradient {
    tile: usize,
    filters: usize,
    channels: usize,
    /// The channels C in whole vectors.
    columns: usize,
}

impl Gradient {
    pub(super) fn new(tile: usize, dims: &Conv2dDims, columns: usize) -> Gradient {
        Gradient { tile, filters: dims.out_channels(), channels: dims.in_channels(), columns }
    }

    /// Returns the floats of the form.
    pub(super) fn len(&self) -> usize {
        (self.tile + 2) * (self.tile + 2) * self.filters * self.columns
    }

    /// Returns the floats of the gradient as [`finish`](Self::finish) writes it.
    pub(super) fn taps_len(&self) -> usize {
        self.filters * 9 * self.columns
    }

    /// Writes the gradient (F, 9, C in whole vectors) of `sums`: parts of the batch are added in
    /// this order, since the one of the weights takes single floats.
    pub(super) fn finish(&self, isa: Isa, sums: &[f32], taps: &mut [f32]) {
        let gradient = self;
        dispatch!(isa, finish(gradient: &Gradient, sums: &[f32], taps: &mut [f32]));
    }

    /// Writes `grad_weight` (F, C, 3, 3) from `taps` (F, 9, C in whole vectors).
    pub(super) fn in_order(&self, taps: &[f32], grad_weight: &mut [f32]) {
        let grads = grad_weight.par_chunks_mut(self.channels * 9);
        grads.zip(taps.par_chunks(9 * self.columns)).for_each(|(grads, taps)| {
            for (c, grad) in grads.chunks_exact_mut(9).enumerate() {
                let taps = taps[c..].iter().step_by(self.columns);
                grad.iter_mut().zip(taps).for_each(|(grad, tap)| *grad = *tap);
            }
        });
    }

    /// Returns the nine taps of filter `f` and some channels from `first` on.
    #[inline(always)]
    fn taps<const N: usize>(
        &self,
        g: &[[f32; 3]; N],
        f: usize,
        first: usize,
        sums: &[f32],
    ) -> [[f32; LANES]; 9] {
        let count = LANES.min(self.columns - first);
        let mut taps = [[0.0; LANES]; 9];
        for (y, g_y) in g.iter().enumerate() {
            let mut row = [[0.0; LANES]; 3];
            for (x, g_x) in g.iter().enumerate() {
                let at = ((y * N + x) * self.filters + f) * self.columns + first;
                let mut all = [0.0; LANES];
                all[..count].copy_from_slice(&sums[at..at + count]);
                for (row, g) in row.iter_mut().zip(g_x) {
                    row.iter_mut().zip(&all).for_each(|(row, sum)| *row += g * sum);
                }
            }
            for (i, tap) in taps.iter_mut().enumerate() {
                let g = g_y[i / 3];
                tap.iter_mut().zip(&row[i % 3]).for_each(|(tap, row)| *tap += g * row);
            }
        }
        taps
    }
}

#[inline(always)]
fn finish(gradient: &Gradient, sums: &[f32], taps: &mut [f32]) {
    for (f, target) in taps.chunks_exact_mut(9 * gradient.columns).enumerate() {
        for first in (0..gradient.columns).step_by(LANES) {
            let taps = if gradient.tile == 2 {
                gradient.taps(&SMALL, f, first, sums)
            } else {
                gradient.taps(&LARGE, f, first, sums)
            };
            for (target, tap) in target.chunks_exact_mut(gradient.columns).zip(taps) {
                target[first..].iter_mut().zip(tap).for_each(|(target, tap)| *target = tap);
            }
        }
    }
}
