use gaternet_kernels::cuda::gumbel_sigmoid::{self, Noise};
use gaternet_kernels::cuda::{Clock, CudaDevice, PerStep};
use gaternet_kernels::reference::philox::philox4x32_10;

use crate::check::{PURPOSES, close, download, upload, values};
use crate::emulator;

const BOUND: f64 = 1e-5;
/// Of the steps 0, 1 and those that follow.
const TAUS: [f32; 3] = [9.0, 2.0, 0.5];

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// (noisy, gates) of one forward pass.
fn forward(
    device: &CudaDevice,
    logits: &[f32],
    noise: Noise<'_>,
    clock: &Clock,
    hard: bool,
) -> Result<[Vec<f32>; 2], String> {
    let taus = upload(device, &TAUS);
    let tau = PerStep { clock, values: &taus };
    let [mut noisy, mut gates] = [(); 2].map(|()| upload(device, &vec![f32::NAN; logits.len()]));
    gumbel_sigmoid::forward(&upload(device, logits), noise, tau, hard, &mut noisy, &mut gates)
        .map_err(|error| error.to_string())?;
    Ok([download(&noisy)?, download(&gates)?])
}

/// Both passes with given noise at the first steps.
pub(crate) fn check(device: &CudaDevice, len: usize, hard: bool) -> Result<(), String> {
    let (logits, noise) = (values(1, len), values(2, len));
    let noise_d = upload(device, &noise);
    for (step, tau) in [(1, 2.0), (5, 0.5)] {
        let clock = Clock::new(device, 0, step).map_err(|error| error.to_string())?;
        let what = format!("{len}, hard {hard}, step {step}");
        let [noisy, gates] = forward(device, &logits, Noise::Given(&noise_d), &clock, hard)?;
        let sums: Vec<f64> = logits.iter().zip(&noise).map(|(p, e)| f64::from(p + e)).collect();
        close(&what, &noisy, &sums, BOUND)?;
        let gate = |&g: &f64| match hard {
            true => f64::from(u8::from(g > 0.0)),
            false => sigmoid(g / tau),
        };
        close(&what, &gates, &sums.iter().map(gate).collect::<Vec<_>>(), BOUND)?;

        let grad = values(3, len);
        let mut of_logits = upload(device, &vec![f32::NAN; len]);
        let [noisy, grad_d, taus] = [&noisy, &grad, &TAUS.to_vec()].map(|v| upload(device, v));
        let per_step = PerStep { clock: &clock, values: &taus };
        gumbel_sigmoid::backward(&noisy, &grad_d, per_step, &mut of_logits)
            .map_err(|error| error.to_string())?;
        let slope = |&g: &f64| sigmoid(g / tau) * (1.0 - sigmoid(g / tau)) / tau;
        let want: Vec<f64> =
            sums.iter().map(slope).zip(&grad).map(|(s, &g)| s * f64::from(g)).collect();
        close(&what, &download(&of_logits)?, &want, BOUND)?;
    }
    Ok(())
}

#[test]
fn with_given_noise_both_passes_follow_their_equations() {
    let Some(device) = emulator::device() else { return };
    for len in [1, 37, 2331] {
        for hard in [false, true] {
            check(&device, len, hard).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    let (clock, zero) = (Clock::new(&device, 0, 0).expect("a clock"), upload(&device, &[0.0]));
    for hard in [false, true] {
        let gates = forward(&device, &[f32::NAN], Noise::Given(&zero), &clock, hard);
        assert!(gates.expect("no fault")[1][0].is_nan(), "hard {hard}");
    }
}

#[test]
fn drawn_noise_is_that_of_the_generator() {
    let Some(device) = emulator::device() else { return };
    for (seed, step, stream) in [(0, 0, 0u32), (u64::MAX - 5, (3 << 32) + 7, 2)] {
        let clock = Clock::new(&device, seed, step).expect("a clock");
        let noise = Noise::Random { stream };
        let [noisy, _] = forward(&device, &[0.0; 41], noise, &clock, true).expect("no fault");
        // Noise is the first purpose of a stream.
        let drawn = |i: usize| {
            let counter = [(i / 4) as u32, stream * PURPOSES, step as u32, (step >> 32) as u32];
            let part = f64::from(philox4x32_10(counter, seed)[i % 4] >> 8);
            let u = (part + 0.5) / f64::from(1 << 24);
            u.ln() - (-u).ln_1p()
        };
        let want: Vec<f64> = (0..41).map(drawn).collect();
        close(&format!("step {step}"), &noisy, &want, BOUND).unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_noise_is_logistic() {
    let Some(device) = emulator::device() else { return };
    let clock = Clock::new(&device, 1, 0).expect("a clock");
    let noise = Noise::Random { stream: 0 };
    let [noise, _] = forward(&device, &[0.0; 20_000], noise, &clock, true).expect("no fault");
    for x in [-3.0, -1.0, 0.0, 0.5, 2.0] {
        let below = noise.iter().filter(|&&e| f64::from(e) < x).count() as f64 / 20_000.0;
        // The standard deviation of this fraction is 0.0036 at most.
        assert!((below - sigmoid(x)).abs() < 0.015, "{below} below {x}, not {}", sigmoid(x));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let three = upload(&device, &[0.0; 3]);
    let error = |noise| forward(&device, &[0.0; 5], noise, &clock, true).expect_err("refused");
    assert!(error(Noise::Given(&three)).contains("`noise` has 3 elements, its dims need 5"));
    assert!(error(Noise::Random { stream: 1 << 30 }).contains("below 2^30"));
}
