//! What the tests of the kernels share.

use std::fmt::Debug;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

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
        let close = (got - want).abs() <= bound || (got.is_nan() && want.is_nan());
        assert!(close, "{what:?}: entry {i} is {got}, not {want} (within {bound})");
    }
}
