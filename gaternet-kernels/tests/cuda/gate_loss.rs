use gaternet_kernels::cuda::gate_loss::{Loss, l1, l1_scratch_len};
use gaternet_kernels::cuda::{Clock, CudaBuffer, PerStep};

use crate::check::{close, download, gates, upload, values, widen};
use crate::emulator;

#[test]
fn the_loss_is_the_mean_size_and_its_gradient_is_added() {
    let Some(device) = emulator::device() else { return };
    for len in [1, 5, 1024, 1025, 300_000] {
        // Off, on, soft, and of either sign.
        let open = gates(1, 1, len, 0.5);
        let values: Vec<f32> = values(2, len).iter().zip(&open).map(|(v, g)| v * g).collect();
        let before = crate::check::values(3, len);
        // Of the steps 0, 1 and those that follow.
        let weights = upload(&device, &[7.0, 0.25, 0.0]);
        let gates = upload(&device, &values);
        let values = widen(&values);
        let mean = values.iter().map(|v| v.abs()).sum::<f64>() / len as f64;
        let open = values.iter().filter(|&&v| v != 0.0).count() as f64 / len as f64;
        for (step, weight) in [(1, 0.25), (9, 0.0)] {
            let clock = Clock::new(&device, 0, step).expect("a clock");
            let mut grad = upload(&device, &before);
            let mut scratch = upload(&device, &vec![f32::NAN; l1_scratch_len(len)]);
            let mut result = upload(&device, &[f32::NAN]);
            let mut totals = upload(&device, &[1.0, 2.0]);
            let mut into = Loss {
                grad: &mut grad,
                result: &mut result,
                totals: &mut totals,
                scratch: &mut scratch,
            };
            let weights = PerStep { clock: &clock, values: &weights };
            l1(3, &gates, weights, &mut into).expect("a launch");
            let check = |what: &str, got: &CudaBuffer<f32>, want: &[f64], bound| {
                let got = download(got).expect("no fault");
                close(&format!("{what} of {len}, step {step}"), &got, want, bound)
                    .unwrap_or_else(|error| panic!("{error}"));
            };
            check("loss", &result, &[mean], 1e-5);
            check("totals", &totals, &[1.0 + 3.0 * weight * mean, 2.0 + 3.0 * open], 1e-5);
            let sign = |v: f64| if v == 0.0 { 0.0 } else { v.signum() };
            let slope = weight / len as f64;
            let want: Vec<f64> =
                values.iter().zip(&before).map(|(&v, &b)| f64::from(b) + slope * sign(v)).collect();
            check("gradient", &grad, &want, 1e-6);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let clock = Clock::new(&device, 0, 0).expect("a clock");
    let [none, two] = [0, 2].map(|len| upload(&device, &vec![0.0; len]));
    let refusal = |gates, weights, grad_len: usize| {
        let [mut grad, mut result, mut totals, mut scratch] =
            [grad_len, 1, 2, 2].map(|len| upload(&device, &vec![0.0; len]));
        let mut into = Loss {
            grad: &mut grad,
            result: &mut result,
            totals: &mut totals,
            scratch: &mut scratch,
        };
        let weights = PerStep { clock: &clock, values: weights };
        l1(1, gates, weights, &mut into).expect_err("refused").to_string()
    };
    assert!(refusal(&none, &two, 0).contains("there must be a gate"));
    assert!(refusal(&two, &none, 2).contains("there must be a step"));
    let error = refusal(&two, &two, 3);
    assert!(error.contains("`grad_gates` has 3 elements, its dims need 2"), "{error}");
}
