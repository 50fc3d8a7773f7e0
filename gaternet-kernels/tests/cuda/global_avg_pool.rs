use gaternet_kernels::cuda::{bf16, global_avg_pool};
use gaternet_kernels::{PlaneDims, reference::global_avg_pool as reference};

use crate::check::{
    PLANES, Real, close, dense_len, download, download_dense, unwritten, upload, upload_dense,
    values, widen,
};
use crate::emulator;

fn grid<T: Real>() -> Result<(), String> {
    let Some(device) = emulator::device() else { return Ok(()) };
    for dims in PLANES {
        let (x, grad) = (values(1, dims.len()), values(2, dims.batch * dims.channels));
        let mut y = upload(&device, &vec![f32::NAN; grad.len()]);
        global_avg_pool::forward(dims, &upload_dense::<T>(&device, dims, &x), &mut y)
            .map_err(|error| error.to_string())?;
        let want = reference::forward(dims, &widen(&x));
        close(&format!("forward, {dims:?}"), &download(&y)?, &want, 1e-5)?;
        let mut grad_x = unwritten::<T>(&device, dense_len(dims));
        global_avg_pool::backward(dims, &upload(&device, &grad), &mut grad_x)
            .map_err(|error| error.to_string())?;
        let want = reference::backward(dims, &widen(&grad));
        close(&format!("backward, {dims:?}"), &download_dense(dims, &grad_x)?, &want, T::BOUND)?;
    }
    Ok(())
}

#[test]
fn both_passes_agree_with_the_reference() {
    grid::<bf16>().unwrap_or_else(|error| panic!("{error}"));
    grid::<f32>().unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn empty_planes_and_wrong_lengths_are_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 2, plane: 0 };
    let x = unwritten::<bf16>(&device, 0);
    let mut y = upload(&device, &[0.0; 2]);
    let error = global_avg_pool::forward(dims, &x, &mut y).expect_err("no pixel");
    assert!(error.to_string().contains("a plane must not be empty"), "{error}");
    let error = global_avg_pool::forward(PlaneDims { plane: 1, ..dims }, &x, &mut y);
    let error = error.expect_err("x is too short").to_string();
    assert!(error.contains("`x` has 0 elements, its dims need 16"), "{error}");
}
