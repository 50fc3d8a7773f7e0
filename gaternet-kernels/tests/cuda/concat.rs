use gaternet_kernels::PlaneDims;
use gaternet_kernels::cuda::{CudaDevice, bf16, concat};
use gaternet_kernels::reference::concat as reference;

use crate::check::{
    Real, close, dense_len, download_dense, unwritten, upload_dense, values, widen,
};
use crate::emulator;

/// Batch, pixels, and the channels of both: on and beside multiples of 8, of 16 and of a block.
const CASES: [(usize, usize, [usize; 2]); 7] = [
    (3, 1, [1, 1]),
    (2, 35, [16, 16]),
    (1, 49, [24, 12]),
    (2, 9, [13, 60]),
    (2, 5, [250, 70]),
    (1, 300, [7, 3]),
    (2, 4, [300, 300]),
];

pub(crate) fn grid<T: Real>(device: &CudaDevice) -> Result<(), String> {
    let text = |error: gaternet_kernels::cuda::CudaError| error.to_string();
    for (batch, plane, parts) in CASES {
        let [of_a, of_b] = parts.map(|channels| PlaneDims { batch, channels, plane });
        let of_y = PlaneDims { channels: parts[0] + parts[1], ..of_a };
        let (a, b) = (values(1, of_a.len()), values(2, of_b.len()));
        let mut y = unwritten::<T>(device, dense_len(of_y));
        let both = [&upload_dense::<T>(device, of_a, &a), &upload_dense::<T>(device, of_b, &b)];
        concat::forward(of_y, parts[0], both, &mut y).map_err(text)?;
        let want = reference::forward(batch, &[&widen(&a), &widen(&b)]);
        close(&format!("{of_y:?} of {parts:?}"), &download_dense(of_y, &y)?, &want, 0.0)?;
        for (dims, first, want) in [(of_a, 0, &a), (of_b, parts[0], &b)] {
            let mut part = unwritten::<T>(device, dense_len(dims));
            concat::split(dims, first, of_y.channels, &y, &mut part).map_err(text)?;
            let what = format!("{dims:?} from {first}");
            close(&what, &download_dense(dims, &part)?, &widen(want), 0.0)?;
        }
    }
    Ok(())
}

#[test]
fn channels_stand_side_by_side_and_come_back() {
    let Some(device) = emulator::device() else { return };
    grid::<bf16>(&device).unwrap_or_else(|error| panic!("{error}"));
    grid::<f32>(&device).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 20, plane: 1 };
    let [a, b] = [0; 2].map(|_| unwritten::<f32>(&device, 16));
    let mut y = unwritten::<f32>(&device, 32);
    let mut join =
        |first| concat::forward(dims, first, [&a, &b], &mut y).expect_err("refused").to_string();
    assert!(join(21).contains("the result must have the channels of both"));
    assert!(join(17).contains("`a` has 16 elements, its dims need 32"));
    let error =
        concat::split(PlaneDims { channels: 3, ..dims }, 18, 20, &y, &mut unwritten(&device, 16));
    let error = error.expect_err("beyond").to_string();
    assert!(error.contains("the channels must be some of x"), "{error}");
}
