//! The largest logits of each layer.

use crate::autograd::Backward;
use crate::error::Result;
use crate::gate::sem_hash::sigmoid;
use crate::storage;
use crate::tensor::Tensor;

use super::check_widths;

/// The gates (N, C) of [`Estimator::TopK`](super::Estimator::TopK).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the widths do not add up to C.
pub(super) fn top_k(logits: &Tensor, widths: &[usize], density: f32) -> Result<Tensor> {
    check_widths(logits, widths)?;
    let mut gates = storage::take(logits.len());
    gates.copy_from_slice(logits.data());
    open_largest(&mut gates, widths, density);
    Tensor::from_op(gates, logits.shape(), &[logits], |_| TopK { logits: logits.detach() })
}

/// Open filters of a layer of `width`, at least 1.
pub(super) fn count(density: f32, width: usize) -> usize {
    ((density * width as f32).round() as usize).clamp(1, width)
}

/// Turns rows of logits into gates; a logit that is NaN is a gate that is NaN.
pub(super) fn open_largest(rows: &mut [f32], widths: &[usize], density: f32) {
    let mut order: Vec<usize> = Vec::new();
    let mut layers = widths.iter().filter(|&&width| width > 0).cycle();
    let mut rest = rows;
    while !rest.is_empty()
        && let Some(&width) = layers.next()
    {
        let (layer, after) = rest.split_at_mut(width);
        rest = after;
        let k = count(density, width);
        largest(layer, k, &mut order);
        for (rank, &i) in order.iter().enumerate() {
            if !layer[i].is_nan() {
                layer[i] = f32::from(u8::from(rank < k));
            }
        }
    }
}

/// The indices of the `k` largest values, the first of equals; in `order`, those of the others come
/// after them.
pub(in crate::gate) fn largest<'a>(
    values: &[f32],
    k: usize,
    order: &'a mut Vec<usize>,
) -> &'a [usize] {
    order.clear();
    order.extend(0..values.len());
    if let Some(last) = k.checked_sub(1) {
        // The index makes the order total, so which of equals come first is fixed.
        let first = |&a: &usize, &b: &usize| values[b].total_cmp(&values[a]).then(a.cmp(&b));
        order.select_nth_unstable_by(last, first);
    }
    &order[..k]
}

#[derive(Debug)]
struct TopK {
    logits: Tensor,
}

impl Backward for TopK {
    fn name(&self) -> &'static str {
        "top_k"
    }

    fn backward(&self, grad: Tensor, _needs: &[bool]) -> Result<Vec<Option<Tensor>>> {
        let mut grad_p = storage::take(grad.len());
        for ((out, &p), &grad) in grad_p.iter_mut().zip(self.logits.data()).zip(grad.data()) {
            let s = sigmoid(p);
            *out = grad * s * (1.0 - s);
        }
        Ok(vec![Some(Tensor::new(grad_p, grad.shape())?)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    #[test]
    fn each_sample_opens_its_largest_of_each_layer_and_all_have_gradients() {
        #[rustfmt::skip]
        let logits = vec![
            -3.0, -2.0,    0.1, 0.4, 0.3, 0.2,
             5.0,  5.0,   -1.0, 7.0, 7.0, 7.0,
        ];
        let logits = Tensor::new(logits, [2, 6]).expect("12 values").leaf();
        let gates = top_k(&logits, &[2, 4], 0.5).expect("2 + 4 = 6");
        #[rustfmt::skip]
        let want = [
            0.0, 1.0,    0.0, 1.0, 1.0, 0.0,
            1.0, 0.0,    0.0, 1.0, 1.0, 0.0,
        ];
        assert_eq!(gates.data(), want);
        let grads = ops::sum(&gates).and_then(|loss| loss.backward()).expect("in a graph");
        for (&grad, &p) in grads.of(&logits).expect("a leaf").data().iter().zip(logits.data()) {
            let s = 1.0 / (1.0 + (-p).exp());
            assert!((grad - s * (1.0 - s)).abs() < 1e-6, "{grad} at {p}");
        }
    }

    #[test]
    fn at_least_one_filter_is_open_and_at_most_all() {
        let open = |density| {
            let mut gates = [0.3, 0.1, -0.2, 0.0, 0.2];
            open_largest(&mut gates, &[0, 5], density);
            gates.iter().sum::<f32>()
        };
        assert_eq!([0.01, 0.3, 0.5, 0.99, 1.0].map(open), [1.0, 2.0, 3.0, 5.0, 5.0]);
    }
}
