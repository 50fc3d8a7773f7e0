//! The likeliest classes of logits.

use std::cmp::Ordering;

use crate::{Error, Result};

/// One class that a model names for an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction<'a> {
    /// Its number.
    pub class: usize,
    /// Its name.
    pub name: &'a str,
    /// Softmax of the logits, 0 to 1.
    pub probability: f32,
}

/// The `k` largest of the logits (N, K) of each image, the largest first, with the names of the `K`
/// `classes`; of equal ones the first class goes first. All K if `k` is larger.
///
/// ```
/// use gaternet_core::data::top_k;
///
/// let classes = ["cat", "dog", "eel"].map(str::to_owned);
/// let logits = [1.0, 3.0, 2.0, 0.5, 0.0, -1.0]; // of two images, from InferencePlan::run
/// let best = top_k(&logits, &classes, 2)?;
/// assert_eq!(best[0].iter().map(|best| best.name).collect::<Vec<_>>(), ["dog", "eel"]);
/// assert_eq!(best[1][0].name, "cat");
/// # Ok::<_, gaternet_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] if there is no class, the logits are not K an image or one is NaN.
pub fn top_k<'a>(
    logits: &[f32],
    classes: &'a [String],
    k: usize,
) -> Result<Vec<Vec<Prediction<'a>>>> {
    let fail = |rule, got| Err(Error::Shape { op: "top_k", rule, got });
    if classes.is_empty() || !logits.len().is_multiple_of(classes.len()) {
        let got = format!("{} logits for {} classes", logits.len(), classes.len());
        return fail("there must be a class, and a logit for each class an image", got);
    }
    if let Some(at) = logits.iter().position(|logit| logit.is_nan()) {
        let got = format!("one for class {} of image {}", at % classes.len(), at / classes.len());
        return fail("logits must not be NaN", got);
    }
    Ok(logits.chunks_exact(classes.len()).map(|row| best(row, classes, k)).collect())
}

fn best<'a>(row: &[f32], classes: &'a [String], k: usize) -> Vec<Prediction<'a>> {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // Differences of equal infinities are NaN, and they are as likely as the largest.
    let weight = |logit: f32| if logit == largest { 1.0 } else { f64::from(logit - largest).exp() };
    let total: f64 = row.iter().map(|logit| weight(*logit)).sum();
    let mut order: Vec<usize> = (0..row.len()).collect();
    // Stable, and -0 is as large as 0. None is NaN.
    order.sort_by(|a, b| row[*b].partial_cmp(&row[*a]).unwrap_or(Ordering::Equal));
    let named = |class: usize| Prediction {
        class,
        name: &classes[class],
        probability: (weight(row[class]) / total) as f32,
    };
    order.into_iter().take(k).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    #[test]
    fn probabilities_are_the_softmax_and_ties_keep_the_order_of_classes() {
        let classes = classes();
        let best = top_k(&[1.0, 2.0, 2.0, 1e38, -1e38, f32::NEG_INFINITY], &classes, 9);
        let best = best.expect("two images");
        assert_eq!(best[0].iter().map(|best| best.class).collect::<Vec<_>>(), [1, 2, 0]);
        // torch.softmax(torch.tensor([1., 2., 2.]), 0)
        for (got, want) in best[0].iter().zip([0.422_318_8, 0.422_318_8, 0.155_362_4]) {
            assert!((got.probability - want).abs() < 1e-6, "{got:?} is not {want}");
        }
        assert_eq!(
            best[1].iter().map(|best| best.probability).collect::<Vec<_>>(),
            [1.0, 0.0, 0.0]
        );
        assert_eq!(top_k(&[], &classes, 1).expect("no image"), Vec::<Vec<_>>::new());
    }

    #[test]
    fn logits_that_are_not_one_a_class_are_errors() {
        let message = |logits: &[f32], classes: &[String]| {
            top_k(logits, classes, 1).expect_err("refused").to_string()
        };
        assert!(message(&[0.0; 4], &classes()).contains("4 logits for 3 classes"));
        assert!(message(&[], &[]).contains("0 logits for 0 classes"));
        let nan = message(&[0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0], &classes());
        assert!(nan.contains("class 1 of image 1"), "{nan}");
    }
}
