//! Faults of estimators, floors and losses of gates.

use gaternet_kernels::cuda::CudaDevice;
use gaternet_kernels::test_support::emulator::Patch;

use super::Fault;
use crate::{batch_shaping, gate_largest, gate_target, gumbel_sigmoid, repeat_interleave};

fn sums_of_gates(device: &CudaDevice) -> Result<(), String> {
    repeat_interleave::check(device, &[2, 4, 1], 3)
}

fn floor(device: &CudaDevice) -> Result<(), String> {
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

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "a shared gate has all filters up to its last",
            source: "repeat_interleave.cu",
            file: "repeat_interleave.cu",
            good: "for (int i = firsts[number]; i < firsts[number + 1]; i++) sum",
            bad: "for (int i = 0; i < firsts[number + 1]; i++) sum",
        },
        run: sums_of_gates,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "equals all come first",
            source: "gate_largest.cu",
            file: "gate_largest.cu",
            good: "|| (other == key && j < i) ? 1 : 0",
            bad: "? 1 : 0",
        },
        run: floor,
        report: "gates",
    },
    Fault {
        patch: Patch {
            name: "negative numbers are in the order of their size",
            source: "gate_largest.cu",
            file: "gate_largest.cu",
            good: "bits < 0 ? bits ^ 0x7fffffff : bits",
            bad: "bits",
        },
        run: floor,
        report: "gates",
    },
    Fault {
        patch: Patch {
            name: "work is summed before all warps have it",
            source: "gate_target.cu",
            file: "gate_target.cu",
            good: "    }\n    block_sync();\n    if (threadIdx.x == 0) {",
            bad: "    }\n    if (threadIdx.x == 0) {",
        },
        run: target,
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "the fraction of channels is that of filters",
            source: "gate_target.cu",
            file: "gate_target.cu",
            good: "slope * open_fraction(work, channels, n, t.batch)",
            bad: "slope * open_fraction(work, filters, n, t.batch)",
        },
        run: target,
        report: "gradient",
    },
    Fault {
        patch: Patch {
            name: "bounds are not those of the step",
            source: "gate_target.cu",
            file: "gate_target.cu",
            good: "schedule + place_of_step(*clock, t.steps) * 3",
            bad: "schedule",
        },
        run: target,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "probabilities are ranked before they are there",
            source: "batch_shaping.cu",
            file: "batch_shaping.cu",
            good: "block_sync();\n    const double ln_beta",
            bad: "const double ln_beta",
        },
        run: shaping,
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "ranks begin at 0",
            source: "batch_shaping.cu",
            file: "batch_shaping.cu",
            good: "int rank = 1;",
            bad: "int rank = 0;",
        },
        run: shaping,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the gradient forgets the temperature",
            source: "gumbel_sigmoid.cu",
            file: "gumbel_sigmoid.cu",
            good: "s * (1.0f - s) / tau",
            bad: "s * (1.0f - s)",
        },
        run: gumbel,
        report: "relative error",
    },
];
