use gaternet_kernels::cuda::batch_norm::{
    self, Affine, BatchStats, Epilogue, Grads, Running, Saved, Stats, scratch_len,
};
use gaternet_kernels::cuda::conv2d::GateColumns;
use gaternet_kernels::cuda::{CudaBuffer, CudaDevice, bf16};
use gaternet_kernels::{PlaneDims, reference::batch_norm as reference};

use crate::check::{
    PLANES, Real, close, dense_len, download, download_dense, gates, unwritten, upload,
    upload_dense, values, widen,
};
use crate::emulator;

/// What follows the normalisation in a trial.
#[derive(Debug, Clone, Copy)]
struct Parts {
    gates: bool,
    residual: bool,
    relu: bool,
}

const PARTS: [Parts; 4] = [
    Parts { gates: false, residual: false, relu: false },
    Parts { gates: false, residual: false, relu: true },
    Parts { gates: true, residual: false, relu: false },
    Parts { gates: true, residual: true, relu: true },
];

const EPS: f32 = 1e-3;
/// Gates are columns 2.. of rows that are 5 longer.
const FIRST: usize = 2;
const MORE: usize = 5;

/// Random values for one call, on the host.
struct Trial {
    dims: PlaneDims,
    parts: Parts,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
    /// (N, C), some soft.
    gates: Vec<f32>,
    grad_y: Vec<f32>,
}

impl Trial {
    fn new(dims: PlaneDims, parts: Parts) -> Trial {
        let mut gates = gates(7, dims.batch, dims.channels, 0.6);
        gates.iter_mut().step_by(3).for_each(|gate| *gate *= 0.75);
        // Far from 0, where squares would cancel; bf16 holds whole numbers below 256.
        let x = values(1, dims.len()).iter().map(|x| (100.0 + 16.0 * x).round()).collect();
        Trial {
            dims,
            parts,
            x,
            weight: values(2, dims.channels),
            bias: values(3, dims.channels),
            residual: values(4, dims.len()),
            gates,
            grad_y: values(5, dims.len()),
        }
    }

    /// (N, C + 5), NaN beside the columns.
    fn columns(&self, values: &[f32]) -> Vec<f32> {
        let stride = self.dims.channels + MORE;
        let mut rows = vec![f32::NAN; self.dims.batch * stride];
        for (row, of_sample) in rows.chunks_mut(stride).zip(values.chunks(self.dims.channels)) {
            row[FIRST..][..self.dims.channels].copy_from_slice(of_sample);
        }
        rows
    }

    /// Forward and, with the batch's or the given statistics, backward.
    fn run<T: Real>(
        &self,
        device: &CudaDevice,
        fixed: Option<(&[f32], &[f32])>,
    ) -> Result<(), String> {
        let Trial { dims, parts, .. } = *self;
        let channels = dims.channels;
        let text = |error: gaternet_kernels::cuda::CudaError| error.to_string();
        let name =
            |what| format!("{what}, {dims:?}, {parts:?}, batch statistics {}", fixed.is_none());
        let x = upload_dense::<T>(device, dims, &self.x);
        let residual = upload_dense::<T>(device, dims, &self.residual);
        let (weight, bias) = (upload(device, &self.weight), upload(device, &self.bias));
        let gates = upload(device, &self.columns(&self.gates));
        let affine = Affine { weight: &weight, bias: &bias, eps: EPS };
        let columns = GateColumns { gates: &gates, stride: channels + MORE, first: FIRST };
        let epilogue = Epilogue::default()
            .with_gates(parts.gates.then_some(columns))
            .with_residual(parts.residual.then_some(&residual))
            .with_relu(parts.relu);
        let mut y = unwritten::<T>(device, dense_len(dims));
        let mut scratch = upload(device, &vec![f32::NAN; scratch_len(dims)]);
        let host_stats = fixed.map_or((vec![f32::NAN; channels], vec![f32::NAN; channels]), |f| {
            (f.0.to_vec(), f.1.to_vec())
        });
        let mut mean = upload(device, &host_stats.0);
        let mut var = upload(device, &host_stats.1);
        let (x64, weight64, bias64) = (widen(&self.x), widen(&self.weight), widen(&self.bias));
        let want_stats = match fixed {
            Some((mean, var)) => (widen(mean), widen(var)),
            None => reference::stats(dims, &x64),
        };
        if fixed.is_some() {
            let stats = Stats { mean: &mean, var: &var };
            batch_norm::forward_eval(dims, affine, epilogue, stats, &x, &mut y).map_err(text)?;
        } else {
            let mut running =
                [values(8, channels), values(9, channels)].map(|v| upload(device, &v));
            let [running_mean, running_var] = &mut running;
            let batch = BatchStats {
                mean: &mut mean,
                var: &mut var,
                scratch: &mut scratch,
                running: Some(Running { mean: running_mean, var: running_var, momentum: 0.1 }),
            };
            batch_norm::forward_train(dims, affine, epilogue, &x, &mut y, batch).map_err(text)?;
            close(&name("mean"), &download(&mean)?, &want_stats.0, 1e-5)?;
            close(&name("var"), &download(&var)?, &want_stats.1, 1e-5)?;
            let count = (dims.batch * dims.plane) as f64;
            for (i, (got, want)) in running.iter().zip([&want_stats.0, &want_stats.1]).enumerate() {
                let factor = if i == 0 { 1.0 } else { count / (count - 1.0) };
                let before = widen(&values(8 + i as u64, channels));
                let want: Vec<f64> =
                    before.iter().zip(want).map(|(r, b)| 0.9 * r + 0.1 * b * factor).collect();
                close(&name("running"), &download(got)?, &want, 1e-5)?;
            }
        }
        let (residual64, gates64) = (widen(&self.residual), widen(&self.gates));
        let bn = reference::BatchNorm {
            weight: &weight64,
            bias: &bias64,
            eps: f64::from(EPS),
            gates: parts.gates.then_some(&gates64),
            residual: parts.residual.then_some(&residual64),
            relu: parts.relu,
        };
        let want = reference::forward(dims, &bn, &want_stats.0, &want_stats.1, &x64);
        close(&name("y"), &download_dense(dims, &y)?, &want, T::BOUND)?;

        let grad_y = upload_dense::<T>(device, dims, &self.grad_y);
        let mut grad_x = unwritten::<T>(device, dense_len(dims));
        let mut grad_residual = unwritten::<T>(device, dense_len(dims));
        let mut of_weight = upload(device, &vec![f32::NAN; channels]);
        let mut of_bias = upload(device, &vec![f32::NAN; channels]);
        let mut of_gates = upload(device, &self.columns(&vec![f32::NAN; self.gates.len()]));
        let saved = Saved {
            x: &x,
            y: &y,
            stats: Stats { mean: &mean, var: &var },
            batch_stats: fixed.is_none(),
        };
        // Beside a residual the block's input has another reader.
        let more = values(12, dims.len());
        let more_d = upload_dense::<T>(device, dims, &more);
        let grads = Grads {
            x: &mut grad_x,
            more: parts.residual.then_some(&more_d),
            weight: &mut of_weight,
            bias: &mut of_bias,
            gates: parts.gates.then_some(&mut of_gates),
            residual: parts.residual.then_some(&mut grad_residual),
            scratch: &mut scratch,
        };
        batch_norm::backward(dims, affine, epilogue, saved, &grad_y, grads).map_err(text)?;
        let stats = (&want_stats.0[..], &want_stats.1[..]);
        let want =
            reference::backward(dims, &bn, fixed.is_none(), stats, &x64, &widen(&self.grad_y));
        // Where the rounding of y decides on the ReLU, the device and the reference may differ.
        let more = more.iter().map(|&more| if parts.residual { f64::from(more) } else { 0.0 });
        let of_x: Vec<f64> = want.x.iter().zip(more).map(|(x, more)| x + more).collect();
        close(&name("grad x"), &download_dense(dims, &grad_x)?, &of_x, T::BOUND)?;
        close(&name("grad weight"), &download(&of_weight)?, &want.weight, 1e-4)?;
        close(&name("grad bias"), &download(&of_bias)?, &want.bias, 1e-4)?;
        if parts.residual {
            let got = download_dense(dims, &grad_residual)?;
            close(&name("grad residual"), &got, &want.residual, T::BOUND)?;
        }
        if parts.gates {
            let rows = download(&of_gates)?;
            let stride = channels + MORE;
            let inside = |i: &usize| (FIRST..FIRST + channels).contains(&(i % stride));
            let (written, beside): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(inside);
            assert!(beside.iter().all(|&i| rows[i].is_nan()), "{}", name("beside the columns"));
            let got: Vec<f32> = written.iter().map(|&i| rows[i]).collect();
            close(&name("grad gates"), &got, &want.gates, 1e-4)?;
        }
        Ok(())
    }
}

fn grid<T: Real>() {
    let Some(device) = emulator::device() else { return };
    for (dims, parts) in PLANES.iter().flat_map(|&dims| PARTS.map(|parts| (dims, parts))) {
        let trial = Trial::new(dims, parts);
        let mean: Vec<f32> = values(10, dims.channels).iter().map(|m| 100.0 + m).collect();
        let var: Vec<f32> = values(11, dims.channels).iter().map(|v| 80.0 + 20.0 * v).collect();
        for fixed in [None, Some((&mean[..], &var[..]))] {
            trial.run::<T>(&device, fixed).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn all_passes_agree_with_the_reference() {
    grid::<bf16>();
}

#[test]
fn all_passes_in_f32_agree_with_the_reference() {
    grid::<f32>();
}

#[test]
fn an_off_gate_hides_nan() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 2, channels: 1, plane: 1 };
    let one = upload(&device, &[1.0]);
    let zero = upload(&device, &[0.0]);
    let gates = upload(&device, &[0.0, 1.0]);
    let columns = GateColumns { gates: &gates, stride: 1, first: 0 };
    let epilogue = Epilogue::default().with_gates(Some(columns));
    let affine = Affine { weight: &one, bias: &one, eps: 0.0 };
    let stats = Stats { mean: &zero, var: &one };
    let x = upload_dense::<bf16>(&device, dims, &[f32::NAN, 3.0]);
    let mut y = unwritten::<bf16>(&device, dense_len(dims));
    batch_norm::forward_eval(dims, affine, epilogue, stats, &x, &mut y).expect("a launch");
    assert_eq!(download_dense(dims, &y), Ok(vec![0.0, 4.0]));
    let mut grad_x = unwritten::<bf16>(&device, dense_len(dims));
    let mut weight = CudaBuffer::zeros(&device, 1).expect("a buffer");
    let mut bias = CudaBuffer::zeros(&device, 1).expect("a buffer");
    let mut scratch = CudaBuffer::zeros(&device, scratch_len(dims)).expect("a buffer");
    let grads = Grads {
        x: &mut grad_x,
        more: None,
        weight: &mut weight,
        bias: &mut bias,
        gates: None,
        residual: None,
        scratch: &mut scratch,
    };
    let saved = Saved { x: &x, y: &y, stats, batch_stats: false };
    let grad_y = upload_dense::<bf16>(&device, dims, &[1.0, 2.0]);
    batch_norm::backward(dims, affine, epilogue, saved, &grad_y, grads).expect("a launch");
    assert_eq!(download_dense(dims, &grad_x), Ok(vec![0.0, 2.0]));
    assert_eq!((download(&weight), download(&bias)), (Ok(vec![6.0]), Ok(vec![2.0])));
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let Some(device) = emulator::device() else { return };
    let dims = PlaneDims { batch: 1, channels: 3, plane: 1 };
    let three = upload(&device, &[1.0; 3]);
    let two = upload(&device, &[1.0; 2]);
    let x = unwritten::<bf16>(&device, 16);
    let mut y = unwritten::<bf16>(&device, 16);
    let stats = Stats { mean: &three, var: &three };
    let run = |affine: Affine<'_>, stats, dims, y: &mut _| {
        batch_norm::forward_eval(dims, affine, Epilogue::default(), stats, &x, y)
            .expect_err("wrong")
            .to_string()
    };
    let affine = Affine { weight: &three, bias: &three, eps: 0.0 };
    let error = run(Affine { bias: &two, ..affine }, stats, dims, &mut y);
    assert!(error.contains("`bias` has 2 elements, its dims need 3"), "{error}");
    let error = run(affine, Stats { var: &two, ..stats }, dims, &mut y);
    assert!(error.contains("`var` has 2 elements"), "{error}");
    let error = run(affine, stats, PlaneDims { plane: 2, ..dims }, &mut y);
    assert!(error.contains("`x` has 16 elements, its dims need 32"), "{error}");

    let [mut mean, mut var] = [upload(&device, &[0.0; 3]), upload(&device, &[0.0; 3])];
    let [mut of_mean, mut of_var] = [upload(&device, &[0.0; 3]), upload(&device, &[0.0; 3])];
    let mut scratch = upload(&device, &[0.0; 12]);
    let batch = BatchStats {
        mean: &mut mean,
        var: &mut var,
        scratch: &mut scratch,
        running: Some(Running { mean: &mut of_mean, var: &mut of_var, momentum: 0.1 }),
    };
    let error = batch_norm::forward_train(dims, affine, Epilogue::default(), &x, &mut y, batch)
        .expect_err("one value")
        .to_string();
    assert!(error.contains("running ones two"), "{error}");
}
