use gaternet_kernels::cuda::conv2d::GateColumns;
use gaternet_kernels::cuda::gate::{self, Apply, Compact, Grads};
use gaternet_kernels::cuda::{CudaActiveFilters, CudaBuffer, CudaDevice, bf16, layout};
use gaternet_kernels::{PlaneDims, reference::gate as reference};

use crate::check::{
    PLANES, Real, close, dense_len, download, download_dense, gates, lists, unwritten, upload,
    upload_as, upload_dense, values, widen,
};
use crate::emulator;

/// Gates are columns 2.. of rows that are 5 longer.
const FIRST: usize = 2;
const MORE: usize = 5;

/// (N, C + 5) of (N, C), NaN beside the columns.
fn columns(dims: PlaneDims, values: &[f32]) -> Vec<f32> {
    let stride = dims.channels + MORE;
    let mut rows = vec![f32::NAN; dims.batch * stride];
    for (row, of_sample) in rows.chunks_mut(stride).zip(values.chunks(dims.channels)) {
        row[FIRST..][..dims.channels].copy_from_slice(of_sample);
    }
    rows
}

/// Gates (N, C), some of them soft: none, all or some are 0.
fn some_gates(dims: PlaneDims, density: f32) -> Vec<f32> {
    let mut gates = gates(7, dims.batch, dims.channels, density);
    gates.iter_mut().step_by(3).for_each(|gate| *gate *= 0.75);
    gates
}

/// (N, C, P) of a compact activation; `Err` if the zeros after the active channels are missing.
fn download_compact<T: Real>(
    dims: PlaneDims,
    gates: &[f32],
    buffer: &CudaBuffer<T>,
) -> Result<Vec<f32>, String> {
    let (packed, active) = (download(buffer)?, lists(gates, dims.channels));
    let stride = layout::stride(dims.channels);
    for (pixel, of_pixel) in packed.chunks(stride).enumerate() {
        let count = active.row(pixel / dims.plane).len();
        let zeros = &of_pixel[count..count.next_multiple_of(16)];
        let beyond = &of_pixel[count.next_multiple_of(16)..];
        if zeros.iter().any(|zero| zero.to_bits() != 0) || beyond.iter().any(|v| !v.is_nan()) {
            return Err(format!("pixel {pixel} with {count} active channels: {of_pixel:?}"));
        }
    }
    Ok(layout::unpack_compact(&active, dims.plane, &packed))
}

fn trial<T: Real>(device: &CudaDevice, dims: PlaneDims, density: f32) -> Result<(), String> {
    let text = |error: gaternet_kernels::cuda::CudaError| error.to_string();
    let name = |what: &str| format!("{what}, {dims:?}, density {density}");
    let (x, residual) = (values(1, dims.len()), values(2, dims.len()));
    let grad = values(3, dims.len());
    let gates = some_gates(dims, density);
    let on_device = upload(device, &columns(dims, &gates));
    let (stride, first) = (dims.channels + MORE, FIRST);
    let mut active = CudaActiveFilters::empty(device, dims.batch, dims.channels).map_err(text)?;
    active.refill(&on_device, stride, first).map_err(text)?;
    let dense = |values: &[f32]| upload_dense::<T>(device, dims, values);
    let (x_d, residual_d) = (dense(&x), dense(&residual));
    let new = || unwritten::<T>(device, dense_len(dims));
    let columns_of = Some(GateColumns { gates: &on_device, stride, first });

    let (x64, gates64) = (widen(&x), widen(&gates));
    let gated = reference::forward(dims, &x64, &gates64);
    let sums: Vec<f64> = gated.iter().zip(&residual).map(|(g, &r)| g + f64::from(r)).collect();
    let open: Vec<f64> = sums.iter().map(|sum| sum.max(0.0)).collect();

    let mut y = new();
    let apply = Apply { gates: columns_of, residual: Some(&residual_d), relu: true };
    gate::forward(dims, Compact::Nothing, apply, &x_d, &mut y).map_err(text)?;
    close(&name("dense to dense"), &download_dense(dims, &y)?, &open, T::BOUND)?;
    let mut collected = new();
    let gated_only = Apply { gates: columns_of, ..Apply::default() };
    let target = Compact::Target(&active);
    gate::forward(dims, target, gated_only, &x_d, &mut collected).map_err(text)?;
    let got = download_compact(dims, &gates, &collected)?;
    close(&name("dense to compact"), &got, &gated, T::BOUND)?;
    let packed = layout::pack_compact(&lists(&gates, dims.channels), dims.plane, &x);
    let compact = upload_as::<T>(device, &packed);
    let mut expanded = new();
    let source = Compact::Source(&active);
    gate::forward(dims, source, apply, &compact, &mut expanded).map_err(text)?;
    assert_eq!(download(&expanded), download(&y), "{}", name("compact to dense"));

    // Where the rounding of y decides on the ReLU, the device and the reference may differ.
    let of_y: Vec<f64> = download_dense(dims, &y)?
        .iter()
        .zip(&grad)
        .map(|(&y, &grad)| if y > 0.0 { f64::from(grad) } else { 0.0 })
        .collect();
    let want_x = reference::backward_x(dims, &gates64, &of_y);
    let want_gates = reference::backward_gates(dims, &x64, &of_y);
    let grad_d = dense(&grad);
    for compact in [Compact::Nothing, Compact::Target(&active)] {
        let (mut of_x, mut of_residual) = (new(), new());
        let mut of_gates = upload(device, &columns(dims, &vec![f32::NAN; gates.len()]));
        let grads = Grads {
            x: Some(&mut of_x),
            gates: Some(&mut of_gates),
            residual: Some(&mut of_residual),
        };
        gate::backward(dims, compact, apply, [&x_d, &y, &grad_d], grads).map_err(text)?;
        let got = match compact {
            Compact::Nothing => download_dense(dims, &of_x)?,
            _ => download_compact(dims, &gates, &of_x)?,
        };
        close(&name("grad x"), &got, &want_x, T::BOUND)?;
        close(&name("grad residual"), &download_dense(dims, &of_residual)?, &of_y, T::BOUND)?;
        let rows = download(&of_gates)?;
        let inside = |i: &usize| (FIRST..FIRST + dims.channels).contains(&(i % stride));
        let (written, beside): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(inside);
        assert!(beside.iter().all(|&i| rows[i].is_nan()), "{}", name("beside the columns"));
        let got: Vec<f32> = written.iter().map(|&i| rows[i]).collect();
        close(&name("grad gates"), &got, &want_gates, 1e-4)?;
    }
    Ok(())
}

fn grid<T: Real>() {
    let Some(device) = emulator::device() else { return };
    for (i, dims) in PLANES.into_iter().enumerate() {
        let density = [0.5, 0.0, 1.0][i % 3];
        for density in [density, 0.3] {
            trial::<T>(&device, dims, density).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn all_passes_agree_with_the_reference() {
    grid::<bf16>();
    grid::<f32>();
}

#[test]
fn without_gates_it_is_a_sum_and_a_relu() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 3, plane: 2 };
    let upload = |values: [f32; 6]| upload_dense::<f32>(&device, dims, &values);
    let (a, b) = (upload([1.0, -2.0, 3.0, f32::NAN, 0.5, -1.0]), upload([1.0; 6]));
    let mut y = unwritten::<f32>(&device, dense_len(dims));
    let apply = Apply { residual: Some(&b), relu: true, ..Apply::default() };
    gate::forward(dims, Compact::Nothing, apply, &a, &mut y).expect("a launch");
    let got = download_dense(dims, &y).expect("no fault");
    assert!(got[3].is_nan(), "{got:?}");
    assert_eq!((&got[..3], &got[4..]), (&[2.0, 0.0, 4.0][..], &[1.5, 0.0][..]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 3, plane: 1 };
    let active = CudaActiveFilters::empty(&device, 1, 3).expect("lists");
    let other = CudaActiveFilters::empty(&device, 2, 3).expect("lists");
    let x = unwritten::<f32>(&device, 16);
    let run = |dims, compact, residual| {
        let apply = Apply { residual, ..Apply::default() };
        let mut y = unwritten::<f32>(&device, 16);
        gate::forward(dims, compact, apply, &x, &mut y).expect_err("wrong").to_string()
    };
    let error = run(PlaneDims { plane: 2, ..dims }, Compact::Nothing, None);
    assert!(error.contains("`x` has 16 elements, its dims need 32"), "{error}");
    let error = run(dims, Compact::Target(&active), Some(&x));
    assert!(error.contains("a compact result has no residual"), "{error}");
    let error = run(dims, Compact::Source(&other), None);
    assert!(error.contains("active lists 3 filters of 2 samples, expected 3 of 1"), "{error}");
    let mut gates = upload(&device, &[0.0; 3]);
    let grads = Grads { x: None, gates: Some(&mut gates), residual: None };
    let error = gate::backward(dims, Compact::Nothing, Apply::default(), [&x; 3], grads);
    let error = error.expect_err("no gates").to_string();
    assert!(error.contains("a gradient of gates needs gates"), "{error}");
}
