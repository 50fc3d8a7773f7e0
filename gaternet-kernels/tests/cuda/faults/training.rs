//! Faults of what a training step has beside the network: images, loss, optimiser, averages.

use gaternet_kernels::test_support::emulator::Patch;

use super::fault::Fault;

pub(crate) const SGD: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "the end of a parameter is missing",
            source: "sgd.cu",
            file: "sgd.cu",
            good: "i < table::span && part.first + i < row.length; i += table::threads",
            bad: "i < table::span; i += table::threads",
        },
        report: "out of bounds",
    },
    Fault {
        patch: Patch {
            name: "every block begins with the first part",
            source: "sgd.cu",
            file: "sgd.cu",
            good: "const int at = part.first + i;",
            bad: "const int at = i;",
        },
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "a barrier of a sum of squares is missing",
            source: "sgd.cu",
            file: "reduce.cuh",
            good: "half /= 2) {\n        block_sync();",
            bad: "half /= 2) {",
        },
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "only long gradients are not clipped",
            source: "sgd.cu",
            file: "sgd.cu",
            good: "scale >= 1.0 ? 1.0f",
            bad: "scale <= 1.0 ? 1.0f",
        },
        report: "relative error",
    },
];

pub(crate) const AVERAGES: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "averages move to the wrong side",
            source: "ema.cu",
            file: "ema.cu",
            good: "row.value[at] - row.average[at]",
            bad: "row.average[at] - row.value[at]",
        },
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "all updates have the fraction of the first",
            source: "ema.cu",
            file: "ema.cu",
            good: "fractions[place_of_step(*clock, steps)]",
            bad: "fractions[0]",
        },
        report: "relative error",
    },
];

pub(crate) const BLENDED: &[Fault] = &[Fault {
    patch: Patch {
        name: "an image is blended with itself",
        source: "augment.cu",
        file: "augment.cu",
        good: "* value(other, c, o)",
        bad: "* value(own, c, o)",
    },
    report: "relative error",
}];

pub(crate) const TWO_LABELS: &[Fault] = &[Fault {
    patch: Patch {
        name: "the fractions of two labels are swapped",
        source: "cross_entropy.cu",
        file: "cross_entropy.cu",
        good: "(k == label ? fraction : 0.0f) + (mixed && k == partner ? 1.0f - fraction : 0.0f)",
        bad: "(k == partner ? fraction : 0.0f) + (mixed && k == label ? 1.0f - fraction : 0.0f)",
    },
    report: "relative error",
}];
