//! Faults of layers without gates.

use gaternet_kernels::cuda::{CudaDevice, bf16};
use gaternet_kernels::test_support::emulator::Patch;

use super::Fault;
use crate::{concat, dropout, pad, pool2d, shake_shake};

fn windows(device: &CudaDevice) -> Result<(), String> {
    pool2d::grid::<f32>(device)
}

fn joined(device: &CudaDevice) -> Result<(), String> {
    concat::grid::<bf16>(device)
}

fn padded(device: &CudaDevice) -> Result<(), String> {
    pad::grid::<f32>(device)
}

fn dropped(device: &CudaDevice) -> Result<(), String> {
    dropout::grid::<f32>(device)
}

fn mixed(device: &CudaDevice) -> Result<(), String> {
    shake_shake::grid::<f32>(device)
}

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "the last of equal values gets the gradient",
            source: "max_pool2d.cu",
            file: "max_pool2d.cu",
            good: "return x > best || x != x;",
            bad: "return x >= best || x != x;",
        },
        run: windows,
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
        run: windows,
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
        run: windows,
        report: "",
    },
    Fault {
        patch: Patch {
            name: "the padding holds what was read beyond the channels",
            source: "concat.cu",
            file: "concat.cu",
            good: "if (place.channel + i < p.channels) values[i]",
            bad: "values[i]",
        },
        run: joined,
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
        run: joined,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the bound of the columns is missing",
            source: "pad.cu",
            file: "pad.cu",
            good: " && column >= 0 && column < b.in_w",
            bad: "",
        },
        run: padded,
        report: "",
    },
    Fault {
        patch: Patch {
            name: "eight values have the mask of four",
            source: "dropout.cu",
            file: "dropout.cu",
            good: "(at + first) / 4",
            bad: "at / 4",
        },
        run: dropped,
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "the gradient is mixed as the values were",
            source: "shake_shake.cu",
            file: "shake_shake.cu",
            good: "fraction(clock, stream, place.n, 1)",
            bad: "fraction(clock, stream, place.n, 0)",
        },
        run: mixed,
        report: "a, ",
    },
];
