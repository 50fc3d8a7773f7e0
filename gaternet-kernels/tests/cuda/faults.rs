//! Faults planted in copies of the kernels, each of which the tests must catch: a suite that finds
//! none of these would not find those that we make unasked.

mod gates;
mod layers;
mod training;

use gaternet_kernels::cuda::layout::Rows;
use gaternet_kernels::cuda::{CudaActiveFilters, CudaDevice, Products, bf16};
use gaternet_kernels::test_support::driver::real;
use gaternet_kernels::test_support::emulator::Patch;

use crate::check::{gates, lists, upload};
use crate::conv2d::{Case, Trial};
use crate::emulator::{self, EMULATOR};

/// A change of a source, and the run that must fail because of it.
struct Fault {
    patch: Patch,
    run: fn(&CudaDevice) -> Result<(), String>,
    /// What the report must contain.
    report: &'static str,
}

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
    let gates = gates(1, 3, 40, 0.5);
    let mut active = CudaActiveFilters::empty(device, 3, 33).expect("lists");
    let buffer = upload(device, &gates);
    active.refill(&buffer, 40, 4).map_err(|error| error.to_string())?;
    let columns = gates.chunks(40).flat_map(|row| &row[4..37]).copied().collect::<Vec<_>>();
    let got = active.to_host().map_err(|error| error.to_string())?;
    if got == lists(&columns, 33) { Ok(()) } else { Err("the lists differ".to_owned()) }
}

const FAULTS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "a barrier is missing",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "cp_async_wait<stages - 2>();\n        block_sync();",
            bad: "cp_async_wait<stages - 2>();",
        },
        run: forward_to_rows,
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "the wait for copies is off by one",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "cp_async_wait<stages - 2>",
            bad: "cp_async_wait<stages - 1>",
        },
        run: forward_to_rows,
        report: "race: a copy of thread",
    },
    Fault {
        patch: Patch {
            name: "a stage is filled while it is read",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "load((i + stages - 1) % stages)",
            bad: "load((i + stages) % stages)",
        },
        run: forward_to_rows,
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "the bound of the pixels is missing",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "first_pixel + m < pixels ? first_pixel + m : -1",
            bad: "pixels, first_pixel + m",
        },
        run: forward_to_rows,
        report: "out of bounds",
    },
    Fault {
        patch: Patch {
            name: "the bound of the outputs is missing",
            source: "conv2d.cu",
            file: "conv2d_epilogue.cuh",
            good: "of_tile < tile.outputs && output < tile.end",
            bad: "of_tile < tile.outputs",
        },
        run: forward_from_rows,
        report: "out of bounds",
    },
    Fault {
        patch: Patch {
            name: "the zeros after the active outputs are missing",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "first, count, round_up_16(count), list, out",
            bad: "first, count, count, list, out",
        },
        run: forward_to_rows,
        report: "padding is wrong",
    },
    Fault {
        patch: Patch {
            name: "chunks are read where they would be without the exchange",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "ldmatrix_x4(b, stage + chunk_of_64(output, unit * 2 + (lane >> 3 & 1)))",
            bad: "ldmatrix_x4(b, stage + output * 64 + (unit * 2 + (lane >> 3 & 1)) * 16)",
        },
        run: forward_to_rows,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the halves of a fragment are swapped",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "b[n >> 1][(n & 1) * 2], b[n >> 1][(n & 1) * 2 + 1]",
            bad: "b[n >> 1][(n & 1) * 2 + 1], b[n >> 1][(n & 1) * 2]",
        },
        run: forward_to_rows,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the epilogue takes positions for numbers",
            source: "conv2d.cu",
            file: "conv2d_epilogue.cuh",
            good: "tile.list ? tile.list[output + i] : output + i",
            bad: "output + i",
        },
        run: forward_to_rows,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "rows beyond the active ones are read",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "cursors[i].inside(g) && j < count &&",
            bad: "cursors[i].inside(g) &&",
        },
        run: forward_from_rows,
        report: "cp.async from an address",
    },
    Fault {
        patch: Patch {
            name: "a shuffle in a branch",
            source: "conv2d_f32.cu",
            file: "conv2d_f32.cu",
            good: "value = warp_sum(value);",
            bad: "if ((threadIdx.x & 31) < 16) value = warp_sum(value);",
        },
        run: backward_f32,
        report: "divergent warp",
    },
    Fault {
        patch: Patch {
            name: "the sums of groups are read before they are there",
            source: "conv2d.cu",
            file: "conv2d_epilogue.cuh",
            good: "block_sync();\n    for (int i = threadIdx.x; i < tile.outputs",
            bad: "for (int i = threadIdx.x; i < tile.outputs",
        },
        run: backward,
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "a barrier in a branch",
            source: "conv2d.cu",
            file: "conv2d_epilogue.cuh",
            good: "block_sync();\n    for (int i = threadIdx.x; i < tile.outputs",
            bad: "if (threadIdx.x < 64) block_sync();\n    else block_sync();\n    for (int i = threadIdx.x; i < tile.outputs",
        },
        run: backward,
        report: "divergent barrier",
    },
    Fault {
        patch: Patch {
            name: "the gradient walks the taps forward",
            source: "conv2d.cu",
            file: "conv2d.cuh",
            good: "origin.x + kx * g.direction",
            bad: "origin.x + kx",
        },
        run: backward,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "pixels between strides are not skipped",
            source: "conv2d.cu",
            file: "conv2d.cuh",
            good: "if (x % g.down_w) return -1;",
            bad: "",
        },
        run: backward_strided,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the bound of a row of the gradient is missing",
            source: "conv2d_weight_grad.cu",
            file: "conv2d_weight_grad.cu",
            good: "if (flat >= length) continue;\n                    for",
            bad: "for",
        },
        run: backward_weight_dense,
        report: "out of bounds",
    },
    Fault {
        patch: Patch {
            name: "tiles are filled while those of the sample before are read",
            source: "conv2d_weight_grad.cu",
            file: "conv2d_weight_grad.cu",
            good: "block_sync();  // the tiles of an earlier call have been read",
            bad: "",
        },
        run: backward_weight,
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "arguments in the wrong order",
            source: "active_filters.cu",
            file: "active_filters.cu",
            good: "int stride, int first, int filters) {\n    const int n = blockIdx.x, lane",
            bad: "int first, int stride, int filters) {\n    const int n = blockIdx.x, lane",
        },
        run: compaction,
        report: "the lists differ",
    },
    Fault {
        patch: Patch {
            name: "the bound of the filters is missing",
            source: "active_filters.cu",
            file: "active_filters.cu",
            good: "filter < filters && !(row[filter] == 0.0f)",
            bad: "!(row[filter] == 0.0f)",
        },
        run: compaction,
        report: "out of bounds",
    },
    Fault {
        patch: Patch {
            name: "products do not see what was copied",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "proxy_fence();\n        block_sync();",
            bad: "block_sync();",
        },
        run: forward_to_rows,
        report: "without a proxy_fence",
    },
    Fault {
        patch: Patch {
            name: "registers are used without a fence",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "wgmma_fence();",
            bad: "",
        },
        run: forward_to_rows,
        report: "without wgmma_fence",
    },
    Fault {
        patch: Patch {
            name: "the last product is not waited for",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "wgmma_wait<0>();",
            bad: "wgmma_wait<1>();",
        },
        run: forward_to_rows,
        report: "",
    },
    Fault {
        patch: Patch {
            name: "a barrier before products is missing",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "proxy_fence();\n        block_sync();",
            bad: "proxy_fence();",
        },
        run: forward_to_rows,
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "columns beyond 64 are looked for elsewhere",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "wgmma_descriptor(stage, weight_bytes / 2, 1024)",
            bad: "wgmma_descriptor(stage, weight_bytes / 4, 1024)",
        },
        run: forward_from_rows,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "rows of the patch are as long as those of the rectangle",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "corner + ky * t.patch_w + kx",
            bad: "corner + ky * t.tile_w + kx",
        },
        run: forward_to_rows,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the patch is replaced while it is read",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "first_channel / depth & 1) * t.patch_bytes);\n            weights",
            bad: "first_channel / depth & 0) * t.patch_bytes);\n            weights",
        },
        run: backward_deep,
        report: "",
    },
];

fn faults() -> impl Iterator<Item = &'static Fault> {
    [FAULTS, gates::FAULTS, layers::FAULTS, training::FAULTS].into_iter().flatten()
}

pub(crate) fn patches() -> Vec<&'static Patch> {
    faults().map(|fault| &fault.patch).collect()
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
    for fault in faults() {
        let _planted = EMULATOR.plant(fault.patch.name);
        let device = device_for(fault).expect("the emulator");
        match (fault.run)(&device) {
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
    for fault in faults() {
        let Some(device) = device_for(fault) else { return };
        (fault.run)(&device).unwrap_or_else(|error| panic!("{}: {error}", fault.patch.name));
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
        let fault = faults().find(|f| f.patch.name == fault).expect("a fault");
        let report = (fault.run)(&device).expect_err("a fault");
        assert!(report.contains(place), "{report}");
    }
}
