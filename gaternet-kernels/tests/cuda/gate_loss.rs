use gaternet_kernels::cuda::gate_loss::{Loss, WeightedGradient, l1, l1_scratch_len};

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
        let weight = upload(&device, &[0.25]);
        let mut grad = upload(&device, &before);
        let mut scratch = upload(&device, &vec![f32::NAN; l1_scratch_len(len)]);
        let mut loss = upload(&device, &[f32::NAN]);
        let gates = upload(&device, &values);
        let gradient = Some(WeightedGradient { weight: &weight, gates: &mut grad });
        let mut totals = upload(&device, &[1.0, 2.0]);
        let into =
            Loss { result: &mut loss, totals: Some((3, &mut totals)), scratch: &mut scratch };
        l1(&gates, gradient, into).expect("a launch");
        let values = widen(&values);
        let want = values.iter().map(|v| v.abs()).sum::<f64>() / len as f64;
        let got = download(&loss).expect("no fault");
        close(&format!("loss of {len}"), &got, &[want], 1e-5).unwrap_or_else(|e| panic!("{e}"));
        let open = values.iter().filter(|&&v| v != 0.0).count() as f64 / len as f64;
        let totals = download(&totals).expect("no fault");
        close("totals", &totals, &[1.0 + 3.0 * want, 2.0 + 3.0 * open], 1e-5)
            .unwrap_or_else(|e| panic!("{e}"));
        let sign = |v: f64| if v == 0.0 { 0.0 } else { v.signum() };
        let share = 0.25 / len as f64;
        let want: Vec<f64> =
            values.iter().zip(&before).map(|(&v, &b)| f64::from(b) + share * sign(v)).collect();
        let got_grad = download(&grad).expect("no fault");
        close(&format!("gradient of {len}"), &got_grad, &want, 1e-6)
            .unwrap_or_else(|e| panic!("{e}"));

        let into = Loss { result: &mut loss, totals: None, scratch: &mut scratch };
        l1(&gates, None, into).expect("a launch");
        assert_eq!(download(&loss), Ok(got), "without a gradient");
        assert_eq!(download(&grad), Ok(got_grad), "without a gradient");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let [none, two] = [0, 2].map(|len| upload(&device, &vec![0.0; len]));
    let [mut scratch, mut loss, mut grad] = [2, 1, 3].map(|len| upload(&device, &vec![0.0; len]));
    let into = Loss { result: &mut loss, totals: None, scratch: &mut scratch };
    let error = l1(&none, None, into).expect_err("no gate");
    assert!(error.to_string().contains("there must be a gate"), "{error}");
    let gradient = Some(WeightedGradient { weight: &two, gates: &mut grad });
    let into = Loss { result: &mut loss, totals: None, scratch: &mut scratch };
    let error = l1(&two, gradient, into).expect_err("two weights");
    assert!(error.to_string().contains("`weight` has 2 elements, its dims need 1"), "{error}");
}
