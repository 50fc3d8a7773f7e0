use gaternet_kernels::cuda::{CudaBuffer, CudaDevice, avg_pool2d, bf16, max_pool2d};
use gaternet_kernels::reference;
use gaternet_kernels::{PlaneDims, PoolDims};

use crate::check::{
    Real, close, dense_len, download_dense, unwritten, upload_dense, values, widen,
};
use crate::emulator;

type Case = ([usize; 4], [usize; 2], [usize; 2], [usize; 2]);

/// Windows beside each other, that overlap, with gaps between them, with a border; the last is that
/// of an ImageNet ResNet.
const CASES: [Case; 6] = [
    ([2, 3, 8, 8], [2, 2], [2, 2], [0, 0]),
    ([1, 17, 7, 5], [3, 2], [2, 1], [1, 1]),
    ([2, 300, 4, 9], [4, 4], [4, 4], [0, 0]),
    ([3, 20, 5, 6], [1, 1], [2, 2], [0, 0]),
    ([1, 4, 3, 3], [3, 3], [1, 1], [1, 1]),
    ([2, 40, 17, 14], [3, 3], [2, 2], [1, 1]),
];

pub(crate) fn grid<T: Real>(device: &CudaDevice) -> Result<(), String> {
    for (input, kernel, stride, padding) in CASES {
        let dims = PoolDims::new(input, kernel, stride, padding).expect("valid");
        let [batch, channels, h, w] = input;
        let of = |[h, w]: [usize; 2]| PlaneDims { batch, channels, plane: h * w };
        let (of_x, of_y) = (of([h, w]), of(dims.out_size()));
        // Equal values and infinities among them.
        let mut x = values(3, dims.input_len());
        for (i, x) in x.iter_mut().enumerate() {
            match i % 11 {
                3 | 4 => *x = 0.5,
                6 => *x = -0.5,
                _ => {}
            }
        }
        let grad = values(4, dims.output_len());
        let (x64, grad64) = (widen(&x), widen(&grad));
        let x = upload_dense::<T>(device, of_x, &x);
        let grad = upload_dense::<T>(device, of_y, &grad);
        let check = |what: &str, planes, got: &CudaBuffer<T>, want: &[f64], bound| {
            close(&format!("{what}, {dims:?}"), &download_dense(planes, got)?, want, bound)
        };
        let text = |error: gaternet_kernels::cuda::CudaError| error.to_string();
        let new = |planes| unwritten::<T>(device, dense_len(planes));

        let mut y = new(of_y);
        avg_pool2d::forward(&dims, &x, &mut y).map_err(text)?;
        check("mean", of_y, &y, &reference::avg_pool2d::forward(&dims, &x64), T::BOUND)?;
        let mut grad_x = new(of_x);
        avg_pool2d::backward(&dims, &grad, &mut grad_x).map_err(text)?;
        check(
            "mean, gradient",
            of_x,
            &grad_x,
            &reference::avg_pool2d::backward(&dims, &grad64),
            T::BOUND,
        )?;

        let mut y = new(of_y);
        max_pool2d::forward(&dims, &x, &mut y).map_err(text)?;
        check("maximum", of_y, &y, &reference::max_pool2d::forward(&dims, &x64), 0.0)?;
        let mut grad_x = new(of_x);
        max_pool2d::backward(&dims, &x, &grad, &mut grad_x).map_err(text)?;
        let want = reference::max_pool2d::backward(&dims, &x64, &grad64);
        check("maximum, gradient", of_x, &grad_x, &want, T::BOUND)?;
    }
    Ok(())
}

#[test]
fn windows_agree_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    grid::<bf16>(&device).unwrap_or_else(|error| panic!("{error}"));
    grid::<f32>(&device).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn a_nan_or_an_infinity_is_shown_and_gets_the_gradient() {
    let Some(device) = emulator::device() else { return };
    let dims = PoolDims::new([1, 1, 1, 4], [1, 4], [1, 1], [0, 0]).expect("valid");
    let of = |plane| PlaneDims { batch: 1, channels: 1, plane };
    let down = f32::NEG_INFINITY;
    for (x, place) in [([1.0, f32::NAN, 2.0, 0.0], 1), ([down; 4], 0), ([1.0, 2.0, 2.0, down], 1)] {
        let x_d = upload_dense::<f32>(&device, of(4), &x);
        let (mut y, mut grad_x) = (unwritten(&device, 16), unwritten(&device, 64));
        max_pool2d::forward(&dims, &x_d, &mut y).expect("a launch");
        let grad = upload_dense::<f32>(&device, of(1), &[5.0]);
        max_pool2d::backward(&dims, &x_d, &grad, &mut grad_x).expect("a launch");
        let shown = download_dense(of(1), &y).expect("no fault")[0];
        assert_eq!(shown.to_bits(), x[place].to_bits(), "{x:?}");
        let mut want = [0.0; 4];
        want[place] = 5.0;
        assert_eq!(download_dense(of(4), &grad_x).expect("no fault"), want, "{x:?}");
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PoolDims::new([1, 2, 4, 4], [2, 2], [2, 2], [0, 0]).expect("valid");
    let (x, short) = (unwritten::<f32>(&device, 16 * 16), unwritten::<f32>(&device, 16));
    let mut out = unwritten::<f32>(&device, 16);
    for error in [
        avg_pool2d::forward(&dims, &x, &mut out),
        max_pool2d::forward(&dims, &short, &mut out),
        avg_pool2d::backward(&dims, &short, &mut out),
        max_pool2d::backward(&dims, &short, &short, &mut out),
    ] {
        let error = error.expect_err("too short").to_string();
        assert!(error.contains("has 16 elements, its dims need"), "{error}");
    }
}
