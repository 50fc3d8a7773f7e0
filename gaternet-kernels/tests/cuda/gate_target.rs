use gaternet_kernels::cuda::gate_loss::Loss;
use gaternet_kernels::cuda::gate_target::{ConvWork, GateTarget, forward_backward, scratch_len};
use gaternet_kernels::cuda::{Clock, CudaBuffer, CudaDevice, GatedLayers, PerStep};

use crate::check::{close, download, gates, upload, values};
use crate::emulator;

const WIDTHS: [usize; 3] = [3, 40, 1];
/// Weight, lower and upper bound of the steps 0, 1, 2 and those that follow.
const SCHEDULE: [[f32; 3]; 4] =
    [[9.0, 0.9, 0.9], [0.5, 0.75, 0.75], [2.0, 0.1, 0.2], [0.0, 0.3, 0.3]];

fn conv(work: f32, filters: Option<usize>, channels: Option<usize>) -> ConvWork {
    ConvWork { work, filters, channels }
}

/// One that two layers switch, with one that reads it; one of a layer of a gate.
fn blocks() -> Vec<Vec<ConvWork>> {
    vec![
        vec![conv(0.25, Some(0), None), conv(0.4, Some(1), Some(0)), conv(0.05, None, Some(1))],
        vec![conv(0.1, Some(2), None)],
    ]
}

/// Loss and gradient of gates (N, C).
fn reference(
    gates: &[f32],
    batch: usize,
    total: Option<[f32; 2]>,
    [lower, upper]: [f64; 2],
) -> (f64, Vec<f64>) {
    let columns: usize = WIDTHS.iter().sum();
    let starts = [0, WIDTHS[0], WIDTHS[0] + WIDTHS[1]];
    let fraction = |layer: Option<usize>, n: usize| {
        layer.map_or(1.0, |layer| {
            let row = &gates[n * columns + starts[layer]..][..WIDTHS[layer]];
            row.iter().copied().map(f64::from).sum::<f64>() / WIDTHS[layer] as f64
        })
    };
    let mean = |conv: &ConvWork| {
        let pairs = (0..batch).map(|n| fraction(conv.filters, n) * fraction(conv.channels, n));
        f64::from(conv.work) * pairs.sum::<f64>() / batch as f64
    };
    let blocks = blocks();
    let (mut loss, mut pull) = (0.0, 0.0);
    if let Some([always, target]) = total.map(|total| total.map(f64::from)) {
        let excess = always + blocks.iter().flatten().map(mean).sum::<f64>() - target;
        let near = 0.02 * target;
        (loss, pull) = match excess.abs() > near {
            true => (excess.abs() - near / 2.0, excess.signum()),
            false => (excess * excess / (2.0 * near), excess / near),
        };
    }
    let mut grad = vec![0.0; gates.len()];
    for block in &blocks {
        let dense: f64 = block.iter().map(|conv| f64::from(conv.work)).sum();
        let fraction_of_block = block.iter().map(mean).sum::<f64>() / dense;
        let outside = (fraction_of_block - upper).max(0.0) - (lower - fraction_of_block).max(0.0);
        loss += outside * outside / blocks.len() as f64;
        let slope = pull + 2.0 * outside / (blocks.len() as f64 * dense);
        for conv in block {
            for (own, other) in [(conv.filters, conv.channels), (conv.channels, conv.filters)] {
                let Some(layer) = own else { continue };
                for n in 0..batch {
                    let each = slope * f64::from(conv.work) * fraction(other, n);
                    let row = &mut grad[n * columns + starts[layer]..][..WIDTHS[layer]];
                    row.iter_mut().for_each(|g| *g += each / (batch * WIDTHS[layer]) as f64);
                }
            }
        }
    }
    (loss, grad)
}

fn run(
    device: &CudaDevice,
    target: &GateTarget,
    gates: &[f32],
    step: u64,
    before: &[f32],
) -> Result<[Vec<f32>; 3], String> {
    let text = |error: gaternet_kernels::cuda::CudaError| error.to_string();
    let layers = GatedLayers::new(device, &WIDTHS, |_| 0).map_err(text)?;
    let clock = Clock::new(device, 0, step).map_err(text)?;
    let schedule = upload(device, SCHEDULE.as_flattened());
    let mut grad = upload(device, before);
    let [mut result, mut totals] = [vec![f32::NAN], vec![1.0, 2.0]].map(|v| upload(device, &v));
    let batch = gates.len() / layers.columns();
    let mut scratch = upload(device, &vec![f32::NAN; scratch_len(batch, layers.layers())]);
    let mut into =
        Loss { grad: &mut grad, result: &mut result, totals: &mut totals, scratch: &mut scratch };
    let schedule = PerStep { clock: &clock, values: &schedule };
    forward_backward(target, &layers, &upload(device, gates), schedule, &mut into).map_err(text)?;
    let all: [&CudaBuffer<f32>; 3] = [&result, &totals, &grad];
    let mut lists = Vec::new();
    for buffer in all {
        lists.push(download(buffer)?);
    }
    Ok(lists.try_into().expect("three"))
}

/// Loss, totals and gradient at all steps, with a total of number `total` and without.
pub(crate) fn check(device: &CudaDevice, batch: usize, total: usize) -> Result<(), String> {
    let columns = WIDTHS.iter().sum();
    let gates: Vec<f32> = gates(1, batch, columns, 0.6);
    let before: Vec<f32> = values(2, gates.len()).iter().map(|v| 0.001 * v).collect();
    // Far above, far below, near.
    let near = {
        let (loss, _) = reference(&gates, batch, Some([0.3, 1e-9]), [0.0, 1.0]);
        loss as f32 * 1.01
    };
    let total = [Some([0.3, 0.2]), Some([0.3, 1.2]), Some([0.3, near]), None][total];
    let target =
        GateTarget::new(device, &blocks(), WIDTHS.len(), total).map_err(|e| e.to_string())?;
    for (step, [weight, lower, upper]) in SCHEDULE.into_iter().enumerate().skip(1) {
        let [weight, lower, upper] = [weight, lower, upper].map(f64::from);
        let (loss, grad) = reference(&gates, batch, total, [lower, upper]);
        let step = if step == 3 { 50 } else { step as u64 };
        let [result, totals, of_gates] = run(device, &target, &gates, step, &before)?;
        let what = format!("batch {batch}, total {total:?}, step {step}");
        close(&format!("loss, {what}"), &result, &[loss], 1e-4)?;
        let counted = 1.0 + batch as f64 * weight * loss;
        close(&format!("totals, {what}"), &totals, &[counted, 2.0], 1e-4)?;
        // The change alone: it is small beside what was there.
        let added: Vec<f32> = of_gates.iter().zip(&before).map(|(g, b)| g - b).collect();
        let want: Vec<f64> = grad.iter().map(|g| weight * g).collect();
        if weight > 0.0 {
            close(&format!("gradient, {what}"), &added, &want, 1e-4)?;
        } else if of_gates != before {
            return Err(format!("gradient, {what}: it counts"));
        }
    }
    Ok(())
}

#[test]
fn the_price_and_its_gradient_are_those_of_the_equations() {
    let Some(device) = emulator::device() else { return };
    for batch in [1, 5, 300] {
        for total in 0..4 {
            check(&device, batch, total).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn nan_shows_unless_the_loss_does_not_count() {
    let Some(device) = emulator::device() else { return };
    let target = GateTarget::new(&device, &blocks(), WIDTHS.len(), None).expect("valid");
    let columns = WIDTHS.iter().sum();
    let mut gates = vec![1.0; columns];
    gates[1] = f32::NAN;
    let [result, totals, _] =
        run(&device, &target, &gates, 1, &vec![0.0; columns]).expect("no fault");
    assert!(result[0].is_nan() && totals[0].is_nan(), "{result:?}, {totals:?}");
    let [_, totals, grad] =
        run(&device, &target, &gates, 3, &vec![0.0; columns]).expect("no fault");
    assert_eq!((totals, grad), (vec![1.0, 2.0], vec![0.0; columns]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(device) = emulator::device() else { return };
    for (blocks, layers) in
        [(vec![], 3), (vec![vec![]], 3), (blocks(), 2), (vec![vec![conv(0.0, None, None)]], 3)]
    {
        let error = GateTarget::new(&device, &blocks, layers, None).expect_err("refused");
        assert!(error.to_string().contains("there must be blocks"), "{error}");
    }
    let target = GateTarget::new(&device, &blocks(), 4, None).expect("valid");
    let error = run(&device, &target, &[1.0; 44], 1, &[0.0; 44]).expect_err("3 layers of 4");
    assert!(error.contains("`layers` has 3 elements, its dims need 4"), "{error}");
}
