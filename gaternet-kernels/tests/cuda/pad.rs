use gaternet_kernels::PadDims;
use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::{CudaDevice, bf16, pad};
use gaternet_kernels::reference::pad as reference;

use crate::check::{
    Real, close, dense_len, download_dense, unwritten, upload_dense, values, widen,
};
use crate::emulator;

pub(crate) fn grid<T: Real>(device: &CudaDevice) -> Result<(), String> {
    let text = |error: gaternet_kernels::cuda::CudaError| error.to_string();
    for (batch, channels, size) in [(2, 1, [1, 1]), (3, 20, [4, 5]), (1, 300, [9, 16])] {
        for padding in [[0; 4], [1, 2, 3, 0], [0, 1, -3, 4], [-4, 9, 9, -3], [-1, 1, -1, 1]] {
            let Ok(dims) = PadDims::new(batch * channels, size, padding) else { continue };
            let of = |[h, w]: [usize; 2]| PlaneDims { batch, channels, plane: h * w };
            let (of_x, of_y) = (of(size), of(dims.out_size()));
            let what = format!("{channels} channels of {size:?}, {padding:?}");
            let (x, grad) = (values(1, of_x.len()), values(2, of_y.len()));
            let mut y = unwritten::<T>(device, dense_len(of_y));
            pad::forward(batch, &dims, &upload_dense(device, of_x, &x), &mut y).map_err(text)?;
            let want = reference::forward(size, padding, &widen(&x));
            close(&what, &download_dense(of_y, &y)?, &want, 0.0)?;
            let mut back = unwritten::<T>(device, dense_len(of_x));
            pad::forward(batch, &dims.inverse(), &upload_dense(device, of_y, &grad), &mut back)
                .map_err(text)?;
            let want =
                reference::forward(dims.out_size(), padding.map(|side| -side), &widen(&grad));
            close(&format!("{what}, back"), &download_dense(of_x, &back)?, &want, 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn borders_agree_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    grid::<bf16>(&device).unwrap_or_else(|error| panic!("{error}"));
    grid::<f32>(&device).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PadDims::new(3, [2, 2], [1, 0, 0, 0]).expect("valid");
    let x = unwritten::<f32>(&device, 64);
    let mut y = unwritten::<f32>(&device, 64);
    let error = pad::forward(2, &dims, &x, &mut y).expect_err("3 of 2").to_string();
    assert!(error.contains("3 planes of 2 samples"), "{error}");
    let error = pad::forward(1, &dims, &x, &mut y).expect_err("too short").to_string();
    assert!(error.contains("`y` has 64 elements, its dims need 96"), "{error}");
}
