//! Kernels in Winograd's form: `U = G g Gᵀ`.

use rayon::prelude::*;

use super::points::{A, B};
use crate::cpu::shared_slice::SharedSlice;
use crate::dims::Conv2dDims;

/// Channels that are transformed together.
const LANES: usize = 16;

/// (n², rows, channels).
#[derive(Debug)]
pub(in super::super) struct Weights {
    pub(in super::super) data: Vec<f32>,
    pub(super) channels: usize,
    /// Floats from one element to the next.
    pub(super) element: usize,
}

impl Weights {
    /// `weight` (F, C, 3, 3) for the forward pass: rows are filters, channels are channels.
    pub(in super::super) fn forward(tile: usize, dims: &Conv2dDims, weight: &[f32]) -> Weights {
        Weights::new(tile, &Taps::forward(dims, weight))
    }

    /// For the gradient to the input: rows are channels, channels are filters, and the kernel is turned
    /// by 180 degrees.
    pub(in super::super) fn backward_input(
        tile: usize,
        dims: &Conv2dDims,
        weight: &[f32],
    ) -> Weights {
        Weights::new(tile, &Taps::backward_input(dims, weight))
    }

    fn new(tile: usize, taps: &Taps<'_>) -> Weights {
        let (n, channels) = (tile + 2, taps.channels);
        let element = taps.rows * channels;
        let mut data = vec![0.0; n * n * element];
        let shared = SharedSlice::new(&mut data);
        taps.transform(tile, |row, first, e, values| {
            let at = e * element + row * channels + first;
            // SAFETY: each row and range of channels is written by one task, once.
            let target = unsafe { shared.part(at..at + values.len()) };
            target.copy_from_slice(values);
        });
        Weights { data, channels, element }
    }

    /// From a row's first weight on.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.data[row * self.channels..]
    }
}

/// The kernels of a convolution, or those of the gradient to its input.
pub(super) struct Taps<'a> {
    pub(super) rows: usize,
    pub(super) channels: usize,
    weight: &'a [f32],
    /// Rows are channels, channels are filters, and a kernel is turned by 180 degrees.
    turned: bool,
}

impl<'a> Taps<'a> {
    /// `weight` (F, C, 3, 3).
    pub(super) fn forward(dims: &Conv2dDims, weight: &'a [f32]) -> Taps<'a> {
        let (rows, channels) = (dims.out_channels(), dims.in_channels());
        Taps { rows, channels, weight, turned: false }
    }

    pub(super) fn backward_input(dims: &Conv2dDims, weight: &'a [f32]) -> Taps<'a> {
        let (rows, channels) = (dims.in_channels(), dims.out_channels());
        Taps { rows, channels, weight, turned: true }
    }

    fn tap(&self, row: usize, channel: usize, tap: usize) -> f32 {
        match self.turned {
            false => self.weight[(row * self.channels + channel) * 9 + tap],
            true => self.weight[(channel * self.rows + row) * 9 + 8 - tap],
        }
    }

    /// Calls `write(row, first channel, element, channels)` with the elements of all `G g Gᵀ` once; rows are
    /// done in parallel.
    pub(super) fn transform(
        &self,
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
                let write = |e: usize, values: [f32; LANES]| write(row, first, e, &values[..count]);
                if tile == 2 {
                    transform(&kernel, &SMALL, write);
                } else {
                    transform(&kernel, &LARGE, write);
                }
            }
        });
    }
}

/// G for m = 2.
const SMALL: [[f32; 3]; 4] = [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]];

/// G for m = 4: `[1, p, p²]` of each point p over the product of its distances to the others.
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

/// Calls `write(element, channels)` with the elements of `G g Gᵀ`.
#[inline(always)]
fn transform<const N: usize>(
    kernel: &[[f32; LANES]; 9],
    g: &[[f32; 3]; N],
    write: impl Fn(usize, [f32; LANES]),
) {
    let combine = |[a, b, c]: [f32; 3], taps: [&[f32; LANES]; 3]| -> [f32; LANES] {
        std::array::from_fn(|lane| a * taps[0][lane] + b * taps[1][lane] + c * taps[2][lane])
    };
    for (y, g_y) in g.iter().enumerate() {
        let row: [[f32; LANES]; 3] =
            std::array::from_fn(|x| combine(*g_y, [&kernel[x], &kernel[3 + x], &kernel[6 + x]]));
        for (x, g_x) in g.iter().enumerate() {
            write(y * N + x, combine(*g_x, [&row[0], &row[1], &row[2]]));
        }
    }
}

/// The gradient of the kernels, from its form (n², F, C in whole vectors): `Gᵀ dU G`.
pub(super) struct Gradient {
    tile: usize,
    filters: usize,
    channels: usize,
    /// C in whole vectors.
    columns: usize,
}

impl Gradient {
    pub(super) fn new(tile: usize, dims: &Conv2dDims, columns: usize) -> Gradient {
        Gradient { tile, filters: dims.out_channels(), channels: dims.in_channels(), columns }
    }

    /// Floats of the form.
    pub(super) fn len(&self) -> usize {
        (self.tile + 2) * (self.tile + 2) * self.filters * self.columns
    }

    /// Writes `grad_weight` (F, C, 3, 3) of `sums`.
    pub(super) fn finish(&self, sums: &[f32], grad_weight: &mut [f32]) {
        for (f, grad) in grad_weight.chunks_exact_mut(self.channels * 9).enumerate() {
            for first in (0..self.channels).step_by(LANES) {
                let taps = if self.tile == 2 {
                    self.taps(&SMALL, f, first, sums)
                } else {
                    self.taps(&LARGE, f, first, sums)
                };
                for (i, grad) in grad[first * 9..].chunks_exact_mut(9).take(LANES).enumerate() {
                    grad.iter_mut().zip(&taps).for_each(|(grad, tap)| *grad = tap[i]);
                }
            }
        }
    }

    /// The nine taps of filter `f` and some channels from `first` on.
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
                for (row, g) in row.iter_mut().zip(g_x) {
                    row.iter_mut()
                        .zip(&sums[at..at + count])
                        .for_each(|(row, sum)| *row += g * sum);
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
