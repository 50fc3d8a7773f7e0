//! Gates that stay open in every layer.

use serde::{Deserialize, Serialize};

use super::estimator::{check_widths, largest};
use crate::autograd::Backward;
use crate::error::{Error, Result};
use crate::ops;
use crate::storage;
use crate::tensor::Tensor;

/// How many gates of every layer are open for every sample, whatever the estimator says: those with
/// the largest logits, before noise, the first of equals. With one or more, no layer is
/// ever all off.
///
/// Such a gate is 1 in training and in evaluation. It has the gradient that the estimator gives it,
/// as a gate that is off has (straight through).
///
/// Serialised as `{ "gates": 1 }` or `{ "fraction": 0.1 }`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MinActive {
    /// This number, or all gates of a layer that has fewer. 0, none, is the default.
    Gates(usize),
    /// This fraction of the gates of a layer, 0 to 1, rounded up.
    #[serde(alias = "share")]
    Fraction(f32),
}

impl Default for MinActive {
    fn default() -> MinActive {
        MinActive::Gates(0)
    }
}

impl MinActive {
    /// `Err` if the fraction is not 0 to 1.
    ///
    /// # Errors
    /// [`Error::Config`] naming it.
    pub fn validate(&self) -> Result<()> {
        match *self {
            MinActive::Fraction(fraction) if !(0.0..=1.0).contains(&fraction) => {
                let (field, rule) = ("min_active.fraction", "must be 0 to 1");
                Err(Error::Config { field, value: fraction.to_string(), rule })
            }
            MinActive::Gates(_) | MinActive::Fraction(_) => Ok(()),
        }
    }

    /// Gates of a layer of `width` gates that stay open.
    #[must_use]
    pub fn count(&self, width: usize) -> usize {
        match *self {
            MinActive::Gates(gates) => gates.min(width),
            // An f32 that stands for 0.1 is slightly above it: 0.1 of 10 gates is 1.
            MinActive::Fraction(fraction) => {
                ((f64::from(fraction) * width as f64 - 1e-6).ceil().max(0.0) as usize).min(width)
            }
        }
    }

    /// Whether it keeps nothing open.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.count(1 << 20) == 0
    }

    /// The training gates (N, C) of logits (N, C), with the gates that stay open at 1. The
    /// layers of the gates have these widths, in order. A gate that is NaN stays NaN.
    ///
    /// # Errors
    /// [`Error::Config`] if the fraction is out of range, [`Error::Shape`] if the shapes differ or
    /// the widths do not add up to C.
    pub fn apply(&self, gates: &Tensor, logits: &Tensor, widths: &[usize]) -> Result<Tensor> {
        self.validate()?;
        check_widths(logits, widths)?;
        ops::check_shape("min_active", "the gates must be of the logits", gates, logits.shape())?;
        if self.is_none() {
            return Ok(gates.clone());
        }
        let mut values = storage::take(gates.len());
        values.copy_from_slice(gates.data());
        self.for_open(logits.data(), widths, |at| {
            if !values[at].is_nan() {
                values[at] = 1.0;
            }
        });
        Tensor::from_op(values, gates.shape(), &[gates], |_| MinActiveBackward)
    }

    /// Makes infinite the logits, whole rows of layers of these widths, of the gates that
    /// stay open, so that any threshold opens them. NaN stays NaN.
    ///
    /// # Errors
    /// [`Error::Config`] if the fraction is out of range.
    pub fn raise(&self, logits: &mut [f32], widths: &[usize]) -> Result<()> {
        self.validate()?;
        if self.is_none() {
            return Ok(());
        }
        let mut open = Vec::new();
        self.for_open(logits, widths, |at| open.push(at));
        for at in open {
            if !logits[at].is_nan() {
                logits[at] = f32::INFINITY;
            }
        }
        Ok(())
    }

    /// Calls `each` with the index of every gate that stays open.
    fn for_open(&self, logits: &[f32], widths: &[usize], mut each: impl FnMut(usize)) {
        let mut order = Vec::new();
        let mut start = 0;
        let mut layers = widths.iter().filter(|&&width| width > 0).cycle();
        while start < logits.len()
            && let Some(&width) = layers.next()
        {
            let layer = &logits[start..start + width];
            largest(layer, self.count(width), &mut order).iter().for_each(|&i| each(start + i));
            start += width;
        }
    }
}

#[derive(Debug)]
struct MinActiveBackward;

impl Backward for MinActiveBackward {
    fn name(&self) -> &'static str {
        "min_active"
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

    fn logits() -> Tensor {
        Tensor::new(PREACT.to_vec(), [2, 6]).expect("12 values")
    }

    #[test]
    fn the_largest_of_every_layer_stay_open_and_gradients_pass() {
        let gates = Tensor::full([2, 6], 0.25).expect("small").leaf();
        let open = MinActive::Gates(1).apply(&gates, &logits(), &WIDTHS).expect("fits");
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
        for min_active in [MinActive::Gates(2), MinActive::Fraction(0.5), MinActive::Gates(9)] {
            let closed = Tensor::zeros([2, 6]).expect("small");
            let training = min_active.apply(&closed, &logits(), &WIDTHS).expect("fits");
            let mut raised = PREACT.map(|x| x - 100.0).to_vec();
            min_active.raise(&mut raised, &WIDTHS).expect("in range");
            Estimator::SemHash.eval_in_place(&mut raised, &WIDTHS).expect("whole rows");
            assert_eq!(training.data(), raised, "{min_active:?}");
        }
        let gates = logits();
        let none = MinActive::default().apply(&gates, &logits(), &WIDTHS).expect("fits");
        assert_eq!(none.data(), gates.data());
    }

    #[test]
    fn counts_of_a_layer() {
        assert_eq!([0, 1, 3].map(|width| MinActive::Gates(2).count(width)), [0, 1, 2]);
        let count = |fraction, width| MinActive::Fraction(fraction).count(width);
        assert_eq!([count(0.1, 16), count(0.1, 10), count(0.0, 9), count(1.0, 9)], [2, 1, 0, 9]);
        let error = MinActive::Fraction(1.3).validate().expect_err("above 1").to_string();
        assert!(error.contains("min_active.fraction = 1.3: must be 0 to 1"), "{error}");
        assert!(MinActive::Fraction(f32::NAN).validate().is_err());
    }

    #[test]
    fn nan_shows_and_other_shapes_are_refused() {
        let mut values = PREACT.to_vec();
        values[5] = f32::NAN;
        let logits = Tensor::new(values.clone(), [2, 6]).expect("12 values");
        let open = MinActive::Gates(1).apply(&logits, &logits, &WIDTHS).expect("fits");
        assert!(open.data()[5].is_nan());
        MinActive::Gates(1).raise(&mut values, &WIDTHS).expect("in range");
        assert!(values[5].is_nan());
        let other = Tensor::zeros([2, 5]).expect("small");
        assert!(MinActive::Gates(1).apply(&other, &logits, &WIDTHS).is_err());
        assert!(MinActive::Gates(1).apply(&logits, &logits, &[2, 3]).is_err());
    }
}
