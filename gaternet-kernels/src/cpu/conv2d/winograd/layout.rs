//! The places of the tiles of a Winograd convolution.

use std::ops::Range;

use crate::dims::Conv2dDims;

/// The most groups of eight adjacent pixels in a row of a vector of tiles: 16 tiles of 4 pixels.
pub(crate) const MAX_EIGHTS: usize = 8;

/// One vector of tiles, in the order of the map. A row of it is a few groups of eight adjacent
/// pixels.
#[derive(Debug)]
pub(crate) struct Block {
    /// The padded rows that its tiles read.
    pub(crate) rows: Range<usize>,
    /// The offset in the padded plane of the first row of each eight pixels.
    pub(crate) sources: [usize; MAX_EIGHTS],
    pub(crate) targets: [Target; MAX_EIGHTS],
    /// Whether the eights of a vector are adjacent in the padded plane and on the map.
    pub(crate) adjacent: bool,
}

/// The place of eight output pixels and of those below them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Target {
    /// The offset in the output plane of the first pixel.
    pub(crate) offset: usize,
    /// The pixels of a row that are on the map, as the lanes of an eight, and the number of such
    /// rows.
    pub(crate) mask: u8,
    pub(crate) rows: usize,
}

/// A 3x3 convolution with stride 1 as tiles of `tile`x`tile` output pixels.
#[derive(Debug)]
pub(super) struct Layout {
    /// The output pixels of a tile's side, m. Its input has n = m + 2.
    pub(super) tile: usize,
    /// The size of the input, (H, W), and the zeros before its first row and column.
    pub(super) in_size: [usize; 2],
    pub(super) front: [usize; 2],
    /// The size of the output, (OH, OW).
    pub(super) out_size: [usize; 2],
    /// The floats from one padded row to the next.
    pub(super) row_stride: usize,
    pub(super) blocks: Vec<Block>,
}

/// Returns the rows and columns of tiles. Columns are filled up so that eight pixels never leave
/// their row.
pub(in super::super) fn grid(tile: usize, out_size: [usize; 2]) -> [usize; 2] {
    [out_size[0].div_ceil(tile), out_size[1].div_ceil(tile).next_multiple_of(8 / tile)]
}

impl Layout {
    /// Returns the layout of a map of `in_size` with `front` zeros before its first row and column,
    /// and as many as it takes after the last.
    pub(super) fn new(
        tile: usize,
        lanes: usize,
        in_size: [usize; 2],
        front: [usize; 2],
        out_size: [usize; 2],
    ) -> Layout {
        let [rows, columns] = grid(tile, out_size);
        let row_stride = columns * tile + 2;
        let block = |first: usize| {
            let mut block = Block {
                rows: first / columns * tile..0,
                sources: [0; MAX_EIGHTS],
                targets: [Target::default(); MAX_EIGHTS],
                adjacent: true,
            };
            for eight in 0..lanes * tile / 8 {
                // Beyond the last tile, the last eight pixels are computed again, for nothing.
                let wanted = first + eight * 8 / tile;
                let at = wanted.min(rows * columns - 8 / tile);
                let (y, x) = (at / columns * tile, at % columns * tile);
                block.sources[eight] = y * row_stride + x;
                block.rows.end = y + tile + 2;
                if wanted == at {
                    block.targets[eight] = Target {
                        offset: y * out_size[1] + x,
                        mask: ((1u32 << out_size[1].saturating_sub(x).min(8)) - 1) as u8,
                        rows: (out_size[0] - y).min(tile),
                    };
                }
            }
            let eights_of = |vector: usize| vector * lanes / 8..(vector + 1) * lanes / 8;
            block.adjacent = (0..tile).all(|vector| {
                eights_of(vector).is_sorted_by(|&a, &b| {
                    let [one, next] = [block.targets[a], block.targets[b]];
                    block.sources[b] == block.sources[a] + 8
                        && (next.mask == 0 || (one.mask == u8::MAX && next.rows == one.rows))
                })
            });
            block
        };
        let blocks = if rows * columns == 0 {
            Vec::new()
        } else {
            (0..rows * columns).step_by(lanes).map(block).collect()
        };
        Layout { tile, in_size, front, out_size, row_stride, blocks }
    }

    pub(super) fn forward(dims: &Conv2dDims, tile: usize, lanes: usize) -> Layout {
        Layout::new(tile, lanes, dims.in_size(), dims.padding(), dims.out_size())
    }

    /// Returns the layout of the gradient of the input, whose kernel reaches 2 - padding pixels
    /// back instead of padding.
    pub(super) fn backward_input(dims: &Conv2dDims, tile: usize, lanes: usize) -> Layout {
        let front = dims.padding().map(|padding| 2 - padding);
        Layout::new(tile, lanes, dims.out_size(), front, dims.in_size())
    }

    /// Returns the elements of a tile after the transforms, n².
    pub(super) fn elements(&self) -> usize {
        (self.tile + 2) * (self.tile + 2)
    }

    /// Returns those of the padded `rows` that hold rows of the map, and the first of these.
    pub(super) fn inside(&self, rows: &Range<usize>) -> (Range<usize>, usize) {
        let [above, height] = [self.front[0], self.in_size[0]];
        let first = rows.start.max(above);
        let end = rows.end.min(above + height).max(first);
        (first - rows.start..end - rows.start, first - above)
    }
}
