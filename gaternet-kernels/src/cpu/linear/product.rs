//! Products of matrices on the register tiles of the convolution.
//!
//! The vectors of a tile are columns of the right factor, which is packed into panels that are as
//! wide as a tile; its weights are rows of the left factor, read where they are. A sum runs over
//! the inner side in order, in one accumulator, so its bits do not depend on the other rows, on the
//! tile or on the number of threads.

use std::ops::Range;

use crate::cpu::conv2d::plan::{PixelVector, Tap};
use crate::cpu::conv2d::tile::{MAX_ROWS, Tile, Tiles, even_range, even_ranges, share_out};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::with_scratch;
use crate::cpu::shared_slice::SharedSlice;

/// Multiply-accumulates up to which one thread is done before others are awake.
const SERIAL: usize = 1 << 18;
/// Rows of the left factor for which packing a panel once more pays, if it occupies a thread.
const LEAST_ROWS: usize = 32;
/// Steps along the inner side after which packing goes on to the next column, so that the lines of
/// a panel that it writes stay in the first cache.
const PACKED_AT_ONCE: usize = 64;

/// A factor of a product: element (r, c) is `data[r·row_stride + c·column_stride]`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl Matrix<'_> {
    /// The matrix whose rows of length `width` lie one after the other.
    pub(super) fn rows(data: &[f32], width: usize) -> Matrix<'_> {
        Matrix { data, row_stride: width, column_stride: 1 }
    }

    /// The matrix whose columns of length `height` lie one after the other.
    pub(super) fn columns(data: &[f32], height: usize) -> Matrix<'_> {
        Matrix { data, row_stride: 1, column_stride: height }
    }
}

/// The product of a left factor (rows, inner) and a right one (inner, columns).
pub(super) struct Product {
    tiles: &'static Tiles,
    inner: usize,
    columns: usize,
    /// Rows and vectors of a tile.
    tile: (usize, usize),
    /// 0, 1, ...: the steps along the inner side.
    every: Vec<u32>,
}

impl Product {
    /// Of factors of these sizes; tiles are chosen for so many rows, and others may be multiplied.
    ///
    /// # Panics
    /// If the inner side is 2^32 or longer: such factors do not fit into memory.
    pub(super) fn new(isa: Isa, rows: usize, inner: usize, columns: usize) -> Product {
        let tiles = &isa.kernels().panel_tiles;
        let tile = tiles.choose(rows.max(1), columns.div_ceil(tiles.lanes).max(1));
        let steps = u32::try_from(inner).expect("an inner side below 2^32");
        Product { tiles, inner, columns, tile, every: (0..steps).collect() }
    }

    /// Vectors of a row of the product.
    fn vectors(&self) -> usize {
        self.columns.div_ceil(self.tiles.lanes)
    }

    /// Where the panel of these vectors is among all of them.
    fn panel(&self, vectors: &Range<usize>) -> Range<usize> {
        let floats = |vectors: usize| vectors * self.tiles.lanes * self.inner;
        floats(vectors.start)..floats(vectors.end)
    }

    /// The right factor in panels, for [`run_packed`](Self::run_packed).
    pub(super) fn pack(&self, right: Matrix<'_>) -> Vec<f32> {
        let mut packed = vec![0.0; self.panel(&(0..self.vectors())).len()];
        for vectors in even_ranges(self.vectors(), self.tile.1) {
            self.pack_panel(right, &vectors, &mut packed[self.panel(&vectors)]);
        }
        packed
    }

    /// Writes the columns of `vectors`, the steps along the inner side one after the other; columns
    /// beyond the last are 0.
    fn pack_panel(&self, right: Matrix<'_>, vectors: &Range<usize>, panel: &mut [f32]) {
        let width = vectors.len() * self.tiles.lanes;
        let first = vectors.start * self.tiles.lanes;
        let columns = width.min(self.columns - first);
        let Matrix { data, row_stride, column_stride } = right;
        if column_stride == 1 {
            for (k, to) in panel.chunks_exact_mut(width).enumerate() {
                let from = k * row_stride + first;
                to[..columns].copy_from_slice(&data[from..from + columns]);
                to[columns..].fill(0.0);
            }
            return;
        }
        for (block, panel) in panel.chunks_mut(PACKED_AT_ONCE * width).enumerate() {
            let k = block * PACKED_AT_ONCE;
            for c in 0..columns {
                let from = data[(first + c) * column_stride + k * row_stride..].iter();
                let to = panel[c..].iter_mut().step_by(width);
                to.zip(from.step_by(row_stride)).for_each(|(to, from)| *to = *from);
            }
            for to in panel.chunks_exact_mut(width) {
                to[columns..].fill(0.0);
            }
        }
    }

    /// Writes `left·right` to `out`, its rows one after the other.
    pub(super) fn run(&self, left: Matrix<'_>, right: Matrix<'_>, out: &mut [f32]) {
        assert_eq!(right.data.len(), self.inner * self.columns);
        let rows = self.rows(left, out);
        let out = &SharedSlice::new(out);
        let work = |vectors: Range<usize>, rows: Range<usize>| {
            with_scratch(self.panel(&vectors).len(), |panel| {
                self.pack_panel(right, &vectors, panel);
                // SAFETY: tasks have their own rows and columns, whose elements lie within `out`.
                unsafe { self.multiply(left, panel, vectors, rows, out) };
            });
        };
        self.for_parts(rows, work);
    }

    /// [`run`](Self::run) with a right factor that [`pack`](Self::pack) laid out.
    pub(super) fn run_packed(&self, left: Matrix<'_>, packed: &[f32], out: &mut [f32]) {
        let rows = self.rows(left, out);
        let out = &SharedSlice::new(out);
        let work = |vectors: Range<usize>, rows: Range<usize>| {
            let panel = &packed[self.panel(&vectors)];
            // SAFETY: tasks have their own rows and columns, whose elements lie within `out`.
            unsafe { self.multiply(left, panel, vectors, rows, out) };
        };
        self.for_parts(rows, work);
    }

    /// Rows of `left`, which has as many as `out`.
    fn rows(&self, left: Matrix<'_>, out: &[f32]) -> usize {
        let rows = out.len().checked_div(self.columns).unwrap_or(0);
        assert!(rows * self.columns == out.len());
        assert!(self.columns == 0 || left.data.len() == rows * self.inner);
        rows
    }

    /// Calls `work` with the vectors of each panel and parts of the rows.
    fn for_parts(&self, rows: usize, work: impl Fn(Range<usize>, Range<usize>) + Sync) {
        let (vectors, most) = (self.vectors(), self.tile.1);
        if rows * vectors == 0 {
            return;
        }
        if rows * self.inner * self.columns > SERIAL {
            return share_out(vectors, most, rows, LEAST_ROWS, work);
        }
        even_ranges(vectors, most).for_each(|vectors| work(vectors, 0..rows));
    }

    /// Writes some rows and the columns of a panel.
    ///
    /// # Safety
    /// `out` has the rows and columns, and nothing else accesses these elements meanwhile.
    unsafe fn multiply(
        &self,
        left: Matrix<'_>,
        panel: &[f32],
        vectors: Range<usize>,
        rows: Range<usize>,
        out: &SharedSlice<'_>,
    ) {
        let lanes = self.tiles.lanes;
        assert_eq!(panel.len(), self.panel(&vectors).len());
        let first = vectors.start * lanes;
        let columns = (vectors.len() * lanes).min(self.columns - first);
        let mut at = [PixelVector { source: 0, target: 0, mask: 0 }; MAX_ROWS];
        let at = &mut at[..vectors.len()];
        for (p, at) in at.iter_mut().enumerate() {
            let valid = (columns - p * lanes).min(lanes);
            let mask = ((1u32 << valid) - 1) as u16;
            *at = PixelVector { source: p * lanes, target: p * lanes, mask };
        }
        let parts = rows.len().div_ceil(self.tile.0);
        for part in 0..parts {
            let tile_rows = even_range(rows.len(), parts, part);
            let (mut weights, mut targets) =
                ([std::ptr::null(); MAX_ROWS], [std::ptr::null_mut(); MAX_ROWS]);
            for (f, row) in tile_rows.clone().enumerate() {
                let row = rows.start + row;
                weights[f] = left.data.as_ptr().wrapping_add(row * left.row_stride);
                targets[f] = out.start().wrapping_add(row * self.columns + first);
            }
            let tile = Tile {
                source: panel.as_ptr(),
                channels: &self.every,
                channel_stride: vectors.len() * lanes,
                taps: &[Tap { source: 0, weight: 0 }],
                weights,
                weight_channel: left.column_stride,
                vectors: at,
                targets,
                target_step: 1,
                biases: [0.0; MAX_ROWS],
                residuals: [std::ptr::null(); MAX_ROWS],
                relu: false,
            };
            let kernel = self.tiles.kernel(tile_rows.len(), vectors.len());
            // SAFETY: the tiles' instruction set was detected. The panel has `inner` steps of
            // `vectors` vectors; a row's weights are its `inner` elements of `left`, whose length
            // is that of all rows; the masks select the columns of `out` that there are, which
            // nothing else accesses, as the caller promises.
            unsafe { kernel(&tile) };
        }
    }
}
