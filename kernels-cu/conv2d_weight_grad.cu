// Gradient of a convolution's weight with mma.sync: bf16 in, f32 sums, f32 out.
//
//   gradient[row, tap, l] = Σ_n Σ_p target[n, p, row] · source[n, p·tap, l]
//
// in the terms of the pass that computes rows (conv2d.cuh): the side of the rows may be compact, the other is dense.
// As a matrix product: M are rows, N is the flattened (tap, l), which is how a row of the weight lies in memory, and
// K are pixels. Both tiles are transposed as they are read (ldmatrix.trans), so pixels stay whole in shared memory.
//
// Memory contract: a block owns 128 of the (tap, l) and, without lists, a tile of the rows, for a part of the samples
// (a split); it is the only one to write them in the split's partial sums. With lists it owns all rows, since a row is
// at another position for each sample: it clears its part and adds to it sample by sample, in order. Uses 48 KiB of
// dynamic shared memory.
#include "conv2d.cuh"

namespace {

constexpr int tile_flat = 128;  // (tap, l) of a block
constexpr int step = 32;        // pixels of a step
constexpr int stages = 3;
constexpr int flat_bytes = step * tile_flat * 2;

// Byte offset of 16-byte chunk `chunk` of a pixel with `chunks` of them, exchanged so that the eight pixels that
// ldmatrix reads at once lie in different banks.
template <int chunks> DEVICE int offset_of(int pixel, int chunk) { return (pixel * chunks + (chunk ^ (pixel & 7))) << 4; }

// Tiles of `tile_rows` rows: (tile_rows / 32) x 2 warps of 32 rows x 64 (tap, l).
template <int tile_rows> struct Tile {
    static constexpr int threads = tile_rows * 2;
    static constexpr int row_chunks = tile_rows / 8, flat_chunks = tile_flat / 8;
    static constexpr int stage_bytes = step * tile_rows * 2 + flat_bytes;
    static constexpr int row_copies = step * row_chunks / threads, flat_copies = step * flat_chunks / threads;
    static_assert(row_copies * threads == step * row_chunks && flat_copies * threads == step * flat_chunks, "");

    float sums[2][8][4];  // 16 rows x 8 (tap, l) each

    // Where the chunks of (tap, l) come from. A thread has one chunk of `flat_copies` pixels.
    struct Columns {
        int ky, kx, column;
        bool inside;
        DEVICE Columns(const Geometry& g, int first_flat) {
            const int flat = first_flat + threadIdx.x % flat_chunks * 8, tap = flat / g.column_stride;
            ky = tap / g.kernel_w;
            kx = tap % g.kernel_w;
            column = flat % g.column_stride;
            inside = ky < g.kernel_h;
        }
    };

    // Pixels of `samples` samples from `first_sample` on, `first_pixel` counted from the first of them.
    DEVICE static void load(const Geometry& g, const bf16* target, const bf16* source, const Columns& columns,
                            int first_sample, int samples, int first_pixel, int first_row, int rows,
                            unsigned char* stage) {
        const int pixels = g.target_h * g.target_w;
        const int row = first_row + threadIdx.x % row_chunks * 8;
#pragma unroll
        for (int i = 0; i < row_copies; i++) {
            const int k = threadIdx.x / row_chunks + i * (threads / row_chunks), p = first_pixel + k;
            const bool valid = p / pixels < samples && row < rows;
            const size_t at = (static_cast<size_t>(first_sample) * pixels + p) * g.target_stride + row;
            cp_async_16(stage + offset_of<row_chunks>(k, threadIdx.x % row_chunks), target + (valid ? at : 0), valid);
        }
        const size_t plane = static_cast<size_t>(g.source_h) * g.source_w;
#pragma unroll
        for (int i = 0; i < flat_copies; i++) {
            const int k = threadIdx.x / flat_chunks + i * (threads / flat_chunks), p = first_pixel + k;
            const int sample = p / pixels;
            int pixel = -1;
            if (columns.inside && sample < samples)
                pixel = source_pixel(g, origin_of(g, p - sample * pixels), columns.ky, columns.kx);
            const bool valid = pixel >= 0;
            const size_t at = ((first_sample + sample) * plane + pixel) * g.source_stride + columns.column;
            cp_async_16(stage + step * tile_rows * 2 + offset_of<flat_chunks>(k, threadIdx.x % flat_chunks),
                        source + (valid ? at : 0), valid);
        }
    }

    // sums = Σ over the pixels of the samples. `rows` of the rows at `target` are wanted.
    DEVICE void accumulate(const Geometry& g, const bf16* target, const bf16* source, const Columns& columns,
                           int first_sample, int samples, int first_row, int rows, unsigned char* shared) {
        const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
        const int warp_row = (warp >> 1) * 32, warp_flat = (warp & 1) * 64;
        const bool idle = first_row + warp_row >= rows;
        const int steps = (samples * g.target_h * g.target_w + step - 1) / step;
        for (auto& of_m : sums)
            for (auto& of_n : of_m)
                for (float& sum : of_n) sum = 0.0f;
        auto load_step = [&](int i) {
            if (i < steps)
                load(g, target, source, columns, first_sample, samples, i * step, first_row, rows,
                     shared + i % stages * stage_bytes);
            cp_async_commit();
        };
        block_sync();  // the tiles of an earlier call have been read
        for (int i = 0; i < stages - 1; i++) load_step(i);
        for (int i = 0; i < steps; i++) {
            cp_async_wait<stages - 2>();
            block_sync();
            load_step(i + stages - 1);
            const unsigned char* row_tile = shared + i % stages * stage_bytes;
            const unsigned char* flat_tile = row_tile + step * tile_rows * 2;
            if (idle) continue;
#pragma unroll
            for (int unit = 0; unit < step / 16; unit++) {
                // Matrices of a transposed A: (pixels, rows) of (0, 0), (0, 8), (8, 0), (8, 8); of B: pixels first.
                u32 a[2][4];
                const int a_pixel = unit * 16 + (lane & 7) + (lane >> 4) * 8;
                for (int m = 0; m < 2; m++)
                    ldmatrix_x4_trans(
                        a[m], row_tile + offset_of<row_chunks>(a_pixel, (warp_row >> 3) + m * 2 + (lane >> 3 & 1)));
                const int b_pixel = unit * 16 + (lane & 15);
#pragma unroll
                for (int n = 0; n < 4; n++) {
                    u32 b[4];
                    ldmatrix_x4_trans(
                        b, flat_tile + offset_of<flat_chunks>(b_pixel, (warp_flat >> 3) + n * 2 + (lane >> 4)));
                    for (int m = 0; m < 2; m++) {
                        mma_m16n8k16(sums[m][n * 2], a[m], b[0], b[1]);
                        mma_m16n8k16(sums[m][n * 2 + 1], a[m], b[2], b[3]);
                    }
                }
            }
        }
        cp_async_wait<0>();
    }

    // Writes the sums of rows first_row..rows, or adds them.
    DEVICE void store(const Geometry& g, int first_row, int rows, int first_flat, const u16* list, bool add,
                      float* gradient) const {
        const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
        const int length = g.kernel_h * g.kernel_w * g.column_stride;
#pragma unroll
        for (int m = 0; m < 2; m++) {
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = first_row + (warp >> 1) * 32 + m * 16 + half * 8 + (lane >> 2);
                if (row >= rows) continue;
                float* of_row = gradient + static_cast<size_t>(list ? list[row] : row) * length;
#pragma unroll
                for (int n = 0; n < 8; n++) {
                    const int flat = first_flat + (warp & 1) * 64 + n * 8 + (lane & 3) * 2;
                    if (flat >= length) continue;
                    for (int i = 0; i < 2; i++) {
                        const float sum = sums[m][n][half * 2 + i];
                        of_row[flat + i] = add ? of_row[flat + i] + sum : sum;
                    }
                }
            }
        }
    }
};

template <int tile_rows>
DEVICE void weight_grad(const bf16* target, const bf16* source, const u16* indices, const int* counts,
                        float* partials, const Geometry& g, int batch, unsigned char* shared) {
    using T = Tile<tile_rows>;
    const int splits = gridDim.z, split = blockIdx.z, first_flat = blockIdx.x * tile_flat;
    const int begin = static_cast<int>(static_cast<long long>(batch) * split / splits);
    const int end = static_cast<int>(static_cast<long long>(batch) * (split + 1) / splits);
    const int length = g.kernel_h * g.kernel_w * g.column_stride;
    float* gradient = partials + static_cast<size_t>(split) * g.rows * length;
    const typename T::Columns columns(g, first_flat);
    T tile;
    if (!counts) {
        const int first_row = blockIdx.y * tile_rows;
        tile.accumulate(g, target, source, columns, begin, end - begin, first_row, g.rows, shared);
        tile.store(g, first_row, g.rows, first_flat, nullptr, false, gradient);
        return;
    }
    for (int i = threadIdx.x; i < g.rows * tile_flat; i += T::threads) {
        const int flat = first_flat + i % tile_flat;
        if (flat < length) gradient[static_cast<size_t>(i / tile_flat) * length + flat] = 0.0f;
    }
    for (int n = begin; n < end; n++) {
        const int count = counts[n];
        for (int first_row = 0; first_row < count; first_row += tile_rows) {
            // Its barriers also let the block see what it stored for the sample before.
            tile.accumulate(g, target, source, columns, n, 1, first_row, count, shared);
            tile.store(g, first_row, count, first_flat, indices + static_cast<size_t>(n) * g.rows, true, gradient);
        }
    }
}

}  // namespace

// Tiles of 64 rows. Grid (taps · column_stride / 128, rows / 64 (with lists: 1), splits), rounded up. `g` is of the
// pass that computes rows.
KERNEL(conv2d_weight_grad_64, 128, 2)(
    const bf16* target,  // (N, target_h, target_w, target_stride), compact with lists
    const bf16* source,  // dense (N, source_h, source_w, source_stride)
    const u16* indices,  // (N, rows): the active rows, ascending; null: all
    const int* counts,   // (N); null: rows
    float* partials,     // (splits, rows, kernel_h, kernel_w, column_stride)
    Geometry g, int batch) {
    DYNAMIC_SHARED(unsigned char, shared);
    weight_grad<64>(target, source, indices, counts, partials, g, batch, shared);
}

// Tiles of 128 rows, for weights with more than 64.
KERNEL(conv2d_weight_grad_128, 256, 1)(
    const bf16* target,  // (N, target_h, target_w, target_stride), compact with lists
    const bf16* source,  // dense (N, source_h, source_w, source_stride)
    const u16* indices,  // (N, rows): the active rows, ascending; null: all
    const int* counts,   // (N); null: rows
    float* partials,     // (splits, rows, kernel_h, kernel_w, column_stride)
    Geometry g, int batch) {
    DYNAMIC_SHARED(unsigned char, shared);
    weight_grad<128>(target, source, indices, counts, partials, g, batch, shared);
}

// gradient = Σ over splits of the partial sums, in order. Grid (length / 256), block (256).
KERNEL(conv2d_sum_splits, 256, 1)(
    const float* partials,  // (splits, length)
    float* gradient,        // (length)
    int length, int splits) {
    const int i = blockIdx.x * 256 + threadIdx.x;
    if (i >= length) return;
    float sum = 0.0f;
    for (int split = 0; split < splits; split++) sum += partials[static_cast<size_t>(split) * length + i];
    gradient[i] = sum;
}
