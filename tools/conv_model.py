#!/usr/bin/env python3
"""A bound of the time of `kernels-cu/conv2d_wgmma.cu` on an H200, from arithmetic alone: nothing is measured.

    python3 conv_model.py            the table of docs/performance.md

A block computes 128 pixels and up to 128 outputs of one sample. For each 16 channels of a tap it takes, on a multiprocessor,
the longer of
    w clocks of the matrix units: 128 x w x 16 products at 2048 a clock, w being the outputs rounded up to 32;
    37 + 3w/4 clocks of shared memory at 128 bytes a clock: 32 to read the pixels as A, w/2 for the two warpgroups to read
    the weights, w/4 to write them, and 5 to write the patch, which serves nine taps.
All blocks share the multiprocessors evenly. Each block also brings its patch and its live weights from the L2 cache, and the
tensors come from memory once. The bound is the longest of the three times; latencies, launches and the last, partly filled
round of blocks come on top of it. Live filters are binomial, each of N samples and C or F gates on its own.
"""

from math import ceil, comb

BATCH = 128
# H200: multiprocessors, and the clock at which 2048 products a clock are 790 TFLOP/s; bytes a second of the L2 cache
# (assumed: 34 a clock and multiprocessor) and of memory (of which 4.8e12 are specified).
SMS, CLOCK, L2, MEMORY = 132, 790e12 / (132 * 4096), 6.5e12, 4.2e12
LAYERS = [(160, 32), (320, 16), (64, 56), (256, 14)]  # channels and filters, side; 3x3
TILE_OUTPUTS, TAPS = 128, 9


def round_up(x, to):
    return ceil(x / to) * to


def tile(side):
    """Height and width of a block's pixels: as `tile_of` of gaternet-kernels/src/cuda/conv2d/wgmma.rs."""
    count = lambda t: ceil(side / t[0]) * ceil(side / t[1])
    return (16, 8) if count((16, 8)) < count((8, 16)) else (8, 16)


def sample(channels, filters, side):
    """(clocks, L2 bytes, bytes in memory) of a sample with so many live channels and filters."""
    height, width = tile(side)
    pixel_blocks = ceil(side / height) * ceil(side / width)
    clocks = l2 = 0
    for first in range(0, filters, TILE_OUTPUTS):
        outputs = min(round_up(filters, 16) - first, TILE_OUTPUTS)
        w = round_up(outputs, 32)
        steps = TAPS * round_up(channels, 32) // 16
        clocks += steps * max(w, 37 + 0.75 * w)
        l2 += 2 * channels * (TAPS * min(filters - first, TILE_OUTPUTS) + (height + 2) * (width + 2))
    return pixel_blocks * clocks, pixel_blocks * l2, 2 * side * side * (round_up(channels, 16) + round_up(filters, 16))


def layer(size, side, density, gating):
    """(seconds by matrix units and shared memory, by L2, by memory), and their bytes."""
    def of(live):
        return sample(live, size, side) if gating == "input" else sample(size, live, side)
    shares = [(comb(size, n) * density**n * (1 - density) ** (size - n), n) for n in range(size + 1)] if density < 1 else [(1, size)]
    clocks, l2, memory = (BATCH * sum(p * of(n)[i] for p, n in shares if p > 0) for i in range(3))
    memory += 2 * TAPS * size * size
    return clocks / SMS / CLOCK, l2 / L2, memory / MEMORY, l2, memory


def main():
    print("| layer | gated side | density | products and shared memory µs | L2 MB | µs | memory MB | µs | bound µs | over density 1 | TFLOP/s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for size, side in LAYERS:
        dense = max(layer(size, side, 1, "output")[:3])
        operations = 2 * BATCH * side * side * TAPS * size * size
        for gating, density in [("none", 1), ("output", 0.5), ("output", 0.25), ("input", 0.5), ("input", 0.25)]:
            inside, l2_time, memory_time, l2, memory = layer(size, side, density, gating)
            bound = max(inside, l2_time, memory_time)
            print(f"| {size}x{size}@{side}k3 | {gating} | {density} | {inside * 1e6:.0f} | {l2 / 1e6:.0f} | {l2_time * 1e6:.0f} | {memory / 1e6:.0f} "
                  f"| {memory_time * 1e6:.0f} | {bound * 1e6:.0f} | {bound / dense:.2f} | {operations / bound / 1e12:.0f} |")


if __name__ == "__main__":
    main()
