use gaternet_kernels::cuda::straight_through;

use crate::check::{download, upload, values};
use crate::emulator;

#[test]
fn the_gradient_is_that_of_the_gates_but_none_leads_out() {
    let Some(device) = emulator::device() else { return };
    for len in [0, 1, 1000] {
        let mut logits: Vec<f32> = values(1, len).iter().map(|v| 3.0 * v).collect();
        if let Some(first) = logits.first_mut() {
            *first = 1.0;
        }
        let grad = values(2, len);
        let mut got = upload(&device, &vec![f32::NAN; len]);
        let [logits_d, grad_d] = [&logits, &grad].map(|values| upload(&device, values));
        straight_through::backward(&logits_d, &grad_d, &mut got).expect("a launch");
        let leaves = |g: f32, grad: f32| g.abs() > 1.0 && g * grad < 0.0;
        let want: Vec<f32> = logits
            .iter()
            .zip(&grad)
            .map(|(&g, &grad)| if leaves(g, grad) { 0.0 } else { grad })
            .collect();
        assert_eq!(download(&got), Ok(want), "{len}");
    }
    let (two, mut three) = (upload(&device, &[0.0; 2]), upload(&device, &[0.0; 3]));
    let error = straight_through::backward(&two, &two, &mut three).expect_err("2 is not 3");
    assert!(error.to_string().contains("`grad_logits` has 3 elements"), "{error}");
}
