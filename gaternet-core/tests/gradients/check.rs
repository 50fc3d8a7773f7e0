//! The comparison that all tests here make.

use std::sync::Arc;

use gaternet_core::{Result, Tensor, ops};
use gaternet_kernels::{ActiveFilters, Isa};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Entries of each input whose gradient is compared with central differences.
const SAMPLES: usize = 48;
/// Small, so that it crosses no kink of a ReLU; the rounding error is about 1e-8.
const STEP: f64 = 1e-7;

/// An op under test.
pub(crate) struct Check<'a> {
    pub(crate) op: &'a str,
    pub(crate) case: String,
    /// Name and value of each input.
    pub(crate) inputs: Vec<(&'a str, Tensor)>,
    /// Allowed error, relative to the largest gradient or output (or 1, if that is smaller).
    pub(crate) tolerance: f64,
}

impl Check<'_> {
    /// Compares `apply` with `reference` at the inputs, and the gradients of `sum(apply(inputs) ·
    /// cotangent)` with central differences of the reference, under every instruction set of this
    /// machine.
    pub(crate) fn run(
        &self,
        apply: impl Fn(&[Tensor]) -> Result<Tensor>,
        reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        for isa in Isa::available() {
            self.run_on(isa, &apply, &reference);
        }
    }

    fn run_on(
        &self,
        isa: Isa,
        apply: impl Fn(&[Tensor]) -> Result<Tensor>,
        reference: impl Fn(&[Vec<f64>]) -> Vec<f64>,
    ) {
        let at: Vec<Vec<f64>> = self.inputs.iter().map(|(_, x)| widen(x.data())).collect();
        let leaves: Vec<Tensor> = self.inputs.iter().map(|(_, x)| x.with_isa(isa).leaf()).collect();
        let y = self.expect(apply(&leaves));
        assert_eq!(self.expect(y.isa()), isa, "{} [{}]: another set goes on", self.op, self.case);
        self.compare(
            &format!("output with {isa}"),
            &widen(y.data()),
            &reference(&at).into_iter().enumerate().collect::<Vec<_>>(),
        );

        let cotangent = random(y.dims(), 99);
        let loss = |y: &Tensor| ops::sum(&ops::mul(y, &cotangent)?);
        let grads = self.expect(loss(&y).and_then(|loss| loss.backward()));
        let cotangent_at = widen(cotangent.data());
        for (i, leaf) in leaves.iter().enumerate() {
            let name = self.inputs[i].0;
            let grad = self.expect(grads.of(leaf));
            assert_eq!(self.expect(grad.isa()), isa, "{} [{}]: gradient", self.op, self.case);
            let numeric = |index: usize| {
                let moved = |by: f64| {
                    let mut at = at.clone();
                    at[i][index] += by;
                    dot(&reference(&at), &cotangent_at)
                };
                (index, (moved(STEP) - moved(-STEP)) / (2.0 * STEP))
            };
            let want: Vec<_> = spread(grad.len()).map(numeric).collect();
            self.compare(&format!("gradient of {name} with {isa}"), &widen(grad.data()), &want);

            // Asked for alone, it is the same, and no other gradient appears.
            let mut alone: Vec<Tensor> = leaves.iter().map(Tensor::detach).collect();
            alone[i] = leaf.clone();
            let y = self.expect(apply(&alone));
            let only = self.expect(loss(&y).and_then(|loss| loss.backward()));
            assert_eq!(
                self.expect(only.of(leaf)).data(),
                grad.data(),
                "{} [{}]: gradient of {name} depends on which others are asked for",
                self.op,
                self.case,
            );
            for other in leaves.iter().filter(|other| !std::ptr::eq(*other, leaf)) {
                assert!(only.of(other).is_err(), "{} [{}]: unasked gradient", self.op, self.case);
            }
        }
    }

    fn compare(&self, what: &str, got: &[f64], want: &[(usize, f64)]) {
        let Check { op, case, tolerance, .. } = self;
        let scale = want.iter().fold(1.0f64, |scale, (_, want)| scale.max(want.abs()));
        for &(index, want) in want {
            let error = (got[index] - want).abs() / scale;
            assert!(
                error <= *tolerance,
                "{op} [{case}]: {what} at {index} is {}, expected {want} (error {error:.1e} of the \
                 largest, allowed {tolerance:.1e})",
                got[index],
            );
        }
    }

    fn expect<T>(&self, result: Result<T>) -> T {
        result.unwrap_or_else(|error| panic!("{} [{}]: {error}", self.op, self.case))
    }
}

/// Up to [`SAMPLES`] indices below `len`, first and last included.
fn spread(len: usize) -> impl Iterator<Item = usize> {
    let count = len.min(SAMPLES);
    (0..count).map(move |i| if count < 2 { i } else { i * (len - 1) / (count - 1) })
}

pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    Tensor::randn(shape, 1.0, &mut ChaCha8Rng::seed_from_u64(seed)).expect("small")
}

pub(crate) fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The densities worth testing: which filters are active.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Density {
    None,
    One,
    Half,
    All,
}

pub(crate) const DENSITIES: [Density; 4] =
    [Density::None, Density::One, Density::Half, Density::All];

impl Density {
    /// Gates (N, C) that are 0 or drawn from N(0, 1); which are 0 differs from sample to sample.
    pub(crate) fn gates(self, batch: usize, filters: usize) -> Tensor {
        let mut gates = random(&[batch, filters], 7).data().to_vec();
        for (n, row) in gates.chunks_mut(filters).enumerate() {
            for (i, gate) in row.iter_mut().enumerate() {
                let active = match self {
                    Density::None => false,
                    Density::One => i == (3 * n + 1) % filters,
                    Density::Half => (i + n) % 2 == 0,
                    Density::All => true,
                };
                *gate = if active { *gate } else { 0.0 };
            }
        }
        Tensor::new(gates, [batch, filters]).expect("one gate per filter")
    }

    pub(crate) fn active(self, batch: usize, filters: usize) -> Arc<ActiveFilters> {
        let gates = self.gates(batch, filters);
        let active = ActiveFilters::from_columns(gates.data(), filters, 0, filters);
        Arc::new(active.expect("the columns are all there are"))
    }
}
