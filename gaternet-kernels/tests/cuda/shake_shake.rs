use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::{Clock, CudaDevice, Stream, bf16, shake_shake};
use gaternet_kernels::reference::philox::philox4x32_10;
use gaternet_kernels::reference::shake_shake as reference;

use crate::check::{
    PLANES, PURPOSES, Real, close, dense_len, download_dense, unwritten, upload_dense, values,
    widen,
};
use crate::emulator;

const SEED: u64 = 77;
const STEP: u64 = (1 << 32) + 3;

/// The weights of the samples: forward and backward.
fn weights(batch: usize, stream: Option<u32>) -> [Vec<f64>; 2] {
    [0, 1].map(|way| {
        let weight = |n: usize| {
            let Some(stream) = stream else { return 0.5 };
            let purpose = stream * PURPOSES + PURPOSES - 1;
            let counter = [n as u32, purpose, STEP as u32, (STEP >> 32) as u32];
            f64::from((philox4x32_10(counter, SEED)[way] >> 8) + 1) / f64::from(1 << 24)
        };
        (0..batch).map(weight).collect()
    })
}

pub(crate) fn grid<T: Real>(device: &CudaDevice) -> Result<(), String> {
    let clock = Clock::new(device, SEED, STEP).expect("a clock");
    let text = |error: gaternet_kernels::cuda::CudaError| error.to_string();
    for dims in PLANES {
        for number in [None, Some(0), Some(9)] {
            let stream = number.map(|number| Stream { clock: &clock, number });
            let what = |of: &str| format!("{of}, {dims:?}, stream {number:?}");
            let [alpha, beta] = weights(dims.batch, number);
            let [a, b, grad] = [1, 2, 3].map(|seed| values(seed, dims.len()));
            let dense = |values: &[f32]| upload_dense::<T>(device, dims, values);
            let mut y = unwritten::<T>(device, dense_len(dims));
            shake_shake::forward(dims, stream, [&dense(&a), &dense(&b)], &mut y).map_err(text)?;
            let want = reference::forward(&alpha, &widen(&a), &widen(&b));
            close(&what("y"), &download_dense(dims, &y)?, &want, T::BOUND)?;
            let [mut of_a, mut of_b] = [0; 2].map(|_| unwritten::<T>(device, dense_len(dims)));
            shake_shake::backward(dims, stream, &dense(&grad), [&mut of_a, &mut of_b])
                .map_err(text)?;
            let (want_a, want_b) = reference::backward(&beta, &widen(&grad));
            close(&what("a"), &download_dense(dims, &of_a)?, &want_a, T::BOUND)?;
            close(&what("b"), &download_dense(dims, &of_b)?, &want_b, T::BOUND)?;
        }
    }
    Ok(())
}

#[test]
fn both_passes_agree_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    grid::<bf16>(&device).unwrap_or_else(|error| panic!("{error}"));
    grid::<f32>(&device).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_weights_are_uniform_and_forward_and_backward_differ() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 4000, channels: 1, plane: 1 };
    let clock = Clock::new(&device, 1, 0).expect("a clock");
    let stream = Some(Stream { clock: &clock, number: 0 });
    let ones = upload_dense::<f32>(&device, dims, &vec![1.0; dims.batch]);
    let zeros = upload_dense::<f32>(&device, dims, &vec![0.0; dims.batch]);
    let new = || unwritten::<f32>(&device, dense_len(dims));
    let (mut y, mut of_a, mut of_b) = (new(), new(), new());
    shake_shake::forward(dims, stream, [&ones, &zeros], &mut y).expect("a launch");
    shake_shake::backward(dims, stream, &ones, [&mut of_a, &mut of_b]).expect("a launch");
    let [alpha, beta] = [&y, &of_a].map(|buffer| download_dense(dims, buffer).expect("no fault"));
    // Standard deviations of these averages of 4,000: 0.005, 0.005, 0.004.
    let mean = |of: &dyn Fn(usize) -> f32| {
        (0..dims.batch).map(|i| f64::from(of(i))).sum::<f64>() / dims.batch as f64
    };
    for weights in [&alpha, &beta] {
        assert!((mean(&|i| weights[i]) - 0.5).abs() < 0.02);
        assert!((mean(&|i| weights[i] * weights[i]) - 1.0 / 3.0).abs() < 0.02);
    }
    assert!((mean(&|i| alpha[i] * beta[i]) - 0.25).abs() < 0.02, "one depends on the other");
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 2, plane: 1 };
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let (x, short) = (unwritten::<f32>(&device, 16), unwritten::<f32>(&device, 15));
    let mut y = unwritten::<f32>(&device, 16);
    let error =
        shake_shake::forward(dims, None, [&x, &short], &mut y).expect_err("too short").to_string();
    assert!(error.contains("`b` has 15 elements, its dims need 16"), "{error}");
    let stream = Some(Stream { clock: &clock, number: 1 << 30 });
    let error =
        shake_shake::forward(dims, stream, [&x, &x], &mut y).expect_err("no stream").to_string();
    assert!(error.contains("below 2^30"), "{error}");
}
