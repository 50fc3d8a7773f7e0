//! Random zeros while training.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::mul;
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::storage;
use crate::tensor::Tensor;

/// Elements that share a random stream: which is an element's depends on its place alone, so the
/// mask does not depend on the number of threads.
const BLOCK: usize = 16 * 1024;

/// In training each element of x is 0 with probability `p`, else `x / (1 - p)`, so that its mean
/// stays; in evaluation it is x. As `torch.nn.functional.dropout` (Srivastava et al. 2014).
///
/// # Errors
/// [`Error::Config`] if `p` is not in [0, 1).
pub fn dropout(x: &Tensor, p: f32, ctx: &mut Ctx) -> Result<Tensor> {
    if !(0.0..1.0).contains(&p) {
        let rule = "must be at least 0 and below 1";
        return Err(Error::Config { field: "dropout p", value: p.to_string(), rule });
    }
    if !ctx.training() || p == 0.0 {
        return Ok(x.clone());
    }
    let seed: u64 = ctx.rng().random();
    let kept = 1.0 / (1.0 - p);
    let mut mask = storage::take(x.len());
    mask.par_chunks_mut(BLOCK).enumerate().for_each(|(block, mask)| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(block as u64);
        mask.fill_with(|| if rng.random::<f32>() < p { 0.0 } else { kept });
    });
    mul(x, &Tensor::new(mask, x.shape())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    #[test]
    fn the_fraction_of_zeros_is_p_and_the_gradient_has_the_same_mask() {
        let x = Tensor::full([3, 40_000], 2.0).expect("small").leaf();
        let y = dropout(&x, 0.3, &mut Ctx::train(1)).expect("in range");
        let zeros = y.data().iter().filter(|&&y| y == 0.0).count() as f64 / y.len() as f64;
        assert!((zeros - 0.3).abs() < 0.01, "{zeros} are 0");
        let rest = |y: &&f32| **y != 0.0;
        assert!(y.data().iter().filter(rest).all(|y| (y - 2.0 / 0.7).abs() < 1e-6));
        let grads = ops::sum(&y).and_then(|loss| loss.backward()).expect("in a graph");
        let pairs = grads.of(&x).expect("a leaf").data().iter().zip(y.data());
        assert!(pairs.clone().all(|(grad, y)| (grad - y / 2.0).abs() < 1e-6));
    }

    #[test]
    fn the_mask_depends_on_the_rng_only() {
        let x = Tensor::full([100_000], 1.0).expect("small");
        let run = |seed| dropout(&x, 0.5, &mut Ctx::train(seed)).expect("in range").data().to_vec();
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("pool");
        assert_eq!(one_thread.install(|| run(3)), run(3));
        assert_ne!(run(3), run(4));
        let mut ctx = Ctx::train(3);
        let mut next = || dropout(&x, 0.5, &mut ctx).expect("in range").data().to_vec();
        assert_ne!(next(), next(), "two layers of one pass");
    }

    #[test]
    fn evaluation_is_the_identity_and_p_has_a_range() {
        let x = Tensor::full([4], 3.0).expect("small");
        for (p, mut ctx) in [(0.5, Ctx::eval()), (0.0, Ctx::train(1))] {
            assert_eq!(dropout(&x, p, &mut ctx).expect("in range").data(), x.data());
        }
        for p in [1.0, -0.1, f32::NAN] {
            let text = dropout(&x, p, &mut Ctx::eval()).expect_err("out of range").to_string();
            assert!(text.contains(&format!("dropout p = {p}")), "{text}");
        }
    }
}
