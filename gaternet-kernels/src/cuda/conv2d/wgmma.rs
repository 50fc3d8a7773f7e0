//! The choice of the kernels for compute capability 9.0, and the rectangles they cut a map into.

use bytemuck::NoUninit;

use super::super::device::CudaDevice;
use super::super::options::Products;
use super::element::TILE_PIXELS;
use super::geometry::Geometry;

/// The number of outputs, and of channels to sum over, below which most of a tile is empty.
const LARGE: i32 = 64;

/// Mirrors `Tiling` of conv2d_wgmma.cu.
#[derive(Debug, Clone, Copy, NoUninit)]
#[repr(C)]
pub(super) struct Tiling {
    tile: [i32; 2],
    tiles_x: i32,
    patch: [i32; 2],
    patch_bytes: i32,
}

impl Tiling {
    /// Returns the tiling of a pass that the kernels can do and `device` should do with them, else
    /// `None`.
    pub(super) fn choose(
        device: &CudaDevice,
        g: &Geometry,
        outputs: i32,
        sum: i32,
    ) -> Option<Tiling> {
        let wanted = match device.products() {
            Products::MmaSync => false,
            Products::Wgmma => true,
            Products::Auto => outputs >= LARGE && sum >= LARGE,
        };
        let [kh, kw] = g.kernel;
        let possible = device.compute_capability() == (9, 0)
            && g.up == [1, 1]
            && g.down == [1, 1]
            && (3..=49).contains(&(kh * kw));
        (wanted && possible).then(|| Tiling::of(g))
    }

    fn of(g: &Geometry) -> Tiling {
        let [size, kernel] = [g.target_size, g.kernel].map(|pair| pair.map(|side| side as usize));
        let tile = tile_of(size);
        let patch = [tile[0] + kernel[0] - 1, tile[1] + kernel[1] - 1];
        Tiling {
            tile: tile.map(|side| side as i32),
            tiles_x: size[1].div_ceil(tile[1]) as i32,
            patch: patch.map(|side| side as i32),
            patch_bytes: (patch[0] * patch[1] * 128).next_multiple_of(1024) as i32,
        }
    }

    /// Returns the number of blocks of a sample's pixels.
    pub(super) fn blocks(&self, g: &Geometry) -> usize {
        self.tiles_x as usize * (g.target_size[0] as usize).div_ceil(self.tile[0] as usize)
    }

    /// Returns the bytes of both patches.
    pub(super) fn patches_bytes(&self) -> usize {
        2 * self.patch_bytes as usize
    }
}

/// Returns (height, width) of the rectangles for a map: 8 x 16, or 16 x 8 where fewer of those
/// cover it.
fn tile_of([h, w]: [usize; 2]) -> [usize; 2] {
    let count = |[tile_h, tile_w]: [usize; 2]| h.div_ceil(tile_h) * w.div_ceil(tile_w);
    if count([16, 8]) < count([8, 16]) { [16, 8] } else { [8, 16] }
}

/// Returns the most blocks of pixels that a map of this size is cut into, with either kind of
/// kernel.
pub(super) fn most_blocks(size: [usize; 2]) -> usize {
    let [tile_h, tile_w] = tile_of(size);
    let rectangles = size[0].div_ceil(tile_h) * size[1].div_ceil(tile_w);
    rectangles.max((size[0] * size[1]).div_ceil(TILE_PIXELS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_are_the_fewer() {
        assert_eq!(tile_of([32, 32]), [8, 16]);
        assert_eq!(tile_of([8, 8]), [8, 16]);
        assert_eq!(tile_of([16, 8]), [16, 8]);
        assert_eq!(most_blocks([56, 56]), 28);
        assert_eq!(most_blocks([1, 200]), 13);
        assert_eq!(most_blocks([7, 7]), 1);
    }
}
