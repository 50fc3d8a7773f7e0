//! Gates that stay open in every layer.

use serde::{Deserialize, Serialize};

use super::estimator::{check_widths, largest};
use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// How many gates of every layer are open for every sample, whatever the estimator says: those with
/// the largest pre-activations, before noise, the first of equals. With one or more, no layer is
/// ever all off.
///
/// Such a gate is 1 in training and in evaluation. It has the gradient that the estimator gives it,
/// as a gate that is off has (straight through).
///
/// Serialised as `{ "gates": 1 }` or `{ "share": 0.1 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateFloor {
    /// This number, or all gates of a layer that has fewer. 0 is no floor, the default.
    Gates(usize),
    /// This share of the gates of a layer, 0 to 1, rounded up.
    Share(f32),
}

impl Default for GateFloor {
    fn default() -> GateFloor {
        GateFloor::Gates(0)
    }
}

impl GateFloor {
    /// `Err` if the share is not 0 to 1.
    ///
    /// # Errors
    /// [`Error::Config`] naming it.
    pub fn validate(&self) -> Result<()> {
        match *self {
            GateFloor::Share(share) if !(0.0..=1.0).contains(&share) => {
                let (field, rule) = ("floor.share", "must be 0 to 1");
                Err(Error::Config { field, value: share.to_string(), rule })
            }
            GateFloor::Gates(_) | GateFloor::Share(_) => Ok(()),
        }
    }

    /// Gates of a layer of `width` gates that stay open.
    #[must_use]
    pub fn count(&self, width: usize) -> usize {
        match *self {
            GateFloor::Gates(gates) => gates.min(width),
            // An f32 that stands for 0.1 is slightly above it: 0.1 of 10 gates is 1.
            GateFloor::Share(share) => {
                ((f64::from(share) * width as f64 - 1e-6).ceil().max(0.0) as usize).min(width)
            }
        }
    }

    /// Whether it keeps nothing open.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.count(1 << 20) == 0
    }

    /// The training gates (N, C) of pre-activations (N, C), with the gates that stay open at 1. The
    /// layers of the gates have these widths, in order. A gate that is NaN stays NaN.
    ///
    /// # Errors
    /// [`Error::Config`] if the share is out of range, [`Error::Shape`] if the shapes differ or the
    /// widths do not add up to C.
    pub fn apply(&self, gates: &Tensor, preact: &Tensor, widths: &[usize]) -> Result<Tensor> {
        self.validate()?;
        check_widths(preact, widths)?;
        ops::check_shape(
            "floor",
            "the gates must be of the pre-activations",
            gates,
            preact.shape(),
        )?;
        if self.is_none() {
            return Ok(gates.clone());
        }
        let mut values = storage::take(gates.len());
        values.copy_from_slice(gates.data());
        self.for_open(preact.data(), widths, |at| {
            if !values[at].is_nan() {
                values[at] = 1.0;
            }
        });
        Tensor::from_op(values, gates.shape(), &[gates], |_| Floor)
    }

    /// Makes infinite the pre-activations, whole rows of layers of these widths, of the gates that
    /// stay open, so that any threshold opens them. NaN stays NaN.
    ///
    /// # Errors
    /// [`Error::Config`] if the share is out of range.
    pub fn raise(&self, preact: &mut [f32], widths: &[usize]) -> Result<()> {
        self.validate()?;
        if self.is_none() {
            return Ok(());
        }
        let mut open = Vec::new();
        self.for_open(preact, widths, |at| open.push(at));
        for at in open {
            if !preact[at].is_nan() {
                preact[at] = f32::INFINITY;
            }
        }
        Ok(())
    }

    /// Calls `each` with the index of every gate that stays open.
    fn for_open(&self, preact: &[f32], widths: &[usize], mut each: impl FnMut(usize)) {
        let mut order = Vec::new();
        let mut start = 0;
        let mut layers = widths.iter().filter(|&&width| width > 0).cycle();
        while start < preact.len()
            && let Some(&width) = layers.next()
        {
            let layer = &preact[start..start + width];
            largest(layer, self.count(width), &mut order).iter().for_each(|&i| each(start + i));
            start += width;
        }
    }
}

#[derive(Debug)]
struct Floor;

impl Backward for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        Ok(vec![Some(grad)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Estimator;

    const WIDTHS: [usize; 2] = [2, 4];

    #[rustfmt::skip]
    const PREACT: [f32; 12] = [
        -3.0, -2.0,    0.1, -0.4, -0.3, 0.2,
        -5.0, -5.0,   -1.0, -7.0, -7.0, -0.5,
    ];

    fn preact() -> Tensor {
        Tensor::new(PREACT.to_vec(), [2, 6]).expect("12 values")
    }

    #[test]
    fn the_largest_of_every_slot_stay_open_and_gradients_pass() {
        let gates = Tensor::full([2, 6], 0.25).expect("small").leaf();
        let open = GateFloor::Gates(1).apply(&gates, &preact(), &WIDTHS).expect("fits");
        #[rustfmt::skip]
        let want = [
            0.25, 1.0,    0.25, 0.25, 0.25, 1.0,
            1.0, 0.25,    0.25, 0.25, 0.25, 1.0,
        ];
        assert_eq!(open.data(), want);
        let weights = Tensor::new((1..=12).map(|i| i as f32).collect(), [2, 6]).expect("12");
        let loss = ops::mul(&open, &weights).and_then(|product| ops::sum(&product));
        let grads = loss.and_then(|loss| loss.backward()).expect("in a graph");
        assert_eq!(grads.of(&gates).expect("a leaf").data(), weights.data());
    }

    #[test]
    fn training_and_evaluation_keep_the_same_gates() {
        for floor in [GateFloor::Gates(2), GateFloor::Share(0.5), GateFloor::Gates(9)] {
            let closed = Tensor::zeros([2, 6]).expect("small");
            let training = floor.apply(&closed, &preact(), &WIDTHS).expect("fits");
            let mut raised = PREACT.map(|x| x - 100.0).to_vec();
            floor.raise(&mut raised, &WIDTHS).expect("in range");
            Estimator::SemHash.eval_in_place(&mut raised, &WIDTHS).expect("whole rows");
            assert_eq!(training.data(), raised, "{floor:?}");
        }
        let gates = preact();
        let none = GateFloor::default().apply(&gates, &preact(), &WIDTHS).expect("fits");
        assert_eq!(none.data(), gates.data());
    }

    #[test]
    fn counts_of_a_slot() {
        assert_eq!([0, 1, 3].map(|width| GateFloor::Gates(2).count(width)), [0, 1, 2]);
        let share = |share, width| GateFloor::Share(share).count(width);
        assert_eq!([share(0.1, 16), share(0.1, 10), share(0.0, 9), share(1.0, 9)], [2, 1, 0, 9]);
        let error = GateFloor::Share(1.3).validate().expect_err("above 1").to_string();
        assert!(error.contains("floor.share = 1.3: must be 0 to 1"), "{error}");
        assert!(GateFloor::Share(f32::NAN).validate().is_err());
    }

    #[test]
    fn nan_shows_and_other_shapes_are_refused() {
        let mut values = PREACT.to_vec();
        values[5] = f32::NAN;
        let preact = Tensor::new(values.clone(), [2, 6]).expect("12 values");
        let open = GateFloor::Gates(1).apply(&preact, &preact, &WIDTHS).expect("fits");
        assert!(open.data()[5].is_nan());
        GateFloor::Gates(1).raise(&mut values, &WIDTHS).expect("in range");
        assert!(values[5].is_nan());
        let other = Tensor::zeros([2, 5]).expect("small");
        assert!(GateFloor::Gates(1).apply(&other, &preact, &WIDTHS).is_err());
        assert!(GateFloor::Gates(1).apply(&preact, &preact, &[2, 3]).is_err());
    }
}
