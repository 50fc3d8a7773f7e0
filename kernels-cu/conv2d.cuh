// What the convolution kernels share: the sizes of a pass, and how an output pixel and a tap find the input pixel.
//
// The gated side of a weight is its rows: (R, KH, KW, L) with R rows, L columns padded with zeros to a multiple
// of 16. Rows are filters where the output is gated, channels where the input is. A row is contiguous, so
// gathering active ones costs nothing. Two kernels then serve four passes:
//
//   to rows    target[p, j] = Σ_tap Σ_l source[p·tap, l] · weight[row j, tap, l]    dense -> active rows
//   from rows  target[p, l] = Σ_tap Σ_j source[p·tap, j] · weight[row j, tap, l]    active rows -> dense
//
//   rows are   forward    gradient to the input
//   filters    to rows    from rows
//   channels   from rows  to rows
//
// An activation is (N, H, W, S) with S the channels rounded up to a multiple of 16. Dense: channel c at c, zeros
// from C on. Compact: the active channels of the sample in ascending order, then zeros to the next multiple of 16;
// what follows is neither read nor written.
#pragma once

#include "dev.cuh"

// Mirrors `Geometry` of gaternet-kernels/src/cuda/conv2d.rs.
struct Geometry {
    int source_h, source_w, source_stride;  // source (N, source_h, source_w, source_stride)
    int target_h, target_w, target_stride;  // target (N, target_h, target_w, target_stride)
    int kernel_h, kernel_w;
    int rows, columns, column_stride;  // weight (rows, kernel_h, kernel_w, column_stride)
    // A tap (ky, kx) of target pixel (y, x) reads source row (y·up_h + offset_h + ky·direction) / down_h if
    // that is a whole number, and column alike.
    int up_h, up_w, down_h, down_w, offset_h, offset_w, direction;
    // Row n of the gates, if there are any, is gates[n · gate_stride + gate_first..], one for each output.
    int gate_stride, gate_first;
    int relu;
};

DEVICE int round_up_16(int value) { return (value + 15) & ~15; }

// Far enough below 0 to be outside with every tap.
constexpr int nowhere = -(1 << 29);

// Where the taps of one target pixel begin, before the division by `down`.
struct Origin {
    int y, x;
};

DEVICE Origin origin_of(const Geometry& g, int pixel) {
    if (pixel >= g.target_h * g.target_w) return {nowhere, nowhere};
    const int y = pixel / g.target_w, x = pixel - y * g.target_w;
    return {y * g.up_h + g.offset_h, x * g.up_w + g.offset_w};
}

// The source pixel that a tap reads, or -1 if it lies in the border or between strides.
DEVICE int source_pixel(const Geometry& g, Origin origin, int ky, int kx) {
    int y = origin.y + ky * g.direction, x = origin.x + kx * g.direction;
    if (y < 0 || x < 0) return -1;
    if (g.down_h > 1) {
        if (y % g.down_h) return -1;
        y /= g.down_h;
    }
    if (g.down_w > 1) {
        if (x % g.down_w) return -1;
        x /= g.down_w;
    }
    return y < g.source_h && x < g.source_w ? y * g.source_w + x : -1;
}

// A place in the sum over (tap, channel): channels run within a tap.
struct Cursor {
    int ky, kx, channel;

    // `channels` must be at least 1.
    DEVICE void advance(int by, int channels, const Geometry& g) {
        channel += by;
        while (channel >= channels && ky < g.kernel_h) {
            channel -= channels;
            if (++kx == g.kernel_w) {
                kx = 0;
                ky++;
            }
        }
    }
    DEVICE bool inside(const Geometry& g) const { return ky < g.kernel_h; }
    DEVICE int tap(const Geometry& g) const { return ky * g.kernel_w + kx; }
};
