//! Faults of estimators, min-active, shared gates and losses of gates.

use gaternet_kernels::test_support::emulator::Patch;

use super::fault::Fault;

pub(crate) const SHARED_GATES: &[Fault] = &[Fault {
    patch: Patch {
        name: "a shared gate has all filters up to its last",
        source: "repeat_interleave.cu",
        file: "repeat_interleave.cu",
        good: "for (int i = firsts[number]; i < firsts[number + 1]; i++) sum",
        bad: "for (int i = 0; i < firsts[number + 1]; i++) sum",
    },
    report: "relative error",
}];

pub(crate) const MIN_ACTIVE: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "equals all come first",
            source: "gate_largest.cu",
            file: "gate_largest.cu",
            good: "|| (other == key && j < i) ? 1 : 0",
            bad: "? 1 : 0",
        },
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
        report: "gates",
    },
];

pub(crate) const TARGET: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "work is summed before all warps have it",
            source: "gate_target.cu",
            file: "gate_target.cu",
            good: "    }\n    block_sync();\n    if (threadIdx.x == 0) {",
            bad: "    }\n    if (threadIdx.x == 0) {",
        },
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
        report: "relative error",
    },
];

pub(crate) const BATCH_SHAPING: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "probabilities are ranked before they are there",
            source: "batch_shaping.cu",
            file: "batch_shaping.cu",
            good: "block_sync();\n    const double ln_beta",
            bad: "const double ln_beta",
        },
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
        report: "relative error",
    },
];

pub(crate) const GUMBEL_SIGMOID: &[Fault] = &[Fault {
    patch: Patch {
        name: "the gradient forgets the temperature",
        source: "gumbel_sigmoid.cu",
        file: "gumbel_sigmoid.cu",
        good: "s * (1.0f - s) / tau",
        bad: "s * (1.0f - s)",
    },
    report: "relative error",
}];
