//! Plants the faults of `faults/`, each of which a run must catch: a suite that finds none of these
//! would not find those that we make unasked.

use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::sgd::Constants;
use gaternet_kernels::cuda::{CudaActiveFilters, CudaDevice, Products, bf16};
use gaternet_kernels::test_support::driver::real;

use crate::check::{gates as random_gates, lists, upload};
use crate::conv2d::{Case, Trial};
use crate::emulator::{self, EMULATOR};
use crate::faults::fault::Fault;
use crate::faults::{self, conv2d, gates, layers, training};
use crate::{
    augment, batch_shaping, concat, cross_entropy, dropout, ema, gate_largest, gate_target,
    gumbel_sigmoid, pad, pool2d, repeat_interleave, sgd, shake_shake,
};

/// A run of kernels, with the report of what is wrong.
type Run = fn(&CudaDevice) -> Result<(), String>;

const LAYER: Case = ([2, 20, 9, 15], [70, 3, 3], [1, 1], [1, 1]);
/// Enough samples for several in each split of the gradient to the weight.
const SAMPLES: Case = ([5, 20, 9, 15], [33, 3, 3], [1, 1], [1, 1]);
const DEEP: Case = ([1, 20, 6, 7], [160, 3, 3], [1, 1], [1, 1]);
const STRIDED: Case = ([1, 17, 9, 6], [33, 3, 3], [2, 2], [1, 1]);

fn forward_to_rows(device: &CudaDevice) -> Result<(), String> {
    Trial::new(LAYER, Rows::Filters, Some(0.5)).forward::<bf16>(device)
}

fn forward_from_rows(device: &CudaDevice) -> Result<(), String> {
    Trial::new(LAYER, Rows::Channels, Some(0.5)).forward::<bf16>(device)
}

fn backward(device: &CudaDevice) -> Result<(), String> {
    Trial::new(LAYER, Rows::Channels, Some(0.5)).backward_input::<bf16>(device)
}

fn backward_f32(device: &CudaDevice) -> Result<(), String> {
    Trial::new(LAYER, Rows::Channels, Some(0.5)).backward_input::<f32>(device)
}

/// Several chunks of channels.
fn backward_deep(device: &CudaDevice) -> Result<(), String> {
    Trial::new(DEEP, Rows::Channels, Some(0.5)).backward_input::<bf16>(device)
}

fn backward_strided(device: &CudaDevice) -> Result<(), String> {
    Trial::new(STRIDED, Rows::Channels, Some(0.5)).backward_input::<bf16>(device)
}

fn backward_weight(device: &CudaDevice) -> Result<(), String> {
    Trial::new(SAMPLES, Rows::Filters, Some(0.5)).backward_weight::<bf16>(device)
}

fn backward_weight_dense(device: &CudaDevice) -> Result<(), String> {
    Trial::new(SAMPLES, Rows::Filters, None).backward_weight::<bf16>(device)
}

fn compaction(device: &CudaDevice) -> Result<(), String> {
    let gates = random_gates(1, 3, 40, 0.5);
    let mut active = CudaActiveFilters::empty(device, 3, 33).expect("lists");
    let buffer = upload(device, &gates);
    active.refill(&buffer, 40, 4).map_err(|error| error.to_string())?;
    let columns = gates.chunks(40).flat_map(|row| &row[4..37]).copied().collect::<Vec<_>>();
    let got = active.to_host().map_err(|error| error.to_string())?;
    if got == lists(&columns, 33) { Ok(()) } else { Err("the lists differ".to_owned()) }
}

fn shared_gates(device: &CudaDevice) -> Result<(), String> {
    repeat_interleave::check(device, &[2, 4, 1], 3)
}

fn min_active(device: &CudaDevice) -> Result<(), String> {
    gate_largest::check(device, &[3, 40], 2, 30)
}

fn target(device: &CudaDevice) -> Result<(), String> {
    gate_target::check(device, 5, 0)
}

fn shaping(device: &CudaDevice) -> Result<(), String> {
    batch_shaping::check(device, 7, 3, [0.6, 0.4])
}

fn gumbel(device: &CudaDevice) -> Result<(), String> {
    gumbel_sigmoid::check(device, 37, false)
}

fn sgd_steps(device: &CudaDevice) -> Result<(), String> {
    let constants = Constants { momentum: 0.9, max_norm: Some(5.0), ..Constants::default() };
    sgd::steps(device, constants, &sgd::LENGTHS)
}

/// The runs, each with the faults that it must catch.
const RUNS: [(Run, &[Fault]); 23] = [
    (forward_to_rows, conv2d::FORWARD_TO_ROWS),
    (forward_from_rows, conv2d::FORWARD_FROM_ROWS),
    (backward_f32, conv2d::BACKWARD_F32),
    (backward, conv2d::BACKWARD),
    (backward_strided, conv2d::BACKWARD_STRIDED),
    (backward_weight_dense, conv2d::BACKWARD_WEIGHT_DENSE),
    (backward_weight, conv2d::BACKWARD_WEIGHT),
    (compaction, conv2d::LISTS),
    (backward_deep, conv2d::BACKWARD_DEEP),
    (shared_gates, gates::SHARED_GATES),
    (min_active, gates::MIN_ACTIVE),
    (target, gates::TARGET),
    (shaping, gates::BATCH_SHAPING),
    (gumbel, gates::GUMBEL_SIGMOID),
    (pool2d::grid::<f32>, layers::WINDOWS),
    (concat::grid::<bf16>, layers::CONCAT),
    (pad::grid::<f32>, layers::PAD),
    (dropout::grid::<f32>, layers::DROPOUT),
    (shake_shake::grid::<f32>, layers::SHAKE_SHAKE),
    (sgd_steps, training::SGD),
    (ema::updates, training::AVERAGES),
    (augment::blended::<f32>, training::BLENDED),
    (cross_entropy::two_labels, training::TWO_LABELS),
];

fn faults() -> impl Iterator<Item = (Run, &'static Fault)> {
    RUNS.into_iter().flat_map(|(run, faults)| faults.iter().map(move |fault| (run, fault)))
}

/// The device that runs the kernels of `fault`.
fn device_for(fault: &Fault) -> Option<CudaDevice> {
    let mut options = emulator::options();
    let wgmma = fault.patch.source == "conv2d_wgmma.cu";
    options.products = if wgmma { Products::Wgmma } else { Products::MmaSync };
    emulator::device_with(options)
}

#[test]
fn every_planted_fault_is_caught() {
    if real() || !EMULATOR.install() {
        return;
    }
    let mut missed = String::new();
    for (run, fault) in faults() {
        let _planted = EMULATOR.plant(fault.patch.name);
        let device = device_for(fault).expect("the emulator");
        match run(&device) {
            Err(report) if report.contains(fault.report) => {}
            Err(report) => {
                missed +=
                    &format!("{}: expected {:?}, got: {report}\n", fault.patch.name, fault.report);
            }
            Ok(()) => missed += &format!("{}: not caught\n", fault.patch.name),
        }
    }
    assert!(missed.is_empty(), "{missed}");
}

#[test]
fn without_a_fault_the_same_runs_pass() {
    for (run, fault) in faults() {
        let Some(device) = device_for(fault) else { return };
        run(&device).unwrap_or_else(|error| panic!("{}: {error}", fault.patch.name));
    }
}

#[test]
fn a_report_names_the_file_and_the_line() {
    if real() || !EMULATOR.install() {
        return;
    }
    for (fault, place) in [
        ("a barrier is missing", "conv2d.cu:"),
        ("the bound of the filters is missing", "active_filters.cu:"),
        ("a shuffle in a branch", "dev.cuh:"),
    ] {
        let _planted = EMULATOR.plant(fault);
        let device = emulator::device().expect("the emulator");
        let (run, _) = faults().find(|(_, f)| f.patch.name == fault).expect("a fault");
        let report = run(&device).expect_err("a fault");
        assert!(report.contains(place), "{report}");
    }
}

#[test]
fn every_fault_has_a_run() {
    let name = |(_, fault): (Run, &Fault)| fault.patch.name;
    let planted: Vec<_> = faults::patches().iter().map(|patch| patch.name).collect();
    assert_eq!(faults().map(name).collect::<Vec<_>>(), planted);
}
