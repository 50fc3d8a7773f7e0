//! What the tests of all optimisers move.

use crate::autograd::Gradients;
use crate::ctx::Ctx;
use crate::ops;
use crate::parameter::Parameter;
use crate::tensor::Tensor;

const NAMES: [&str; 2] = ["a", "b"];

pub(super) fn parameters() -> Vec<(String, Parameter)> {
    let value = |shift: f32| {
        Tensor::new((0..5).map(|i| i as f32 * 0.3 - shift).collect(), [5]).expect("5 values")
    };
    let parameter = |(name, shift): (&str, f32)| (name.to_owned(), Parameter::new(value(shift)));
    NAMES.into_iter().zip([0.7, 0.2]).map(parameter).collect()
}

/// Of the sum of squares: twice the values.
pub(super) fn gradients(parameters: &[(String, Parameter)]) -> Gradients {
    let ctx = Ctx::train(0);
    let squares = |parameter: &Parameter| {
        let value = parameter.value(&ctx);
        ops::mul(&value, &value).and_then(|squares| ops::sum(&squares)).expect("one shape")
    };
    let mut losses = parameters.iter().map(|(_, parameter)| squares(parameter));
    let first = losses.next().expect("at least one");
    let loss = losses.fold(first, |sum, loss| ops::add(&sum, &loss).expect("scalars"));
    loss.backward().expect("in a graph")
}

pub(super) fn values(parameters: &[(String, Parameter)]) -> Vec<Vec<f32>> {
    parameters.iter().map(|(_, parameter)| parameter.tensor().data().to_vec()).collect()
}

pub(super) fn widen(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}
