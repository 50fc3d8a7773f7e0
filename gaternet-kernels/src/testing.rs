//! Helpers of the tests of the kernels.

use std::fmt::Debug;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::dims::{PlaneDims, PoolDims};

/// `len` values from -1 to 1.
pub(crate) fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// `len` values from -1 to 1.
pub(crate) fn values_f64(seed: u64, len: usize) -> Vec<f64> {
    widen(&values(seed, len))
}

pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

/// Fails with the first entry that is further than `bound` from what is wanted (NaN matches NaN).
#[track_caller]
pub(crate) fn assert_close<T: Copy + Into<f64>>(
    what: impl Debug,
    got: &[T],
    want: &[f64],
    bound: f64,
) {
    assert_eq!(got.len(), want.len(), "{what:?}: lengths differ");
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let got: f64 = got.into();
        // Infinities have no distance.
        let equal = got == want || (got.is_nan() && want.is_nan());
        let close = equal || (got - want).abs() <= bound;
        assert!(close, "{what:?}: entry {i} is {got}, not {want} (within {bound})");
    }
}

/// Awkward sizes, and some large enough to run in parallel.
pub(crate) fn plane_grid() -> Vec<PlaneDims> {
    let mut grid = Vec::new();
    for batch in [1, 3] {
        for channels in [1, 3, 17] {
            for plane in [1, 7, 49, 64, 1024] {
                grid.push(PlaneDims { batch, channels, plane });
            }
        }
    }
    grid.push(PlaneDims { batch: 2, channels: 2, plane: 10_001 });
    grid.push(PlaneDims { batch: 150, channels: 5, plane: 64 });
    grid
}

/// Pools with windows that overlap, touch, leave gaps and reach into the padding.
pub(crate) fn pool_grid() -> Vec<PoolDims> {
    let cases = [
        ([1, 1, 1, 1], [1, 1], [1, 1], [0, 0]),
        ([1, 1, 1, 1], [3, 3], [2, 2], [1, 1]),
        ([3, 17, 7, 7], [2, 2], [2, 2], [0, 0]),
        ([3, 17, 7, 7], [2, 2], [2, 2], [1, 1]),
        ([1, 3, 8, 5], [3, 2], [1, 3], [0, 1]),
        ([2, 2, 5, 6], [3, 3], [2, 2], [1, 1]),
        ([2, 3, 4, 5], [5, 4], [1, 2], [2, 2]),
        ([3, 3, 32, 32], [2, 2], [2, 2], [0, 0]),
        ([2, 33, 32, 32], [4, 4], [3, 3], [0, 0]),
        ([2, 5, 56, 56], [3, 3], [2, 2], [1, 1]),
        ([0, 3, 4, 4], [2, 2], [2, 2], [0, 0]),
    ];
    let dims = |(input, kernel, stride, padding)| PoolDims::new(input, kernel, stride, padding);
    cases.into_iter().map(|case| dims(case).expect("valid")).collect()
}

/// Gates (N, C), by name: none open, one filter, every other, all, and soft.
pub(crate) fn gate_patterns(dims: PlaneDims) -> Vec<(&'static str, Vec<f32>)> {
    let pattern = |open: fn(usize, PlaneDims) -> f32| {
        (0..dims.batch * dims.channels).map(|i| open(i, dims)).collect()
    };
    vec![
        ("none", pattern(|_, _| 0.0)),
        ("one filter", pattern(|i, dims| f32::from(u8::from(i % dims.channels == 0)))),
        ("half", pattern(|i, _| f32::from(u8::from(i % 2 == 1)))),
        ("all", pattern(|_, _| 1.0)),
        ("soft", pattern(|i, _| [0.25, 0.0, 1.0, 0.6][i % 4])),
    ]
}
