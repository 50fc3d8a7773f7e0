use gaternet_kernels::cuda::sem_hash::{self, Draw};
use gaternet_kernels::cuda::{Clock, CudaBuffer, CudaDevice, CudaGraph};
use gaternet_kernels::reference::philox::philox4x32_10;

use crate::check::{PURPOSES, close, download, upload, values};
use crate::emulator;

const BOUND: f64 = 1e-5;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn soft(x: f64) -> f64 {
    (1.2 * sigmoid(x) - 0.1).clamp(0.0, 1.0)
}

/// Sizes of (N, C), with lengths that are no multiple of 4 or of a block.
const SIZES: [(usize, usize); 5] = [(1, 1), (3, 5), (2, 64), (7, 333), (40, 31)];

fn logits(len: usize) -> Vec<f32> {
    values(1, len).iter().map(|v| 4.0 * v).collect()
}

/// (noisy, gates) of one forward pass.
fn forward(device: &CudaDevice, batch: usize, logits: &[f32], draw: Draw<'_>) -> [Vec<f32>; 2] {
    let unwritten = || upload(device, &vec![f32::NAN; logits.len()]);
    let (mut noisy, mut gates) = (unwritten(), unwritten());
    sem_hash::forward(batch, &upload(device, logits), draw, &mut noisy, &mut gates)
        .expect("a launch");
    [&noisy, &gates].map(|buffer| download(buffer).expect("no fault"))
}

fn check(what: &str, got: &[f32], want: &[f64]) {
    close(what, got, want, BOUND).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn with_given_noise_both_passes_follow_their_equations() {
    let Some(device) = emulator::device() else { return };
    for (batch, columns) in SIZES {
        let what = format!("{batch} x {columns}");
        let logits = logits(batch * columns);
        let noise = values(2, batch * columns);
        let discrete: Vec<u8> = (0..batch).map(|n| [0, 1, 7][n % 3]).collect();
        let (noise_d, discrete_d) =
            (upload(&device, &noise), CudaBuffer::from_slice(&device, &discrete).expect("a copy"));
        let draw = Draw::Given { noise: &noise_d, discrete: &discrete_d };
        let [noisy, gates] = forward(&device, batch, &logits, draw);
        let sums: Vec<f64> = logits.iter().zip(&noise).map(|(p, e)| f64::from(p + e)).collect();
        check(&what, &noisy, &sums);
        let want: Vec<f64> = (0..sums.len())
            .map(|i| match discrete[i / columns] {
                0 => soft(sums[i]),
                _ => f64::from(u8::from(sums[i] > 0.0)),
            })
            .collect();
        check(&what, &gates, &want);

        let grad = values(3, sums.len());
        let mut of_logits = upload(&device, &vec![f32::NAN; sums.len()]);
        let grad_d = upload(&device, &grad);
        sem_hash::backward(&upload(&device, &noisy), &grad_d, &mut of_logits).expect("a launch");
        let want: Vec<f64> = sums
            .iter()
            .zip(&grad)
            .map(|(&g, &grad)| {
                let s = sigmoid(g);
                let inside = (0.0..=1.0).contains(&(1.2 * s - 0.1));
                if inside { f64::from(grad) * 1.2 * s * (1.0 - s) } else { 0.0 }
            })
            .collect();
        check(&what, &download(&of_logits).expect("no fault"), &want);
    }
}

/// What the device is to draw: noise (N, C), and coins (N).
fn drawn(seed: u64, step: u64, stream: u32, batch: usize, columns: usize) -> (Vec<f64>, Vec<bool>) {
    let words = |purpose, index: usize| {
        let counter = [index as u32, stream * PURPOSES + purpose, step as u32, (step >> 32) as u32];
        philox4x32_10(counter, seed)
    };
    let uniform = |word: u32| f64::from((word >> 8) + 1) / f64::from(1 << 24);
    let noise = (0..batch * columns).map(|i| {
        let pair = i % 4 / 2 * 2;
        let words = words(0, i / 4);
        let radius = (-2.0 * uniform(words[pair]).ln()).sqrt();
        let angle = std::f64::consts::TAU * uniform(words[pair + 1]);
        radius * if i % 2 == 0 { angle.cos() } else { angle.sin() }
    });
    (noise.collect(), (0..batch).map(|n| words(1, n)[0] >> 31 == 1).collect())
}

#[test]
fn drawn_noise_and_coins_are_those_of_the_generator() {
    let Some(device) = emulator::device() else { return };
    for (batch, columns) in SIZES {
        for (seed, step, stream) in [(0, 0, 0), (u64::MAX - 5, (3 << 32) + 7, 2)] {
            let clock = Clock::new(&device, seed, step).expect("a clock");
            let zeros = vec![0.0; batch * columns];
            let draw = Draw::Random { clock: &clock, stream };
            let [noisy, gates] = forward(&device, batch, &zeros, draw);
            let (noise, coins) = drawn(seed, step, stream, batch, columns);
            let what = format!("{batch} x {columns}, seed {seed}, step {step}, stream {stream}");
            check(&what, &noisy, &noise);
            let want: Vec<f64> = (0..noise.len())
                .map(|i| match coins[i / columns] {
                    false => soft(noise[i]),
                    true => f64::from(u8::from(noise[i] > 0.0)),
                })
                .collect();
            check(&what, &gates, &want);
        }
    }
}

#[test]
fn the_noise_is_normal_and_the_coins_are_fair() {
    let Some(device) = emulator::device() else { return };
    let (batch, columns) = (2000, 10);
    let clock = Clock::new(&device, 1, 0).expect("a clock");
    let draw = Draw::Random { clock: &clock, stream: 0 };
    let [noise, gates] = forward(&device, batch, &vec![0.0; batch * columns], draw);
    let moment = |power| noise.iter().map(|&v| f64::from(v).powi(power)).sum::<f64>() / 20_000.0;
    // Standard deviations of these averages: 0.007, 0.01, 0.07.
    assert!(moment(1).abs() < 0.03, "mean {}", moment(1));
    assert!((moment(2) - 1.0).abs() < 0.04, "variance {}", moment(2));
    assert!((moment(4) - 3.0).abs() < 0.3, "fourth moment {}", moment(4));
    let hard = |row: &&[f32]| row.iter().all(|&gate| gate == 0.0 || gate == 1.0);
    let hard = gates.chunks(columns).filter(hard).count();
    assert!((900..1100).contains(&hard), "{hard} of 2000 samples are discrete");
}

#[test]
fn a_graph_draws_anew_at_every_step_and_repeats_a_step() {
    let Some(device) = emulator::device() else { return };
    let mut clock = Clock::new(&device, 5, 10).expect("a clock");
    let logits = upload(&device, &[0.0; 12]);
    let mut noisy = upload(&device, &[0.0; 12]);
    let mut gates = upload(&device, &[0.0; 12]);
    let mut work = |clock: &mut Clock| {
        let draw = Draw::Random { clock, stream: 0 };
        sem_hash::forward(3, &logits, draw, &mut noisy, &mut gates)?;
        clock.advance()
    };
    work(&mut clock).expect("a launch loads the kernels");
    let graph = CudaGraph::capture(&device, || work(&mut clock)).expect("a graph");
    let mut seen = Vec::new();
    for step in [11, 12, 11] {
        if step == 11 {
            clock.set(5, 11).expect("a copy");
        }
        graph.launch().expect("a launch");
        assert_eq!(clock.get().expect("a copy"), (5, step + 1));
        seen.push(noisy.to_vec().expect("a copy"));
        check("step", &seen[seen.len() - 1], &drawn(5, step, 0, 3, 4).0);
    }
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn gates_of_evaluation_are_hard_or_soft_and_nan_shows() {
    let Some(device) = emulator::device() else { return };
    let logits = [0.0, -1e-4, 1e-4, -3.0, 3.0, f32::NAN];
    let mut gates = upload(&device, &[7.0; 6]);
    sem_hash::hard(&upload(&device, &logits), &mut gates).expect("a launch");
    let hard = download(&gates).expect("no fault");
    assert_eq!(hard[..5], [1.0, 0.0, 1.0, 0.0, 1.0]);
    assert!(hard[5].is_nan());
    sem_hash::soft(&upload(&device, &logits), &mut gates).expect("a launch");
    let got = download(&gates).expect("no fault");
    let want: Vec<f64> = logits[..5].iter().map(|&p| soft(f64::from(p))).collect();
    check("soft", &got[..5], &want);
    assert!(got[5].is_nan());
    for discrete in [0, 1] {
        let noise = upload(&device, &[0.0]);
        let coins = CudaBuffer::from_slice(&device, &[discrete]).expect("a copy");
        let draw = Draw::Given { noise: &noise, discrete: &coins };
        let [_, gates] = forward(&device, 1, &[f32::NAN], draw);
        assert!(gates[0].is_nan(), "discrete {discrete}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let five = upload(&device, &[0.0; 5]);
    let [mut noisy, mut gates] = [0; 2].map(|_| upload(&device, &[0.0; 5]));
    let mut run = |batch, draw| {
        let error = sem_hash::forward(batch, &five, draw, &mut noisy, &mut gates);
        error.expect_err("refused").to_string()
    };
    let random = |stream| Draw::Random { clock: &clock, stream };
    assert!(run(2, random(0)).contains("5 gates of 2 samples"));
    assert!(run(1, random(1 << 30)).contains("below 2^30"));
    let coins = CudaBuffer::from_slice(&device, &[0, 0]).expect("a copy");
    let error = run(1, Draw::Given { noise: &five, discrete: &coins });
    assert!(error.contains("`discrete` has 2 elements, its dims need 1"), "{error}");
}
