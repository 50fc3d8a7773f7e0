//! The specification: naive f64 loops that every kernel is tested against.
//!
//! One module per kernel, with the kernel's layouts. Slices whose lengths do not fit the dims are
//! a mistake of the test that passes them, so these functions panic on them.

pub mod adamw;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod concat;
pub mod conv2d;
pub mod cross_entropy;
pub mod gate;
pub mod global_avg_pool;
pub mod linear;
pub mod max_pool2d;
pub mod pad;
pub mod philox;
pub mod relu;
pub mod sgd;
pub mod shake_shake;
pub mod sigmoid;
mod windows;

/// Returns the central differences of the scalar function `f` at `at`, one entry per entry of `at`.
///
/// The step is 1e-5: an error of about 1e-10 times the third derivative, and of 1e-11 times `f`
/// from rounding.
pub fn numeric_gradient(mut f: impl FnMut(&[f64]) -> f64, at: &[f64]) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut point = at.to_vec();
    (0..at.len())
        .map(|i| {
            point[i] = at[i] + STEP;
            let above = f(&point);
            point[i] = at[i] - STEP;
            let below = f(&point);
            point[i] = at[i];
            (above - below) / (2.0 * STEP)
        })
        .collect()
}

/// Returns `gate · value`, and exactly +0 where the gate is 0, whatever the value.
fn gated(gate: f64, value: f64) -> f64 {
    if gate == 0.0 { 0.0 } else { gate * value }
}

#[cfg(test)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
