use gaternet_kernels::cuda::{CudaDevice, CudaError, linear};
use gaternet_kernels::{LinearDims, reference::linear as reference};

use crate::check::{close, download, upload, values, widen};
use crate::emulator;

const F32: f64 = 1e-5;

fn trial(device: &CudaDevice, dims: LinearDims, relu: bool) -> Result<(), String> {
    let text = |error: CudaError| error.to_string();
    let name = |what| format!("{what}, {dims:?}, relu {relu}");
    let LinearDims { batch, in_features, out_features } = dims;
    let (x, weight) = (values(1, batch * in_features), values(2, out_features * in_features));
    let (bias, grad) = (values(3, out_features), values(4, batch * out_features));
    let unwritten = |len| upload(device, &vec![f32::NAN; len]);
    let (x_d, weight_d, bias_d) =
        (upload(device, &x), upload(device, &weight), upload(device, &bias));
    let grad_d = upload(device, &grad);
    let mut y = unwritten(grad.len());
    linear::forward(dims, &x_d, &weight_d, Some(&bias_d), relu, &mut y).map_err(text)?;
    let mut want = reference::forward(dims, &widen(&x), &widen(&weight), Some(&widen(&bias)));
    let mut grad64 = widen(&grad);
    if relu {
        grad64.iter_mut().zip(&want).filter(|(_, y)| **y <= 0.0).for_each(|(grad, _)| *grad = 0.0);
        want.iter_mut().for_each(|y| *y = y.max(0.0));
    }
    close(&name("y"), &download(&y)?, &want, F32)?;
    linear::forward(dims, &x_d, &weight_d, None, false, &mut y).map_err(text)?;
    let without = reference::forward(dims, &widen(&x), &widen(&weight), None);
    close(&name("y without bias"), &download(&y)?, &without, F32)?;

    let open = upload(device, &want.iter().map(|&y| y as f32).collect::<Vec<_>>());
    let open = relu.then_some(&open);
    let mut grad_x = unwritten(x.len());
    linear::backward_input(dims, &grad_d, open, &weight_d, &mut grad_x).map_err(text)?;
    let want = reference::backward_input(dims, &grad64, &widen(&weight));
    close(&name("grad x"), &download(&grad_x)?, &want, F32)?;
    let (mut of_weight, mut of_bias) = (unwritten(weight.len()), unwritten(bias.len()));
    linear::backward_weight(dims, &x_d, &grad_d, open, &mut of_weight, Some(&mut of_bias))
        .map_err(text)?;
    let want = reference::backward_weight(dims, &widen(&x), &grad64);
    close(&name("grad weight"), &download(&of_weight)?, &want, F32)?;
    let want = reference::backward_bias(dims, &grad64);
    close(&name("grad bias"), &download(&of_bias)?, &want, F32)
}

#[test]
fn all_passes_agree_with_the_reference() {
    let Some(device) = emulator::device() else { return };
    for (batch, in_features, out_features) in
        [(1, 1, 1), (3, 5, 2), (64, 16, 64), (65, 33, 10), (7, 100, 130), (20, 17, 65)]
    {
        let dims = LinearDims { batch, in_features, out_features };
        for relu in [false, true] {
            trial(&device, dims, relu).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = LinearDims { batch: 2, in_features: 3, out_features: 1 };
    let [x, weight] = [6, 3].map(|len| upload(&device, &vec![0.0; len]));
    let mut y = upload(&device, &[0.0; 2]);
    let error = linear::forward(dims, &weight, &weight, None, false, &mut y).expect_err("x");
    assert!(error.to_string().contains("`x` has 3 elements, its dims need 6"), "{error}");
    let error = linear::forward(dims, &x, &x, None, false, &mut y).expect_err("weight");
    assert!(error.to_string().contains("`weight` has 6 elements"), "{error}");
    let error = linear::forward(dims, &x, &weight, Some(&x), false, &mut y).expect_err("bias");
    assert!(error.to_string().contains("`bias` has 6 elements"), "{error}");
}
