//! The order in which a tile's 36 elements lie in vectors.

/// The number of tiles that are worked on together.
pub(crate) const TILES: usize = 4;
/// The fours of elements in a tile.
pub(super) const QUADS: usize = 9;
/// The floats of `TILES` tiles.
pub(super) const FLOATS: usize = TILES * QUADS * 4;

/// The rows whose first and last elements make up the last quads. In these pairs, the transform
/// back adds and subtracts whole quads.
pub(crate) const PAIRS: [[usize; 2]; 3] = [[0, 5], [1, 3], [2, 4]];

/// Returns the number in its tile, row by row, of the element at a position. Quad y < 6 has the
/// inner elements of row y, the other three have the first and last elements of two rows each.
pub(super) fn element(position: usize) -> usize {
    let (quad, i) = (position / 4, position % 4);
    match quad.checked_sub(6) {
        None => quad * 6 + 1 + i,
        Some(pair) => PAIRS[pair][i / 2] * 6 + i % 2 * 5,
    }
}
