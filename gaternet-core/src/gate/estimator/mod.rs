//! How logits become gates that can be trained: [`Estimator`].

mod gumbel_sigmoid;
mod straight_through;
mod tau;
mod top_k;

pub use tau::TauSchedule;

use gumbel_sigmoid::{gumbel_sigmoid, logistic_noise};
use straight_through::straight_through;
pub(super) use top_k::largest;
use top_k::top_k;

use rand::Rng;
use serde::{Deserialize, Serialize};

use super::sem_hash::{SemHashDraw, hard_gate, sem_hash};
use crate::ctx::Ctx;
use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// From logits (N, C) to gates (N, C), 0 for off.
///
/// Evaluation is without noise and always gives gates of exactly 0 or 1, so that filters can be
/// skipped. Serialised as `"sem_hash"`, `{ "top_k": { "density": 0.5 } }` and so on.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Estimator {
    /// Improved SemHash (Kaiser & Bengio 2018), the paper's. With `g = logit + noise`, a
    /// training gate is `1(g > 0)` in samples whose coin says discrete and `max(0, min(1, 1.2 ·
    /// sigmoid(g) - 0.1))` in the others. The gradient is that of the latter in both, so it is 0
    /// where the latter is 0 or 1.
    #[default]
    SemHash,
    /// The gate of evaluation, [`hard_gate`] of each logit g, with the gradient of the
    /// identity, but 0 where `|g| > 1` and a step against it would take g further out: straight
    /// through (Bengio et al. 2013, arXiv 1308.3432), clipped so that no logit runs away.
    /// Hubara et al. 2016 (arXiv 1602.02830) have 0 wherever `|g| > 1`; a gate that starts there,
    /// as with a bias of 2, would stay for good.
    StraightThrough,
    /// Binary concrete gates (Maddison et al. 2017, arXiv 1611.00712; Jang et al. 2017, arXiv
    /// 1611.01144). With `g = logit + logistic noise`, a training gate is `sigmoid(g /
    /// tau)` or, if `hard`, `1(g > 0)` with the gradient of the former. `1(g > 0)` is 1 with
    /// probability `sigmoid(logit)`, whatever tau is.
    GumbelSigmoid {
        /// Temperature, above 0: small ones are closer to 0 and 1, with gradients of more variance.
        #[serde(default = "default_tau")]
        tau: TauSchedule,
        /// Whether training gates are rounded to 0 and 1, with the gradient of the soft ones.
        /// Without, a training pass is smooth, but never sees the gates of evaluation.
        #[serde(default = "default_hard")]
        hard: bool,
    },
    /// A fixed number of filters of each layer, `max(1, round(density · width))`: those with the
    /// largest logits, the first of equals. Every sample has the same cost, and no loss on
    /// the gates is needed. The gradient is that of the sigmoid for all of them, so that a closed
    /// filter can come back. As the k-winners of Feature Boosting and Suppression (Gao et al. 2019,
    /// arXiv 1810.05331), without its boosting.
    TopK {
        /// Share of the filters of a layer that are open, above 0 and up to 1; at least one is.
        density: f32,
    },
}

/// 2/3, as Maddison et al. recommend for binary variables.
fn default_tau() -> TauSchedule {
    TauSchedule::constant(2.0 / 3.0)
}

fn default_hard() -> bool {
    true
}

/// The randomness of one training batch.
#[derive(Debug, Clone)]
pub enum GateDraw {
    /// That of an estimator without noise.
    Nothing,
    /// That of [`Estimator::SemHash`].
    SemHash(SemHashDraw),
    /// That of [`Estimator::GumbelSigmoid`]: (N, C), logistic.
    Logistic(Tensor),
}

impl Estimator {
    /// `Err` if a parameter is out of range.
    ///
    /// # Errors
    /// [`Error::Config`] naming it.
    pub fn validate(&self) -> Result<()> {
        match *self {
            Estimator::GumbelSigmoid { tau, .. } => tau.validate(),
            Estimator::TopK { density } if !(density > 0.0 && density <= 1.0) => {
                let rule = "must be above 0 and at most 1";
                Err(Error::Config { field: "density", value: density.to_string(), rule })
            }
            Estimator::SemHash | Estimator::StraightThrough | Estimator::TopK { .. } => Ok(()),
        }
    }

    /// How many filters of a layer of `width` filters are open in evaluation, if that is the same
    /// for all images: those with the largest logits. `None` if each gate goes by its own.
    #[must_use]
    pub fn fixed_count(&self, width: usize) -> Option<usize> {
        match *self {
            Estimator::TopK { density } if width > 0 => Some(top_k::count(density, width)),
            _ => None,
        }
    }

    /// The noise for `batch` samples of `gates` gates.
    ///
    /// # Errors
    /// [`Error::Shape`] if it would not fit in the address space.
    pub fn draw(&self, batch: usize, gates: usize, rng: &mut impl Rng) -> Result<GateDraw> {
        Ok(match self {
            Estimator::SemHash => GateDraw::SemHash(SemHashDraw::sample(batch, gates, rng)?),
            Estimator::GumbelSigmoid { .. } => {
                GateDraw::Logistic(logistic_noise(batch, gates, rng)?)
            }
            Estimator::StraightThrough | Estimator::TopK { .. } => GateDraw::Nothing,
        })
    }

    /// Training gates (N, C) of logits (N, C) with this noise, when the fraction `progress`
    /// of the training is done. The layers of the gates have these widths, in order.
    ///
    /// # Errors
    /// [`Error::Config`] if a parameter is out of range, [`Error::Shape`] if the widths do not add
    /// up to C or the draw is of another estimator or batch.
    pub fn apply(
        &self,
        logits: &Tensor,
        widths: &[usize],
        draw: &GateDraw,
        progress: f64,
    ) -> Result<Tensor> {
        self.validate()?;
        check_widths(logits, widths)?;
        match (*self, draw) {
            (Estimator::SemHash, GateDraw::SemHash(draw)) => sem_hash(logits, draw),
            (Estimator::StraightThrough, GateDraw::Nothing) => straight_through(logits),
            (Estimator::GumbelSigmoid { tau, hard }, GateDraw::Logistic(noise)) => {
                gumbel_sigmoid(logits, noise, tau.tau(progress), hard)
            }
            (Estimator::TopK { density }, GateDraw::Nothing) => top_k(logits, widths, density),
            (estimator, draw) => Err(Error::Shape {
                op: "estimator",
                rule: "the draw must be of the estimator",
                got: format!("{} for {estimator:?}", draw.name()),
            }),
        }
    }

    /// Training gates (N, C) of logits (N, C), with the noise and the progress of `ctx`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn train(&self, logits: &Tensor, widths: &[usize], ctx: &mut Ctx) -> Result<Tensor> {
        let [batch, gates] = check_widths(logits, widths)?;
        let draw = self.draw(batch, gates, ctx.rng())?;
        self.apply(logits, widths, &draw, ctx.progress())
    }

    /// Evaluation gates (N, C) of logits (N, C), each 0 or 1 (NaN of NaN), in no graph.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn eval(&self, logits: &Tensor, widths: &[usize]) -> Result<Tensor> {
        check_widths(logits, widths)?;
        let mut gates = storage::take(logits.len());
        gates.copy_from_slice(logits.data());
        self.eval_in_place(&mut gates, widths)?;
        Ok(Tensor::new(gates, logits.shape())?.on(logits.own_isa()))
    }

    /// [`eval`](Self::eval) of a slice: whole rows of logits become gates.
    ///
    /// # Errors
    /// [`Error::Config`] if a parameter is out of range, [`Error::Shape`] if the rows are not
    /// whole.
    pub fn eval_in_place(&self, gates: &mut [f32], widths: &[usize]) -> Result<()> {
        self.validate()?;
        let row: usize = widths.iter().sum();
        if gates.len().checked_rem(row).unwrap_or(gates.len()) != 0 {
            return Err(Error::Shape {
                op: "estimator",
                rule: "the gates must be whole rows of the layers' widths",
                got: format!("{} gates for widths {widths:?}", gates.len()),
            });
        }
        match *self {
            Estimator::SemHash | Estimator::StraightThrough | Estimator::GumbelSigmoid { .. } => {
                gates.iter_mut().for_each(|gate| *gate = hard_gate(*gate));
            }
            Estimator::TopK { density } => top_k::open_largest(gates, widths, density),
        }
        Ok(())
    }
}

impl GateDraw {
    fn name(&self) -> &'static str {
        match self {
            GateDraw::Nothing => "no noise",
            GateDraw::SemHash(_) => "a draw of SemHash",
            GateDraw::Logistic(_) => "logistic noise",
        }
    }
}

/// (N, C) of logits whose columns the widths divide up.
pub(super) fn check_widths(logits: &Tensor, widths: &[usize]) -> Result<[usize; 2]> {
    let dims = ops::dims("estimator", "the logits must be (N, C)", logits)?;
    if widths.iter().try_fold(0usize, |sum, &width| sum.checked_add(width)) != Some(dims[1]) {
        return Err(Error::Shape {
            op: "estimator",
            rule: "the layers' widths must add up to the logits' columns",
            got: format!("widths {widths:?} for {}", logits.shape()),
        });
    }
    Ok(dims)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    const TAU: TauSchedule = TauSchedule { first: 0.5, last: 0.5, fraction: 1.0 };
    const ALL: [Estimator; 5] = [
        Estimator::SemHash,
        Estimator::StraightThrough,
        Estimator::GumbelSigmoid { tau: TAU, hard: true },
        Estimator::GumbelSigmoid { tau: TAU, hard: false },
        Estimator::TopK { density: 0.5 },
    ];

    fn logits() -> Tensor {
        let rng = &mut ChaCha8Rng::seed_from_u64(5);
        Tensor::randn([8, 6], 2.0, rng).expect("small")
    }

    #[test]
    fn sem_hash_draws_what_it_always_drew() {
        let logits = logits();
        let gates = Estimator::default().train(&logits, &[2, 4], &mut Ctx::train(3));
        let draw = SemHashDraw::sample(8, 6, Ctx::train(3).rng()).expect("small");
        let want = sem_hash(&logits, &draw).expect("fits");
        assert_eq!(gates.expect("fits").data(), want.data());
        let gates = Estimator::default().eval(&logits, &[2, 4]).expect("fits");
        let hard: Vec<f32> = logits.data().iter().map(|&g| hard_gate(g)).collect();
        assert_eq!(gates.data(), hard);
    }

    #[test]
    fn every_estimator_trains_and_evaluates_to_zeros_and_ones() {
        for estimator in ALL {
            let logits = logits().leaf();
            let gates = estimator.train(&logits, &[2, 4], &mut Ctx::train(3)).expect("fits");
            assert!(gates.data().iter().all(|gate| (0.0..=1.0).contains(gate)), "{estimator:?}");
            let again = estimator.train(&logits, &[2, 4], &mut Ctx::train(3)).expect("fits");
            assert_eq!(gates.data(), again.data(), "{estimator:?}: the same seed");
            let grads = ops::sum(&gates).and_then(|loss| loss.backward()).expect("in a graph");
            let grad = grads.of(&logits).expect("a leaf").data();
            assert!(grad.iter().any(|&g| g > 0.0), "{estimator:?} does not train");
            assert!(grad.iter().all(|&g| g >= 0.0), "{estimator:?} closes a gate to open it");

            let gates = estimator.eval(&logits, &[2, 4]).expect("fits");
            assert!(!gates.requires_grad());
            assert!(gates.data().iter().all(|&gate| gate == 0.0 || gate == 1.0), "{estimator:?}");
        }
    }

    #[test]
    fn nan_shows_everywhere() {
        let mut values = logits().data().to_vec();
        values[9] = f32::NAN;
        let logits = Tensor::new(values, [8, 6]).expect("48 values");
        for estimator in ALL {
            for seed in 0..4 {
                let gates = estimator.train(&logits, &[2, 4], &mut Ctx::train(seed));
                assert!(gates.expect("fits").data()[9].is_nan(), "{estimator:?}");
            }
            let gates = estimator.eval(&logits, &[2, 4]).expect("fits");
            assert!(gates.data()[9].is_nan(), "{estimator:?}");
        }
    }

    #[test]
    fn configurations_are_strict() {
        for estimator in ALL {
            let json = serde_json::to_string(&estimator).expect("plain data");
            assert_eq!(serde_json::from_str::<Estimator>(&json).expect(&json), estimator);
        }
        let parse = |json: &str| serde_json::from_str::<Estimator>(json);
        assert_eq!(parse("\"sem_hash\"").expect("known"), Estimator::SemHash);
        let gumbel = parse(r#"{"gumbel_sigmoid": {}}"#).expect("defaults");
        assert_eq!(gumbel, Estimator::GumbelSigmoid { tau: default_tau(), hard: true });
        for json in
            ["\"rebar\"", r#"{"top_k": {"density": 0.5, "k": 3}}"#, r#"{"top_k": {}}"#, "\"top_k\""]
        {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn parameters_out_of_range_and_draws_of_others_are_refused() {
        let logits = logits();
        let gumbel = |tau| Estimator::GumbelSigmoid { tau, hard: true };
        for (estimator, text) in [
            (gumbel(TauSchedule::constant(0.0)), "tau.first = 0"),
            (gumbel(TauSchedule { last: f64::NAN, ..TAU }), "tau.last = NaN"),
            (Estimator::TopK { density: 0.0 }, "density = 0"),
            (Estimator::TopK { density: 1.5 }, "density = 1.5"),
        ] {
            let error = estimator.eval(&logits, &[6]).expect_err(text).to_string();
            assert!(error.contains(text), "{error}");
            assert!(estimator.train(&logits, &[6], &mut Ctx::train(0)).is_err());
        }
        let error = Estimator::SemHash.apply(&logits, &[6], &GateDraw::Nothing, 0.0);
        let error = error.expect_err("no noise").to_string();
        assert!(error.contains("no noise for SemHash"), "{error}");
        for estimator in ALL {
            let error = estimator.eval(&logits, &[2, 3]).expect_err("5 of 6").to_string();
            assert!(error.contains("widths [2, 3] for (8, 6)"), "{error}");
            assert!(estimator.eval_in_place(&mut [0.0; 7], &[2, 4]).is_err());
            assert!(estimator.eval_in_place(&mut [0.0; 7], &[]).is_err());
            estimator.eval_in_place(&mut [], &[]).expect("nothing");
        }
    }

    #[test]
    fn binary_concrete_gates_cool_down_in_the_course_of_the_training() {
        let tau = TauSchedule { first: 2.0, last: 0.5, fraction: 0.5 };
        let (logits, ctx) = (logits(), || Ctx::train(3));
        let noise = logistic_noise(8, 6, ctx().rng()).expect("small");
        for (step, tau_then) in [(0, 2.0), (1, 1.0), (2, 0.5), (4, 0.5)] {
            let mut ctx = ctx().with_progress(step, 4);
            let estimator = Estimator::GumbelSigmoid { tau, hard: false };
            let gates = estimator.train(&logits, &[2, 4], &mut ctx).expect("fits");
            let want = gumbel_sigmoid(&logits, &noise, tau_then, false).expect("fits");
            assert_eq!(gates.data(), want.data(), "step {step}");
        }
    }
}
