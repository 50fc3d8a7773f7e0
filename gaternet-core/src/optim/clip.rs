//! Gradients kept from exploding.

use std::collections::HashSet;

use gaternet_kernels::cpu::elementwise;

use crate::autograd::Gradients;
use crate::error::{Error, Result};
use crate::parameter::Parameter;
use crate::storage;
use crate::tensor::Tensor;

/// Added to the norm before it divides, as in PyTorch.
const EPS: f64 = 1e-6;

/// `torch.nn.utils.clip_grad_norm_`: multiplies the gradients of `parameters` by
/// `min(1, max_norm / (norm + 1e-6))`, where `norm` is the Euclidean norm of all of them together,
/// and returns the norm they had. If that is not finite, neither are the gradients after.
/// [Frozen](Parameter::set_requires_grad) parameters have none and do not count.
///
/// # Errors
/// [`Error::Config`] if `max_norm` is negative or NaN, [`Error::MissingGradient`], naming the
/// parameter, if one has none; then no gradient has changed.
pub fn clip_grad_norm(
    parameters: &[(String, Parameter)],
    gradients: &mut Gradients,
    max_norm: f32,
) -> Result<f32> {
    if max_norm.is_nan() || max_norm < 0.0 {
        let rule = "must be a number and not negative";
        return Err(Error::Config { field: "max_norm", value: max_norm.to_string(), rule });
    }
    // A parameter that two layers share has one gradient.
    let mut seen = HashSet::new();
    let mut once = |p: &Parameter| p.requires_grad() && seen.insert(p.id());
    let distinct: Vec<_> = parameters.iter().filter(|(_, p)| once(p)).collect();
    let mut squares = 0.0;
    for (name, parameter) in &distinct {
        let gradient = gradients.get(parameter).map_err(|_| Error::MissingGradient {
            what: format!("parameter `{name}`"),
            rule: "the loss was not computed from it",
        })?;
        squares += elementwise::sum_squares(gradient.data());
    }
    let norm = squares.sqrt();
    let factor = f64::from(max_norm) / (norm + EPS);
    // A factor that is NaN shows in the gradients.
    if factor < 1.0 || factor.is_nan() {
        for (_, parameter) in distinct {
            let gradient = gradients.get(parameter)?;
            let mut clipped = storage::take(gradient.len());
            elementwise::scale(gradient.isa()?, gradient.data(), factor as f32, &mut clipped)?;
            let clipped = Tensor::new(clipped, gradient.shape())?.on(gradient.own_isa());
            gradients.insert(parameter, &clipped)?;
        }
    }
    Ok(norm as f32)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::ctx::Ctx;
    use crate::ops;

    fn parameter(name: &str, values: &[f32]) -> (String, Parameter) {
        let value = Tensor::new(values.to_vec(), [values.len()]).expect("one row");
        (name.to_owned(), Parameter::new(value))
    }

    /// Of half the sum of squares: the values themselves.
    fn gradients(parameters: &[(String, Parameter)]) -> Gradients {
        let ctx = Ctx::train(0);
        let mut loss = Tensor::scalar(0.0);
        for (_, parameter) in parameters {
            let value = parameter.value(&ctx);
            let squares = ops::mul(&value, &value).and_then(|s| ops::sum(&s)).expect("one shape");
            loss = ops::add(&loss, &ops::scale(&squares, 0.5).expect("any")).expect("scalars");
        }
        loss.backward().expect("in a graph")
    }

    #[test]
    fn the_norm_is_that_of_all_gradients_and_only_long_ones_shrink() {
        let parameters = [parameter("a", &[3.0, 0.0]), parameter("b", &[4.0])];
        for (max_norm, factor) in [(10.0, 1.0), (2.5, 0.5), (0.0, 0.0), (f32::INFINITY, 1.0)] {
            let mut gradients = gradients(&parameters);
            let norm = clip_grad_norm(&parameters, &mut gradients, max_norm).expect("all there");
            assert_eq!(norm, 5.0);
            for (_, parameter) in &parameters {
                let (got, whole) = (gradients.get(parameter).expect("there"), parameter.tensor());
                for (got, whole) in got.data().iter().zip(whole.data()) {
                    assert!((got - factor * whole).abs() < 1e-5, "{max_norm}: {got} of {whole}");
                }
            }
        }
    }

    #[test]
    fn a_shared_parameter_counts_once() {
        let parameters = [parameter("a", &[3.0]), parameter("b", &[4.0])];
        let mut gradients = gradients(&parameters);
        let [a, b] = parameters;
        let again = [a.clone(), b, ("tied".to_owned(), a.1.clone())];
        let norm = clip_grad_norm(&again, &mut gradients, 2.5).expect("all there");
        assert_eq!(norm, 5.0);
        let clipped = gradients.get(&a.1).expect("there").data();
        assert_abs_diff_eq!(clipped[0], 1.5, epsilon = 1e-5);
    }

    #[test]
    fn a_frozen_parameter_does_not_count() {
        let parameters = [parameter("a", &[3.0]), parameter("b", &[4.0])];
        parameters[0].1.set_requires_grad(false);
        let mut gradients = gradients(&parameters);
        let norm = clip_grad_norm(&parameters, &mut gradients, 10.0).expect("b has one");
        assert_eq!(norm, 4.0);
    }

    #[test]
    fn what_cannot_be_clipped_is_named_and_nan_shows() {
        let (a, b) = (parameter("a", &[3.0]), parameter("b", &[4.0]));
        let mut some = gradients(std::slice::from_ref(&a));
        let both = [a.clone(), b];
        let text = clip_grad_norm(&both, &mut some, 1.0).expect_err("b has none").to_string();
        assert!(text.contains("parameter `b`"), "{text}");
        assert_eq!(some.get(&a.1).expect("there").data(), [3.0]);
        for max_norm in [-1.0, f32::NAN] {
            assert!(clip_grad_norm(&[], &mut some, max_norm).is_err());
        }
        let bad = [parameter("a", &[f32::NAN, 1.0])];
        let mut gradients = gradients(&bad);
        assert!(clip_grad_norm(&bad, &mut gradients, 1.0).expect("there").is_nan());
        assert!(gradients.get(&bad[0].1).expect("there").data().iter().all(|x| x.is_nan()));
    }
}
