use gaternet_kernels::cuda::sigmoid;
use gaternet_kernels::reference::sigmoid as reference;

use crate::check::{close, download, upload, values, widen};
use crate::emulator;

#[test]
fn both_passes_agree_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    for len in [0, 1, 256, 777] {
        let x: Vec<f32> = values(1, len).iter().map(|x| 8.0 * x).collect();
        let grad = values(2, len);
        let [mut y, mut grad_x] = [0; 2].map(|_| upload(&device, &vec![f32::NAN; len]));
        sigmoid::forward(&upload(&device, &x), &mut y).expect("a launch");
        sigmoid::backward(&y, &upload(&device, &grad), &mut grad_x).expect("a launch");
        let want = reference::forward(&widen(&x));
        let check = |what, got, want| close(what, &download(got)?, want, 1e-5);
        check("y", &y, &want).unwrap_or_else(|error| panic!("{error}"));
        let want = reference::backward(&want, &widen(&grad));
        check("x", &grad_x, &want).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn far_values_saturate_nan_stays_and_lengths_are_checked() {
    let Some(device) = emulator::device() else { return };
    let mut y = upload(&device, &[7.0; 3]);
    sigmoid::forward(&upload(&device, &[-1000.0, 1000.0, f32::NAN]), &mut y).expect("a launch");
    let got = download(&y).expect("no fault");
    assert_eq!(got[..2], [0.0, 1.0]);
    assert!(got[2].is_nan());
    let error = sigmoid::forward(&upload(&device, &[0.0; 2]), &mut y).expect_err("three");
    assert!(error.to_string().contains("`y` has 3 elements, its dims need 2"), "{error}");
}
