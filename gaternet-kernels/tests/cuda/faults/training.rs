//! Faults of what a training step has beside the network: images, loss, optimiser, averages.

use gaternet_kernels::cuda::CudaDevice;
use gaternet_kernels::cuda::sgd::Constants;
use gaternet_kernels::test_support::emulator::Patch;

use super::Fault;
use crate::{augment, cross_entropy, ema, sgd};

fn sgd(device: &CudaDevice) -> Result<(), String> {
    let constants = Constants { momentum: 0.9, max_norm: Some(5.0), ..Constants::default() };
    sgd::steps(device, constants, &sgd::LENGTHS)
}

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "the end of a parameter is missing",
            source: "sgd.cu",
            file: "sgd.cu",
            good: "i < table::span && part.first + i < row.length; i += table::threads",
            bad: "i < table::span; i += table::threads",
        },
        run: sgd,
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
        run: sgd,
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
        run: sgd,
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
        run: sgd,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "averages move to the wrong side",
            source: "ema.cu",
            file: "ema.cu",
            good: "row.value[at] - row.average[at]",
            bad: "row.average[at] - row.value[at]",
        },
        run: ema::updates,
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
        run: ema::updates,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "an image is blended with itself",
            source: "augment.cu",
            file: "augment.cu",
            good: "* value(other, c, o)",
            bad: "* value(own, c, o)",
        },
        run: augment::blended::<f32>,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the fractions of two labels are swapped",
            source: "cross_entropy.cu",
            file: "cross_entropy.cu",
            good: "(k == label ? fraction : 0.0f) + (mixed && k == partner ? 1.0f - fraction : 0.0f)",
            bad: "(k == partner ? fraction : 0.0f) + (mixed && k == label ? 1.0f - fraction : 0.0f)",
        },
        run: cross_entropy::two_labels,
        report: "relative error",
    },
];
