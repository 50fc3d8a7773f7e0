//! Shifts, borders and holes of an image's planes.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::super::dataset::SIDE;
use super::Augment;

/// What lies beyond the border of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PaddingMode {
    /// Black (0), as is usual on CIFAR.
    #[default]
    Constant,
    /// The image mirrored at its outermost pixels, which are not repeated: no edge that is not in the
    /// picture.
    Reflect,
}

impl PaddingMode {
    /// Where the pixel at `position` of a row or column of the padded image comes from.
    fn source(self, position: isize) -> Option<usize> {
        let last = SIDE as isize - 1;
        let inside = match self {
            PaddingMode::Constant => position,
            PaddingMode::Reflect => last - (last - position.abs()).abs(),
        };
        usize::try_from(inside).ok().filter(|&inside| inside < SIDE)
    }
}

/// Zeros a square with a side of `hole` around `centre` (y, x) in every plane of `side` x `side`, as far as
/// it lies inside. One with an even side reaches one pixel further up and left.
pub(super) fn cut_out(hole: usize, centre: [usize; 2], side: usize, out: &mut [f32]) {
    let [rows, columns] = centre.map(|centre| {
        let end = centre + hole.min(2 * side).div_ceil(2);
        centre.saturating_sub(hole / 2)..end.min(side)
    });
    for plane in out.chunks_exact_mut(side * side) {
        for row in plane.chunks_exact_mut(side).take(rows.end).skip(rows.start) {
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
    pub(super) fn sample(augment: &Augment, rng: &mut ChaCha8Rng) -> Crop {
        // `check` keeps the padding below 32.
        let padding = augment.crop_padding as i32;
        let mut shift = || rng.random_range(-padding..=padding) as isize;
        Crop { down: shift(), right: shift(), flip: augment.flip && rng.random() }
    }

    /// Row `y` of the cropped (and mirrored) plane.
    pub(super) fn row(self, mode: PaddingMode, plane: &[u8], y: usize) -> [u8; SIDE] {
        let mut row = [0; SIDE];
        if let Some(source) = mode.source(y as isize + self.down) {
            let source = &plane[source * SIDE..][..SIDE];
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = mode.source(x as isize + self.right).map_or(0, |x| source[x]);
            }
        }
        if self.flip {
            row.reverse();
        }
        row
    }
}
