use gaternet_kernels::cuda::{CudaDevice, SharedGates, repeat_interleave};

use crate::check::{close, download, upload, values, widen};
use crate::emulator;

/// Runs both passes for shared gates of these numbers of filters.
pub(crate) fn check(device: &CudaDevice, sizes: &[usize], batch: usize) -> Result<(), String> {
    let shared = SharedGates::new(device, sizes).map_err(|error| error.to_string())?;
    let filters: usize = sizes.iter().sum();
    let shared_gates = values(1, batch * sizes.len());
    let mut gates = upload(device, &vec![f32::NAN; batch * filters]);
    repeat_interleave::forward(&shared, &upload(device, &shared_gates), &mut gates)
        .map_err(|error| error.to_string())?;
    let expand = |(&gate, &size): (&f32, &usize)| std::iter::repeat_n(gate, size);
    let want: Vec<f32> = shared_gates.iter().zip(sizes.iter().cycle()).flat_map(expand).collect();
    if download(&gates)? != want {
        return Err(format!("{sizes:?}: other gates"));
    }
    let grad = values(2, batch * filters);
    let mut shared_gates = upload(device, &vec![f32::NAN; batch * sizes.len()]);
    repeat_interleave::backward(&shared, &upload(device, &grad), &mut shared_gates)
        .map_err(|error| error.to_string())?;
    let mut rest = &widen(&grad)[..];
    let mut want = Vec::new();
    for &size in sizes.iter().cycle().take(batch * sizes.len()) {
        let (own, after) = rest.split_at(size);
        want.push(own.iter().sum());
        rest = after;
    }
    close(&format!("gradient of {sizes:?}"), &download(&shared_gates)?, &want, 1e-6)
}

#[test]
fn filters_have_the_gate_of_their_group_and_its_gradient_is_their_sum() {
    let Some(device) = emulator::device() else { return };
    for (sizes, batch) in
        [(&[1][..], 1), (&[4, 4, 2, 1], 3), (&[32; 40], 9), (&[3, 1, 5], 200), (&[], 2), (&[2], 0)]
    {
        check(&device, sizes, batch).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let shared = SharedGates::new(&device, &[2, 1]).expect("few");
    let shared_gates = upload(&device, &[0.0; 4]);
    let mut gates = upload(&device, &[0.0; 5]);
    let error = repeat_interleave::forward(&shared, &shared_gates, &mut gates).expect_err("5 of 6");
    assert!(error.to_string().contains("`filters` has 5 elements, its dims need 6"), "{error}");
}
