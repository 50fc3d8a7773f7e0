//! The passes of a convolution of one size. What they need besides data and weights is made once.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::active::{Active, every};
use super::algorithm::Algorithm;
use super::correlate::{Batch, Engine};
use super::direct::Direct;
use super::weight_grad;
use super::winograd::{self, Elements, Taps, Weights, Winograd, elements};
use crate::cpu::isa::Isa;
use crate::cpu::scratch::{give, take};
use crate::dims::Conv2dDims;
use crate::error::{Result, check_len};

/// A convolution of one size by one algorithm, and its gradients. Addresses, tiles and lists are
/// made by the first pass that needs them and kept; the weights may be others each time.
///
/// For one instruction set and algorithm an output's bits depend neither on the number of threads
/// nor on which other filters are active, and skipping a channel gives the bits of a channel of
/// zeros.
pub struct Passes {
    isa: Isa,
    algorithm: Algorithm,
    dims: Conv2dDims,
    /// The numbers 0, 1, ..., the list of all filters or channels.
    every: Vec<u32>,
    forward: OnceLock<Plan>,
    backward_input: OnceLock<Plan>,
}

/// The addresses that a pass reads and writes.
enum Plan {
    Direct(Direct),
    Winograd(Winograd),
    Elements(Elements),
}

/// The direction of a pass.
#[derive(Clone, Copy)]
enum Way {
    Forward,
    BackwardInput,
}

impl Passes {
    /// Makes the passes of a convolution of `dims`. Their plans are made when they are first
    /// needed.
    ///
    /// # Errors
    /// If `algorithm` cannot compute this convolution.
    pub fn new(isa: Isa, algorithm: Algorithm, dims: &Conv2dDims) -> Result<Passes> {
        algorithm.check("conv2d", dims)?;
        Ok(Passes {
            isa,
            algorithm,
            dims: *dims,
            every: every(dims),
            forward: OnceLock::new(),
            backward_input: OnceLock::new(),
        })
    }

    /// Returns the sizes of the convolution.
    #[must_use]
    pub fn dims(&self) -> &Conv2dDims {
        &self.dims
    }

    /// Computes `output[n, f] = Σ_c weight[f, c] ⋆ input[n, c]` for the active filters f and
    /// channels c of sample n.
    ///
    /// `input` is (N, C, H, W), `weight` (F, C, KH, KW); `output` (N, F, OH, OW) is overwritten,
    /// and planes of inactive filters become +0.
    ///
    /// # Errors
    /// If a length or a list does not fit the sizes; nothing is written then.
    pub fn forward(
        &self,
        active: Active<'_>,
        input: &[f32],
        weight: &[f32],
        output: &mut [f32],
    ) -> Result<()> {
        const OP: &str = "conv2d forward";
        let dims = &self.dims;
        active.check(OP, dims)?;
        check_len(OP, "input", dims.input_len(), input.len())?;
        check_len(OP, "weight", dims.weight_len(), weight.len())?;
        check_len(OP, "output", dims.output_len(), output.len())?;
        let batch = Batch::forward(dims, active, &self.every, input);
        self.run(Way::Forward, &batch, weight, output);
        Ok(())
    }

    /// Computes `grad_input[n, c] = Σ_f weight[f, c] * grad_output[n, f]` (full convolution, stride
    /// undone) for the active channels c and filters f of sample n.
    ///
    /// `grad_output` is (N, F, OH, OW), `weight` (F, C, KH, KW); `grad_input` (N, C, H, W) is
    /// overwritten, and planes of inactive channels become +0.
    ///
    /// # Errors
    /// If a length or a list does not fit the sizes; nothing is written then.
    pub fn backward_input(
        &self,
        active: Active<'_>,
        grad_output: &[f32],
        weight: &[f32],
        grad_input: &mut [f32],
    ) -> Result<()> {
        const OP: &str = "conv2d backward_input";
        let dims = &self.dims;
        active.check(OP, dims)?;
        check_len(OP, "grad_output", dims.output_len(), grad_output.len())?;
        check_len(OP, "weight", dims.weight_len(), weight.len())?;
        check_len(OP, "grad_input", dims.input_len(), grad_input.len())?;
        let batch = Batch::backward_input(dims, active, &self.every, grad_output);
        self.run(Way::BackwardInput, &batch, weight, grad_input);
        Ok(())
    }

    /// Computes `grad_weight[f, c] = Σ_n input[n, c] ⋆ grad_output[n, f]` over the samples n in
    /// which filter f and channel c are both active, by the algorithm that
    /// [`choose_for_weight`](Algorithm::choose_for_weight) names.
    ///
    /// `input` is (N, C, H, W), `grad_output` (N, F, OH, OW); `grad_weight` (F, C, KH, KW) is
    /// overwritten. The order of the sum is that of [`backward_weight`](super::backward_weight).
    ///
    /// # Errors
    /// If a length or a list does not fit the sizes; nothing is written then.
    pub fn backward_weight(
        &self,
        active: Active<'_>,
        input: &[f32],
        grad_output: &[f32],
        grad_weight: &mut [f32],
    ) -> Result<()> {
        let gated = active.filters.is_some() || active.channels.is_some();
        let algorithm = Algorithm::choose_for_weight(&self.dims, gated);
        weight_gradient(self.isa, algorithm, &self.dims, active, input, grad_output, grad_weight)
    }

    fn run(&self, way: Way, batch: &Batch<'_>, weight: &[f32], target: &mut [f32]) {
        let (isa, dims) = (self.isa, &self.dims);
        let (plan, taps) = match way {
            Way::Forward => (&self.forward, Taps::forward as fn(_, _) -> _),
            Way::BackwardInput => (&self.backward_input, Taps::backward_input as fn(_, _) -> _),
        };
        match plan.get_or_init(|| self.plan(way)) {
            Plan::Direct(direct) => batch.run(&Engine::Direct(direct, weight), target),
            Plan::Elements(plan) => {
                let room = take(elements::Weights::len(dims));
                let weights = elements::Weights::new(isa, &taps(dims, weight), room);
                batch.run(&Engine::Elements(plan, &weights), target);
                give(weights.into_memory());
            }
            Plan::Winograd(plan) => {
                let room = take(Weights::len(plan.tile(), dims));
                let weights = Weights::new(isa, plan.tile(), &taps(dims, weight), room);
                batch.run(&Engine::Winograd(plan, &weights), target);
                give(weights.data);
            }
        }
    }

    fn plan(&self, way: Way) -> Plan {
        let (isa, dims) = (self.isa, &self.dims);
        let target = match way {
            Way::Forward => dims.out_size(),
            Way::BackwardInput => dims.in_size(),
        };
        match (self.algorithm.tile(), way) {
            (None, Way::Forward) => Plan::Direct(Direct::forward(isa, dims)),
            (None, Way::BackwardInput) => Plan::Direct(Direct::backward_input(isa, dims)),
            (Some(4), way) if Elements::suits(target) => Plan::Elements(match way {
                Way::Forward => Elements::forward(isa, dims),
                Way::BackwardInput => Elements::backward_input(isa, dims),
            }),
            (Some(tile), Way::Forward) => Plan::Winograd(Winograd::forward(isa, dims, tile)),
            (Some(tile), Way::BackwardInput) => {
                Plan::Winograd(Winograd::backward_input(isa, dims, tile))
            }
        }
    }
}

impl fmt::Debug for Passes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Passes { isa, algorithm, dims, .. } = self;
        write!(f, "Passes({isa}, {algorithm}, {dims:?})")
    }
}

/// The [`Passes`] of a layer, one for each size of its input, which the steps of a training use
/// again. Clones have the same passes.
#[derive(Debug, Clone, Default)]
pub struct Cache(Arc<Mutex<Vec<Arc<Passes>>>>);

impl Cache {
    /// The number of sizes that are kept: those of training and evaluation and their smaller last
    /// batches.
    const SIZES: usize = 4;

    /// Returns the passes for these sizes, by the algorithm that [`Algorithm::choose`] names.
    ///
    /// # Errors
    /// It never fails: that algorithm can compute this convolution.
    pub fn passes(&self, isa: Isa, dims: &Conv2dDims) -> Result<Arc<Passes>> {
        // Whatever panics elsewhere, the list is whole.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|passes| (passes.isa, passes.dims) == (isa, *dims)) {
            // The last is what was used last.
            all[at..].rotate_left(1);
        } else {
            if all.len() == Cache::SIZES {
                all.remove(0);
            }
            all.push(Arc::new(Passes::new(isa, Algorithm::choose(dims), dims)?));
        }
        Ok(all[all.len() - 1].clone())
    }
}

/// Computes [`backward_weight`](super::backward_weight).
pub(super) fn weight_gradient(
    isa: Isa,
    algorithm: Algorithm,
    dims: &Conv2dDims,
    active: Active<'_>,
    input: &[f32],
    grad_output: &[f32],
    grad_weight: &mut [f32],
) -> Result<()> {
    const OP: &str = "conv2d backward_weight";
    active.check(OP, dims)?;
    algorithm.check(OP, dims)?;
    check_len(OP, "input", dims.input_len(), input.len())?;
    check_len(OP, "grad_output", dims.output_len(), grad_output.len())?;
    check_len(OP, "grad_weight", dims.weight_len(), grad_weight.len())?;
    match algorithm.tile() {
        None => weight_grad::run(isa, dims, active, input, grad_output, grad_weight),
        Some(tile) => {
            winograd::weight_grad::run(isa, tile, dims, active, input, grad_output, grad_weight);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_the_sizes_that_were_used_last() {
        let isa = Isa::available()[0];
        let of = |batch| Conv2dDims::new([batch, 2, 6, 6], [3, 2, 3, 3], [1; 2], [1; 2]);
        let cache = Cache::default();
        let passes = |batch| cache.clone().passes(isa, &of(batch).expect("valid")).expect("valid");
        let first = passes(1);
        for batch in 2..=Cache::SIZES {
            passes(batch);
        }
        assert!(Arc::ptr_eq(&first, &passes(1)), "one of as many as are kept");
        let second = passes(2);
        passes(Cache::SIZES + 1);
        assert!(Arc::ptr_eq(&second, &passes(2)), "used before the last");
        assert!(Arc::ptr_eq(&first, &passes(1)), "3 was not used for longest");
    }

    #[test]
    fn passes_may_be_repeated_with_other_weights_and_lists() {
        let dims = Conv2dDims::new([2, 3, 9, 7], [5, 3, 3, 3], [1; 2], [1; 2]).expect("valid");
        let values = crate::testing::values;
        let (input, grad) = (values(1, dims.input_len()), values(2, dims.output_len()));
        for isa in Isa::available() {
            for algorithm in Algorithm::ALL {
                let kept = Passes::new(isa, algorithm, &dims).expect("it supports them");
                for seed in 3..6 {
                    let weight = values(seed, dims.weight_len());
                    let run = |passes: &Passes| {
                        let mut y = vec![f32::NAN; dims.output_len()];
                        let mut grad_x = vec![f32::NAN; dims.input_len()];
                        let active = Active::default();
                        passes.forward(active, &input, &weight, &mut y).expect("fits");
                        passes.backward_input(active, &grad, &weight, &mut grad_x).expect("fits");
                        (y, grad_x)
                    };
                    let once = Passes::new(isa, algorithm, &dims).expect("it supports them");
                    assert_eq!(run(&kept), run(&once), "{isa}, {algorithm}, weights {seed}");
                }
            }
        }
    }
}
