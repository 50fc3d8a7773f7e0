use gaternet_kernels::cuda::batch_shaping::forward_backward;
use gaternet_kernels::cuda::gate_loss::Loss;
use gaternet_kernels::cuda::{Clock, CudaDevice, PerStep};

use crate::check::{close, download, upload, values};
use crate::emulator;

/// Density of Beta(a, b), without its constant.
fn shape([a, b]: [f64; 2], x: f64) -> f64 {
    x.powf(a - 1.0) * (1.0 - x).powf(b - 1.0)
}

/// ∫ x^(a-1) (1-x)^(b-1) from 0 to x, of x up to 1/2: the binomial series of the second factor.
fn lower([a, b]: [f64; 2], x: f64) -> f64 {
    let (mut sum, mut factor) = (0.0, 1.0);
    for k in 0..200 {
        let k = f64::from(k);
        sum += factor * x.powf(a + k) / (a + k);
        factor *= (k + 1.0 - b) / (k + 1.0);
    }
    sum
}

/// Distribution function and density.
fn beta([a, b]: [f64; 2], x: f64) -> [f64; 2] {
    let whole = lower([a, b], 0.5) + lower([b, a], 0.5);
    let below = if x < 0.5 { lower([a, b], x) } else { whole - lower([b, a], 1.0 - x) };
    [below / whole, shape([a, b], x) / whole]
}

/// Loss, totals and gradient at a step that counts and at one that does not.
pub(crate) fn check(
    device: &CudaDevice,
    batch: usize,
    gates: usize,
    prior: [f64; 2],
) -> Result<(), String> {
    let len = batch * gates;
    let mut logits: Vec<f32> = values(1, len).iter().map(|v| 6.0 * v).collect();
    // Equals, and beyond the margins.
    for (i, value) in [(0, 0.5), (gates, 0.5), (2 * gates, -40.0), (3 * gates, 20.0)] {
        if let Some(place) = logits.get_mut(i) {
            *place = value;
        }
    }
    let (mut loss, mut want) = (0.0, vec![0.0; len]);
    for gate in 0..gates {
        let p = |n: usize| f64::from(1.0 / (1.0 + (-logits[n * gates + gate]).exp()));
        for n in 0..batch {
            let first = |i: usize| p(i) < p(n) || (p(i) == p(n) && i < n);
            let rank = (0..batch).filter(|&i| first(i)).count() + 1;
            let [below, density] = beta(prior, p(n).clamp(1e-6, 1.0 - 1e-6));
            let distance = below - rank as f64 / (batch + 1) as f64;
            loss += distance * distance / len as f64;
            want[n * gates + gate] = 2.0 / len as f64 * distance * density * p(n) * (1.0 - p(n));
        }
    }
    let before = values(2, len).iter().map(|v| 0.01 * v).collect::<Vec<f32>>();
    let weights = upload(device, &[3.0, 0.75, 0.0]);
    for (step, weight) in [(1, 0.75), (2, 0.0)] {
        let clock = Clock::new(device, 0, step).map_err(|error| error.to_string())?;
        let mut grad = upload(device, &before);
        let [mut result, mut totals] =
            [[f32::NAN; 1].to_vec(), vec![1.0, 2.0]].map(|v| upload(device, &v));
        let mut scratch = upload(device, &vec![f32::NAN; gates]);
        let mut into = Loss {
            grad: &mut grad,
            result: &mut result,
            totals: &mut totals,
            scratch: &mut scratch,
        };
        let weights = PerStep { clock: &clock, values: &weights };
        forward_backward(prior, batch, &upload(device, &logits), weights, &mut into)
            .map_err(|error| error.to_string())?;
        let what = format!("{batch} x {gates} of {prior:?}, step {step}");
        close(&format!("loss of {what}"), &download(&result)?, &[loss], 1e-5)?;
        let counted = 1.0 + batch as f64 * weight * loss;
        close(&format!("totals of {what}"), &download(&totals)?, &[counted, 2.0], 1e-5)?;
        let want: Vec<f64> =
            want.iter().zip(&before).map(|(w, &b)| f64::from(b) + weight * w).collect();
        close(&format!("gradient of {what}"), &download(&grad)?, &want, 1e-5)?;
    }
    Ok(())
}

#[test]
fn loss_and_gradient_are_those_of_the_distribution() {
    let Some(device) = emulator::device() else { return };
    for (batch, gates, prior) in [
        (1, 1, [0.6, 0.4]),
        (7, 3, [0.6, 0.4]),
        (40, 5, [2.0, 3.0]),
        (300, 2, [1.0, 1.0]),
        (33, 4, [0.3, 6.0]),
    ] {
        check(&device, batch, gates, prior).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let refusal = |prior, batch, len: usize| {
        let [mut grad, mut result, mut totals, mut scratch, weights] =
            [len, 1, 2, len, 1].map(|len| upload(&device, &vec![0.0; len]));
        let mut into = Loss {
            grad: &mut grad,
            result: &mut result,
            totals: &mut totals,
            scratch: &mut scratch,
        };
        let weight = PerStep { clock: &clock, values: &weights };
        let error =
            forward_backward(prior, batch, &upload(&device, &vec![0.0; len]), weight, &mut into);
        error.expect_err("refused").to_string()
    };
    assert!(refusal([0.6, 0.4], 2, 5).contains("5 gates of 2 samples"));
    assert!(refusal([0.6, 0.4], 13_000, 13_000).contains("1 to 12,280 samples"));
    assert!(refusal([0.6, 0.0], 2, 4).contains("0.6 and 0"));
}
