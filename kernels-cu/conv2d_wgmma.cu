// The passes of conv2d.cu for compute capability 9.0, with stride 1 and at least three taps: bf16 in, f32 sums, bf16 out.
//
// The pixels of a block are a rectangle, and the part of the source that all its taps see (the patch) stays in shared
// memory for 64 channels at a time, so it is copied once instead of once a tap. Its rows are pixels, and a tap is
// another set of rows, which ldmatrix brings into registers as A; B, the weights of a tap, is read from shared memory.
//
// Memory contract: as conv2d.cu with 128 pixels and 128 outputs a block. Uses 64 KiB of dynamic shared memory, two
// patches, and 4 bytes for each of 128 rows (from_rows: each active row).
#include "conv2d_epilogue.cuh"
#include "dev90.cuh"

// Mirrors `Tiling` of gaternet-kernels/src/cuda/conv2d/wgmma.rs.
struct Tiling {
    int tile_h, tile_w;  // pixels of a block: tile_h · tile_w = 128, tile_w is 8 or 16
    int tiles_x;         // blocks from left to right
    int patch_h, patch_w;
    int patch_bytes;  // of patch_h · patch_w rows of 128 bytes, a multiple of 1024
};

namespace {

constexpr int tile_outputs = 128;
constexpr int threads = 256;  // two warpgroups of 64 pixels
constexpr int depth = 64;     // channels of a step
constexpr int stages = 4;
constexpr int weight_bytes = depth * tile_outputs * 2;

DEVICE int chunk_of_128(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

// The block's rectangle.
struct Rectangle {
    int y, x;
    DEVICE Rectangle(const Tiling& t)
        : y(blockIdx.x / t.tiles_x * t.tile_h), x(blockIdx.x % t.tiles_x * t.tile_w) {}
};

// A step of the sum: a tap of 64 channels; the taps of the same channels follow each other.
struct Step {
    int ky = 0, kx = 0, first_channel = 0;
    DEVICE void advance(const Geometry& g) {
        if (++kx < g.kernel_w) return;
        kx = 0;
        if (++ky < g.kernel_h) return;
        ky = 0;
        first_channel += depth;
    }
    DEVICE bool first_tap() const { return ky == 0 && kx == 0; }
};

// Copies the channels of a step for all pixels that any tap of the rectangle reads.
DEVICE void load_patch(const Geometry& g, const Tiling& t, const Rectangle& at, const bf16* sample, int first_channel,
                       int channels, unsigned char* patch) {
    const int chunk = threadIdx.x & 7, channel = first_channel + chunk * 8;
    const int top = at.y + g.offset_h - (g.direction < 0 ? g.kernel_h - 1 : 0);
    const int left = at.x + g.offset_w - (g.direction < 0 ? g.kernel_w - 1 : 0);
    for (int row = threadIdx.x >> 3; row < t.patch_h * t.patch_w; row += threads / 8) {
        const int y = top + row / t.patch_w, x = left + row % t.patch_w;
        const bool valid = y >= 0 && y < g.source_h && x >= 0 && x < g.source_w && channel < channels;
        const size_t from = (static_cast<size_t>(y) * g.source_w + x) * g.source_stride + channel;
        cp_async_16(patch + chunk_of_128(row, chunk), sample + (valid ? from : 0), valid);
    }
}

// Weights with outputs as rows of shared memory: (128 outputs, 64 channels).
struct ToRows {
    static constexpr int transposed = 0;
    const bf16* weight;
    const u32* starts;  // shared, (active): where the rows of the block's outputs begin in `weight`, in elements
    int active;

    DEVICE void load(const Geometry& g, const Step& step, int channels, unsigned char* stage) const {
        const int chunk = threadIdx.x & 7, channel = step.first_channel + chunk * 8;
        const u32 at = (step.ky * g.kernel_w + step.kx) * g.column_stride + channel;
#pragma unroll 1  // the sums need the registers
        for (int output = threadIdx.x >> 3; output < tile_outputs; output += threads / 8) {
            const bool valid = output < active && channel < channels;
            cp_async_16(stage + chunk_of_128(output, chunk),
                        weight + (valid ? shared_load(starts + output) + at : 0), valid);
        }
    }
    DEVICE static u64 descriptor(const unsigned char* stage, int unit) {
        return wgmma_descriptor(stage, 16, 1024) + unit * (32 >> 4);
    }
};

// Weights with channels, which are gathered rows, as rows of shared memory: two times (64 channels, 64 outputs).
struct FromRows {
    static constexpr int transposed = 1;
    const bf16* weight;
    const u32* starts;  // shared, (count): where the active rows begin in `weight`, in elements
    int first, count;

    DEVICE void load(const Geometry& g, const Step& step, int, unsigned char* stage) const {
        const int chunk = threadIdx.x & 7;
        const int tap = step.ky * g.kernel_w + step.kx;
        for (int row = threadIdx.x >> 3; row < depth; row += threads / 8) {
            const int j = step.first_channel + row;
            const u32 start = j < count ? shared_load(starts + j) + tap * g.column_stride : 0;
            for (int half = 0; half < 2; half++) {
                const int column = first + half * 64 + chunk * 8;
                const bool valid = j < count && column < g.column_stride;
                cp_async_16(stage + half * (weight_bytes / 2) + chunk_of_128(row, chunk),
                            weight + (valid ? start + column : 0), valid);
            }
        }
    }
    DEVICE static u64 descriptor(const unsigned char* stage, int unit) {
        return wgmma_descriptor(stage, weight_bytes / 2, 1024) + unit * (16 * 128 >> 4);
    }
};

// The product of 32 channels of a step, from 16 · unit on: no branch may stand between the fence and the commit. `a` is
// for this product until the wait.
template <int n, class Weights>
DEVICE void multiply(float (&sums)[n / 2], u32 (&a)[2][4], const unsigned char* patch, int row,
                     const unsigned char* weights, int unit) {
    const int half = threadIdx.x >> 4 & 1;
#pragma unroll
    for (int i = 0; i < 2; i++) ldmatrix_x4(a[i], patch + chunk_of_128(row, (unit + i) * 2 + half));
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < 2; i++) wgmma<n, Weights::transposed>(sums, a[i], Weights::descriptor(weights, unit + i));
    wgmma_commit();
}

// What is the same for all numbers of outputs.
struct Pass {
    const bf16* sample;  // of the source
    int channels;        // a multiple of 16
    int first_output, count, end;
    const u16* list;  // null: outputs are their own numbers
    bf16* target;     // of the sample
    unsigned char* shared;
};

template <int n, class Weights>
DEVICE void run(const Pass& p, const Weights& weights, const Geometry& g, const Tiling& t,
                const Epilogue<bf16>& epilogue) {
    const Rectangle rectangle(t);
    const int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    // The patch row of this lane's pixel for the tap at its top left.
    const int pixel = warp * 16 + (lane & 15);
    const int corner = pixel / t.tile_w * t.patch_w + pixel % t.tile_w;
    const bool idle = rectangle.y + (warp >> 2) * 64 / t.tile_w >= g.target_h;  // the same for a warpgroup
    const int steps = (p.channels + depth - 1) / depth * g.kernel_h * g.kernel_w;
    unsigned char* weight_tiles = p.shared;
    unsigned char* patches = p.shared + stages * weight_bytes;

    Step next;
    auto load = [&](int i) {
        if (i < steps) {
            if (next.first_tap())
                load_patch(g, t, rectangle, p.sample, next.first_channel, p.channels,
                           patches + (next.first_channel / depth & 1) * t.patch_bytes);
            weights.load(g, next, p.channels, weight_tiles + i % stages * weight_bytes);
            next.advance(g);
        }
        cp_async_commit();
    };
    float sums[n / 2] = {};
    for (int i = 0; i < stages - 1; i++) load(i);
    Step step;
    for (int i = 0; i < steps; i++) {
        // Step i has landed for all, where wgmma sees it, and all have read the stage that is filled next.
        cp_async_wait<stages - 2>();
        proxy_fence();
        block_sync();
        const unsigned char* patch = patches + (step.first_channel / depth & 1) * t.patch_bytes;
        const unsigned char* tile = weight_tiles + i % stages * weight_bytes;
        const int ky = g.direction < 0 ? g.kernel_h - 1 - step.ky : step.ky;
        const int kx = g.direction < 0 ? g.kernel_w - 1 - step.kx : step.kx;
        const int row = corner + ky * t.patch_w + kx;
        const bool whole = p.channels - step.first_channel > depth / 2;
        u32 a[2][2][4];
        if (!idle) {
            multiply<n, Weights>(sums, a[0], patch, row, tile, 0);
            if (whole) multiply<n, Weights>(sums, a[1], patch, row, tile, 2);
        }
        load(i + stages - 1);
        wgmma_wait<0>();
        step.advance(g);
    }
    cp_async_wait<0>();
    block_sync();  // all have read the tiles that the sums replace
#pragma unroll
    for (int j = 0; j < n / 2; j++) {
        const int m = warp * 16 + (j >> 1 & 1) * 8 + (lane >> 2), output = j / 4 * 8 + (lane & 3) * 2 + (j & 1);
        shared_store(sum_at(p.shared, n, m, output), sums[j]);
    }
    auto pixel_of = [&](int m) {
        const int y = rectangle.y + m / t.tile_w, x = rectangle.x + m % t.tile_w;
        return y < g.target_h && x < g.target_w ? y * g.target_w + x : -1;
    };
    store_tile<threads>(g, {n, p.first_output, p.count, p.end, p.list, p.target}, epilogue, pixel_of, p.shared);
}

// Lists where the rows `first..first + active` begin in the weight, after the tiles.
DEVICE u32* list_starts(const Geometry& g, const Tiling& t, const u16* list, int first, int active,
                        unsigned char* shared) {
    u32* starts = reinterpret_cast<u32*>(shared + stages * weight_bytes + 2 * t.patch_bytes);
    for (int j = threadIdx.x; j < active; j += threads) {
        const u32 row = list ? list[first + j] : first + j;
        shared_store(starts + j, row * static_cast<u32>(g.kernel_h * g.kernel_w * g.column_stride));
    }
    block_sync();
    return starts;
}

// As few outputs as hold the active ones.
template <class Weights>
DEVICE void run_for(int active, const Pass& p, const Weights& weights, const Geometry& g, const Tiling& t,
                    const Epilogue<bf16>& epilogue) {
    if (active <= 32) run<32>(p, weights, g, t, epilogue);
    else if (active <= 64) run<64>(p, weights, g, t, epilogue);
    else if (active <= 96) run<96>(p, weights, g, t, epilogue);
    else run<128>(p, weights, g, t, epilogue);
}

}  // namespace

// Dense to active rows. Grid (tiles, rows / 128, N), rounded up.
KERNEL(conv2d_wgmma_to_rows, threads, 2)(
    const bf16* source,                 // dense (N, source_h, source_w, source_stride); source_stride = column_stride
    const bf16* weight,                 // (rows, kernel_h, kernel_w, column_stride)
    const u16* indices,                 // (N, rows): the active rows, ascending; null: all
    const int* counts,                  // (N); null: rows
    EpilogueArguments<bf16> arguments,  // outputs are rows
    bf16* target,                       // compact (N, target_h, target_w, target_stride)
    Geometry g, Tiling t) {
    const int n = blockIdx.z, first = blockIdx.y * tile_outputs;
    const int count = counts ? counts[n] : g.rows;
    if (first >= count) return;
    DYNAMIC_SHARED(unsigned char, shared);
    const u16* list = indices ? indices + static_cast<size_t>(n) * g.rows : nullptr;
    const Pass pass = {source + static_cast<size_t>(n) * g.source_h * g.source_w * g.source_stride,
                       g.column_stride,
                       first,
                       count,
                       round_up_16(count),
                       list,
                       target + static_cast<size_t>(n) * g.target_h * g.target_w * g.target_stride,
                       shared};
    const int active = min(count - first, tile_outputs);
    const ToRows weights = {weight, list_starts(g, t, list, first, active, shared), active};
    run_for(round_up_16(count) - first, pass, weights, g, t,
            epilogue_of(g, arguments, n, blockIdx.x, gridDim.x, g.rows));
}

// Active rows to dense. Grid (tiles, columns / 128, N), rounded up.
KERNEL(conv2d_wgmma_from_rows, threads, 2)(
    const bf16* source,                 // compact (N, source_h, source_w, source_stride)
    const bf16* weight,                 // (rows, kernel_h, kernel_w, column_stride)
    const u16* indices,                 // (N, rows): the active rows, ascending; null: all
    const int* counts,                  // (N); null: rows
    EpilogueArguments<bf16> arguments,  // outputs are columns
    bf16* target,                       // dense (N, target_h, target_w, target_stride); target_stride = column_stride
    Geometry g, Tiling t) {
    const int n = blockIdx.z, first = blockIdx.y * tile_outputs;
    const int count = counts ? counts[n] : g.rows;
    DYNAMIC_SHARED(unsigned char, shared);
    const u16* list = indices ? indices + static_cast<size_t>(n) * g.rows : nullptr;
    const Pass pass = {source + static_cast<size_t>(n) * g.source_h * g.source_w * g.source_stride,
                       round_up_16(count),
                       first,
                       g.columns,
                       g.column_stride,
                       nullptr,
                       target + static_cast<size_t>(n) * g.target_h * g.target_w * g.target_stride,
                       shared};
    const FromRows weights = {weight, list_starts(g, t, list, 0, count, shared), first, count};
    run_for(g.column_stride - first, pass, weights, g, t,
            epilogue_of(g, arguments, n, blockIdx.x, gridDim.x, g.columns));
}
