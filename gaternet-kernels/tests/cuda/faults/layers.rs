//! Faults of layers without gates.

use gaternet_kernels::test_support::emulator::Patch;

use super::fault::Fault;

pub(crate) const WINDOWS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "the last of equal values gets the gradient",
            source: "max_pool2d.cu",
            file: "max_pool2d.cu",
            good: "return x > best || x != x;",
            bad: "return x >= best || x != x;",
        },
        report: "maximum, gradient",
    },
    Fault {
        patch: Patch {
            name: "a window that ends before a value gets its gradient",
            source: "avg_pool2d.cu",
            file: "pool2d.cuh",
            good: "before / stride + 1, min(",
            bad: "before / stride, min(",
        },
        report: "mean, gradient",
    },
    Fault {
        patch: Patch {
            name: "a window reads beyond the last row",
            source: "avg_pool2d.cu",
            file: "pool2d.cuh",
            good: "min(first + kernel, size)",
            bad: "first + kernel",
        },
        report: "",
    },
];

pub(crate) const CONCAT: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "the padding holds what was read beyond the channels",
            source: "concat.cu",
            file: "concat.cu",
            good: "if (place.channel + i < p.channels) values[i]",
            bad: "values[i]",
        },
        report: "",
    },
    Fault {
        patch: Patch {
            name: "channels move by one",
            source: "concat.cu",
            file: "concat.cu",
            good: "from_b[channel - a_channels]",
            bad: "from_b[channel - a_channels + 1]",
        },
        report: "relative error",
    },
];

pub(crate) const PAD: &[Fault] = &[Fault {
    patch: Patch {
        name: "the bound of the columns is missing",
        source: "pad.cu",
        file: "pad.cu",
        good: " && column >= 0 && column < b.in_w",
        bad: "",
    },
    report: "",
}];

pub(crate) const DROPOUT: &[Fault] = &[Fault {
    patch: Patch {
        name: "eight values have the mask of four",
        source: "dropout.cu",
        file: "dropout.cu",
        good: "(at + first) / 4",
        bad: "at / 4",
    },
    report: "relative error",
}];

pub(crate) const SHAKE_SHAKE: &[Fault] = &[Fault {
    patch: Patch {
        name: "the gradient is mixed as the values were",
        source: "shake_shake.cu",
        file: "shake_shake.cu",
        good: "fraction(clock, stream, place.n, 1)",
        bad: "fraction(clock, stream, place.n, 0)",
    },
    report: "a, ",
}];
