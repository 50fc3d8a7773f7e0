//! Shifts, borders and holes of an image's planes.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// What lies beyond the border of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaddingMode {
    /// Black (0), as is usual on CIFAR.
    #[default]
    Constant,
    /// The image mirrored at its outermost pixels, which are not repeated: no edge that is not in
    /// the picture.
    Reflect,
}

impl PaddingMode {
    /// Where the pixel at `position` of a row or column of `side` pixels of the padded image comes
    /// from.
    fn source(self, position: isize, side: usize) -> Option<usize> {
        let last = side as isize - 1;
        let inside = match self {
            PaddingMode::Constant => position,
            PaddingMode::Reflect => last - (last - position.abs()).abs(),
        };
        usize::try_from(inside).ok().filter(|&inside| inside < side)
    }
}

/// Zeros a square with a side of `hole` around `centre` (y, x) in every plane of `size` (height,
/// width), as far as it lies inside. One with an even side reaches one pixel further up and left.
pub(super) fn cut_out(hole: usize, centre: [usize; 2], size: [usize; 2], out: &mut [f32]) {
    let [rows, columns] = [0, 1].map(|axis| {
        let (centre, side) = (centre[axis], size[axis]);
        let end = centre + hole.min(2 * side).div_ceil(2);
        centre.saturating_sub(hole / 2)..end.min(side)
    });
    let [height, width] = size;
    for plane in out.chunks_exact_mut(height * width) {
        for row in plane.chunks_exact_mut(width).take(rows.end).skip(rows.start) {
            row[columns.clone()].fill(0.0);
        }
    }
}

/// One draw: the output at (y, x) shows the input at (y + down, x + right), mirrored with `flip`.
#[derive(Clone, Copy)]
pub(super) struct Crop {
    down: isize,
    right: isize,
    flip: bool,
}

impl Crop {
    /// Up to `padding` pixels each way, which is below the sides of the image.
    pub(super) fn sample(padding: usize, flip: bool, rng: &mut ChaCha8Rng) -> Crop {
        let padding = padding as i32;
        let mut shift = || rng.random_range(-padding..=padding) as isize;
        Crop { down: shift(), right: shift(), flip: flip && rng.random() }
    }

    /// Fills row `y` of the cropped (and mirrored) plane with what `put` makes of its pixels;
    /// `plane` has rows of `row.len()`.
    pub(super) fn row<T: Copy + Default>(
        self,
        mode: PaddingMode,
        plane: &[T],
        y: usize,
        row: &mut [f32],
        put: impl Fn(T) -> f32,
    ) {
        let width = row.len();
        let source = mode.source(y as isize + self.down, plane.len() / width);
        let source = source.map(|source| &plane[source * width..][..width]);
        for (x, out) in row.iter_mut().enumerate() {
            let at = mode.source(x as isize + self.right, width);
            *out = put(source.zip(at).map_or_else(T::default, |(source, x)| source[x]));
        }
        if self.flip {
            row.reverse();
        }
    }
}
