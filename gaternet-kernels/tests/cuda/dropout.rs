use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::layout::stride;
use gaternet_kernels::cuda::{Clock, CudaDevice, CudaGraph, Stream, bf16, dropout};
use gaternet_kernels::reference::philox::philox4x32_10;

use crate::check::{
    PLANES, PURPOSES, Real, close, dense_len, download_dense, unwritten, upload_dense, values,
    widen,
};
use crate::emulator;

const SEED: u64 = u64::MAX - 5;
const STEP: u64 = (3 << 32) + 7;

/// The random words of the values (N, C, P).
fn words(dims: PlaneDims, stream: u32) -> Vec<u32> {
    let PlaneDims { channels, plane, .. } = dims;
    let word = |i: usize| {
        let (n, c, pixel) = (i / (channels * plane), i / plane % channels, i % plane);
        let at = (n * plane + pixel) * stride(channels) + c;
        let purpose = stream * PURPOSES + PURPOSES - 1;
        let counter = [(at / 4) as u32, purpose, STEP as u32, (STEP >> 32) as u32];
        philox4x32_10(counter, SEED)[at % 4]
    };
    (0..dims.len()).map(word).collect()
}

pub(crate) fn grid<T: Real>(device: &CudaDevice) -> Result<(), String> {
    let clock = Clock::new(device, SEED, STEP).expect("a clock");
    for (i, dims) in PLANES.into_iter().enumerate() {
        let (p, number) = ([0.3, 0.0, 0.999, 0.5][i % 4], [0, 5][i % 2]);
        let x = values(1, dims.len());
        let scale = 1.0 / (1.0 - f64::from(p));
        let dropped = |word: &u32| f64::from(*word) < f64::from(p) * 2.0_f64.powi(32);
        let want: Vec<f64> = words(dims, number)
            .iter()
            .zip(widen(&x))
            .map(|(word, x)| if dropped(word) { 0.0 } else { scale * x })
            .collect();
        let mut y = unwritten::<T>(device, dense_len(dims));
        let stream = Stream { clock: &clock, number };
        dropout::mask(dims, p, stream, &upload_dense(device, dims, &x), &mut y)
            .map_err(|error| error.to_string())?;
        close(&format!("{dims:?}, p {p}, {number}"), &download_dense(dims, &y)?, &want, T::BOUND)?;
    }
    Ok(())
}

#[test]
fn masks_are_those_of_the_generator() {
    let Some(device) = emulator::device() else { return };
    grid::<bf16>(&device).unwrap_or_else(|error| panic!("{error}"));
    grid::<f32>(&device).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_fraction_of_zeros_is_p_and_streams_and_steps_differ() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 4, channels: 32, plane: 256 };
    let ones = upload_dense::<f32>(&device, dims, &vec![1.0; dims.len()]);
    let mask = |step, number| {
        let clock = Clock::new(&device, 1, step).expect("a clock");
        let mut y = unwritten(&device, dense_len(dims));
        dropout::mask(dims, 0.3, Stream { clock: &clock, number }, &ones, &mut y)
            .expect("a launch");
        download_dense(dims, &y).expect("no fault")
    };
    let [mask, again, other_stream, other_step] =
        [(3, 0), (3, 0), (3, 1), (4, 0)].map(|(s, n)| mask(s, n));
    assert_eq!(mask, again);
    let fraction = |both: &dyn Fn(usize) -> bool| {
        (0..dims.len()).filter(|&i| both(i)).count() as f64 / dims.len() as f64
    };
    // Standard deviations of these averages of 32,768: 0.0025, 0.0016.
    for other in [&mask, &other_stream, &other_step] {
        let zeros = fraction(&|i| other[i] == 0.0);
        assert!((zeros - 0.3).abs() < 0.01, "{zeros} are 0");
    }
    for other in [&other_stream, &other_step] {
        let zeros = fraction(&|i| mask[i] == 0.0 && other[i] == 0.0);
        assert!((zeros - 0.09).abs() < 0.007, "{zeros} are 0 in both");
    }
}

#[test]
fn a_graph_draws_anew_at_every_step() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 16, plane: 8 };
    let mut clock = Clock::new(&device, 5, 10).expect("a clock");
    let x = upload_dense::<f32>(&device, dims, &values(1, dims.len()));
    let mut y = unwritten(&device, dense_len(dims));
    let mut work = |clock: &mut Clock| {
        dropout::mask(dims, 0.5, Stream { clock, number: 0 }, &x, &mut y)?;
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
        seen.push(download_dense(dims, &y).expect("no fault"));
    }
    assert_eq!(seen[0], seen[2]);
    assert_ne!(seen[0], seen[1]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 2, plane: 1 };
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let x = unwritten::<f32>(&device, 16);
    let run = |p, number, len| {
        let mut y = unwritten(&device, len);
        let stream = Stream { clock: &clock, number };
        dropout::mask(dims, p, stream, &x, &mut y).expect_err("refused").to_string()
    };
    for p in [1.0, -0.1, f32::NAN] {
        assert!(run(p, 0, 16).contains("p must be at least 0 and below 1"));
    }
    assert!(run(0.5, 1 << 30, 16).contains("below 2^30"));
    assert!(run(0.5, 0, 15).contains("`y` has 15 elements, its dims need 16"));
}
