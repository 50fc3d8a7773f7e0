//! Faults of convolutions and of the lists of active filters.

use gaternet_kernels::test_support::emulator::Patch;

use super::fault::Fault;

pub(crate) const FORWARD_TO_ROWS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "a barrier is missing",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "cp_async_wait<stages - 2>();\n        block_sync();",
            bad: "cp_async_wait<stages - 2>();",
        },
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
        report: "relative error",
    },
    Fault {
        patch: Patch {
            name: "products do not see what was copied",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "proxy_fence();\n        block_sync();",
            bad: "block_sync();",
        },
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
        report: "race: ",
    },
    Fault {
        patch: Patch {
            name: "rows of the patch are as long as those of the rectangle",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "corner + ky * t.patch_w + kx",
            bad: "corner + ky * t.tile_w + kx",
        },
        report: "relative error",
    },
];

pub(crate) const FORWARD_FROM_ROWS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "the bound of the outputs is missing",
            source: "conv2d.cu",
            file: "conv2d_epilogue.cuh",
            good: "of_tile < tile.outputs && output < tile.end",
            bad: "of_tile < tile.outputs",
        },
        report: "out of bounds",
    },
    Fault {
        patch: Patch {
            name: "rows beyond the active ones are read",
            source: "conv2d.cu",
            file: "conv2d.cu",
            good: "cursors[i].inside(g) && j < count &&",
            bad: "cursors[i].inside(g) &&",
        },
        report: "cp.async from an address",
    },
    Fault {
        patch: Patch {
            name: "columns beyond 64 are looked for elsewhere",
            source: "conv2d_wgmma.cu",
            file: "conv2d_wgmma.cu",
            good: "wgmma_descriptor(stage, weight_bytes / 2, 1024)",
            bad: "wgmma_descriptor(stage, weight_bytes / 4, 1024)",
        },
        report: "relative error",
    },
];

pub(crate) const BACKWARD_F32: &[Fault] = &[Fault {
    patch: Patch {
        name: "a shuffle in a branch",
        source: "conv2d_f32.cu",
        file: "conv2d_f32.cu",
        good: "value = warp_sum(value);",
        bad: "if ((threadIdx.x & 31) < 16) value = warp_sum(value);",
    },
    report: "divergent warp",
}];

pub(crate) const BACKWARD: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "the sums of groups are read before they are there",
            source: "conv2d.cu",
            file: "conv2d_epilogue.cuh",
            good: "block_sync();\n    for (int i = threadIdx.x; i < tile.outputs",
            bad: "for (int i = threadIdx.x; i < tile.outputs",
        },
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
        report: "relative error",
    },
];

pub(crate) const BACKWARD_STRIDED: &[Fault] = &[Fault {
    patch: Patch {
        name: "pixels between strides are not skipped",
        source: "conv2d.cu",
        file: "conv2d.cuh",
        good: "if (x % g.down_w) return -1;",
        bad: "",
    },
    report: "relative error",
}];

pub(crate) const BACKWARD_WEIGHT_DENSE: &[Fault] = &[Fault {
    patch: Patch {
        name: "the bound of a row of the gradient is missing",
        source: "conv2d_weight_grad.cu",
        file: "conv2d_weight_grad.cu",
        good: "if (flat >= length) continue;\n                    for",
        bad: "for",
    },
    report: "out of bounds",
}];

pub(crate) const BACKWARD_WEIGHT: &[Fault] = &[Fault {
    patch: Patch {
        name: "tiles are filled while those of the sample before are read",
        source: "conv2d_weight_grad.cu",
        file: "conv2d_weight_grad.cu",
        good: "block_sync();  // the tiles of an earlier call have been read",
        bad: "",
    },
    report: "race: ",
}];

pub(crate) const LISTS: &[Fault] = &[
    Fault {
        patch: Patch {
            name: "arguments in the wrong order",
            source: "active_filters.cu",
            file: "active_filters.cu",
            good: "int stride, int first, int filters) {\n    const int n = blockIdx.x, lane",
            bad: "int first, int stride, int filters) {\n    const int n = blockIdx.x, lane",
        },
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
        report: "out of bounds",
    },
];

pub(crate) const BACKWARD_DEEP: &[Fault] = &[Fault {
    patch: Patch {
        name: "the patch is replaced while it is read",
        source: "conv2d_wgmma.cu",
        file: "conv2d_wgmma.cu",
        good: "first_channel / depth & 1) * t.patch_bytes);\n            weights",
        bad: "first_channel / depth & 0) * t.patch_bytes);\n            weights",
    },
    report: "",
}];
