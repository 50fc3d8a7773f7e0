// Gated convolution with mma.sync: bf16 in, f32 sums, bf16 out; any sizes, kernel, stride and padding.
//
// Memory contract: a block owns 128 pixels of one sample and 64 of its outputs (active rows or columns), and is the
// only one to write them. It reads source pixels, the active weight rows, their numbers, scale, bias and residual,
// nothing that is not active, and uses 48 KiB of dynamic shared memory (from_rows: and 4 bytes an active row).
#include "conv2d_epilogue.cuh"

namespace {

constexpr int tile_pixels = 128, tile_outputs = 64;
constexpr int threads = 128;  // 2 x 2 warps of 64 pixels x 32 outputs
constexpr int step = 32;      // channels of a step: two units of 16, which may belong to two taps
constexpr int stages = 4;
constexpr int source_bytes = tile_pixels * step * 2;
constexpr int weight_bytes = tile_outputs * step * 2;
constexpr int stage_bytes = source_bytes + weight_bytes;

// Byte offset of 16-byte chunk `chunk` of a row. Chunks are exchanged so that the eight rows that ldmatrix reads
// at once lie in different banks. Rows of 64 bytes (4 chunks): two share a line of 128 bytes.
DEVICE int chunk_of_64(int row, int chunk) { return row * 64 + ((chunk ^ (row >> 1 & 3)) << 4); }
DEVICE int chunk_of_128(int row, int chunk) { return row * 128 + ((chunk ^ (row & 7)) << 4); }

// Copies the source tile of a step: 128 pixels x 32 channels. Each thread has one chunk of four pixels.
struct SourceLoader {
    Origin origins[4];
    Cursor cursor;
    int row, chunk;

    DEVICE SourceLoader(const Geometry& g, int first_pixel, int channels) {
        row = threadIdx.x >> 2;
        chunk = threadIdx.x & 3;
        for (int i = 0; i < 4; i++) origins[i] = origin_of(g, first_pixel + row + 32 * i);
        cursor = {0, 0, 0};
        cursor.advance((chunk >> 1) * 16, channels, g);
    }

    DEVICE void load(const Geometry& g, const bf16* sample, int channels, unsigned char* stage) {
        const bool inside = cursor.inside(g);
        const int channel = cursor.channel + (chunk & 1) * 8;
        for (int i = 0; i < 4; i++) {
            const int pixel = inside ? source_pixel(g, origins[i], cursor.ky, cursor.kx) : -1;
            const bf16* from = sample + static_cast<size_t>(pixel < 0 ? 0 : pixel) * g.source_stride;
            cp_async_16(stage + chunk_of_64(row + 32 * i, chunk), from + channel, pixel >= 0);
        }
        cursor.advance(step, channels, g);
    }
};

// Weights (64 outputs, 32 channels), rows gathered: each thread has one chunk of two rows.
struct ToRowsLoader {
    const bf16* rows[2];  // (KH·KW, column_stride); null beyond the active ones
    const bf16* any;
    Cursor cursor;
    int row, chunk;

    DEVICE ToRowsLoader(const Geometry& g, const bf16* weight, const u16* list, int first, int count) {
        row = threadIdx.x >> 2;
        chunk = threadIdx.x & 3;
        any = weight;
        for (int i = 0; i < 2; i++) {
            const int j = first + row + 32 * i;
            const size_t length = static_cast<size_t>(g.kernel_h) * g.kernel_w * g.column_stride;
            rows[i] = j < count ? weight + (list ? list[j] : j) * length : nullptr;
        }
        cursor = {0, 0, 0};
        cursor.advance((chunk >> 1) * 16, g.column_stride, g);
    }

    DEVICE void load(const Geometry& g, unsigned char* stage) {
        const bool inside = cursor.inside(g);
        const size_t at = static_cast<size_t>(cursor.tap(g)) * g.column_stride + cursor.channel;
        for (int i = 0; i < 2; i++) {
            const bool valid = inside && rows[i];
            const bf16* from = valid ? rows[i] + at + (chunk & 1) * 8 : any;
            cp_async_16(stage + chunk_of_64(row + 32 * i, chunk), from, valid);
        }
        cursor.advance(step, g.column_stride, g);
    }

    // Weights of outputs first..first + 16 and channels unit·16.. as B fragments of two mmas.
    DEVICE static void fragment(u32 (&b)[4], const unsigned char* stage, int first, int unit) {
        const int lane = threadIdx.x & 31;
        const int output = first + (lane & 7) + (lane >> 4 << 3);
        ldmatrix_x4(b, stage + chunk_of_64(output, unit * 2 + (lane >> 3 & 1)));
    }
};

// Weights (32 channels, 64 outputs), channels are gathered rows: each thread has one chunk of two rows, one in
// each unit.
struct FromRowsLoader {
    const bf16* weight;
    const u32* starts;  // shared, (count): where the active rows begin in `weight`, in elements
    Cursor cursors[2];
    int count, row, chunk, column;

    DEVICE FromRowsLoader(const Geometry& g, const bf16* weight, const u32* starts, int first, int count)
        : weight(weight), starts(starts), count(count) {
        row = threadIdx.x >> 3;
        chunk = threadIdx.x & 7;
        column = first + chunk * 8;
        const int channels = round_up_16(count);
        for (int i = 0; i < 2; i++) {
            cursors[i] = {0, 0, 0};
            if (channels > 0) cursors[i].advance(i * 16, channels, g);
        }
    }

    DEVICE void load(const Geometry& g, unsigned char* stage) {
        for (int i = 0; i < 2; i++) {
            const int j = cursors[i].channel + row;
            const bool valid = cursors[i].inside(g) && j < count && column < g.column_stride;
            size_t at = 0;
            if (valid)
                at = shared_load(starts + j) +
                     static_cast<size_t>(cursors[i].tap(g)) * g.column_stride + column;
            cp_async_16(stage + chunk_of_128(row + 16 * i, chunk), weight + at, valid);
            cursors[i].advance(step, round_up_16(count), g);
        }
    }

    DEVICE static void fragment(u32 (&b)[4], const unsigned char* stage, int first, int unit) {
        const int lane = threadIdx.x & 31;
        const int channel = unit * 16 + (lane & 7) + (lane >> 3 & 1) * 8;
        ldmatrix_x4_trans(b, stage + chunk_of_128(channel, (first >> 3) + (lane >> 4)));
    }
};

// The sums of a warp: 64 pixels x 32 outputs in fragments of 16 x 8.
struct Sums {
    float at[4][4][4];
};

// Σ over taps and `channels` (a multiple of 16) of source pixels times weights; `active` outputs of the tile are wanted.
template <class Weights>
DEVICE void accumulate(Sums& sums, const Geometry& g, const bf16* sample, int first_pixel, int channels,
                       Weights& weights, int active, unsigned char* shared) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    const int warp_pixel = (warp & 1) * 64, warp_output = (warp >> 1) * 32;
    const bool idle = first_pixel + warp_pixel >= g.target_h * g.target_w || warp_output >= active;
    const int units = g.kernel_h * g.kernel_w * (channels / 16), steps = (units + 1) / 2;
    if (steps == 0) return;

    SourceLoader source(g, first_pixel, channels);
    auto load = [&](int stage) {
        source.load(g, sample, channels, shared + stage * stage_bytes);
        weights.load(g, shared + stage * stage_bytes + source_bytes);
    };
#pragma unroll
    for (int i = 0; i < stages - 1; i++) {
        if (i < steps) load(i);
        cp_async_commit();
    }
    for (int i = 0; i < steps; i++) {
        // Step i has landed for all, and all have read the stage that is filled next.
        cp_async_wait<stages - 2>();
        block_sync();
        if (i + stages - 1 < steps) load((i + stages - 1) % stages);
        cp_async_commit();
        const unsigned char* a_tile = shared + i % stages * stage_bytes;
        const unsigned char* b_tile = a_tile + source_bytes;
        if (idle) continue;
#pragma unroll
        for (int unit = 0; unit < 2; unit++) {
            u32 a[4][4], b[2][4];
#pragma unroll
            for (int m = 0; m < 4; m++) {
                const int pixel = warp_pixel + m * 16 + (lane & 15);
                ldmatrix_x4(a[m], a_tile + chunk_of_64(pixel, unit * 2 + (lane >> 4)));
            }
#pragma unroll
            for (int n = 0; n < 2; n++) Weights::fragment(b[n], b_tile, warp_output + n * 16, unit);
#pragma unroll
            for (int n = 0; n < 4; n++) {
                if (warp_output + n * 8 >= active) break;  // the same for the whole warp
#pragma unroll
                for (int m = 0; m < 4; m++)
                    mma_m16n8k16(sums.at[m][n], a[m], b[n >> 1][(n & 1) * 2], b[n >> 1][(n & 1) * 2 + 1]);
            }
        }
    }
    cp_async_wait<0>();
}

// Writes the tile. All threads of the block must call it.
DEVICE void store(const Sums& sums, const Geometry& g, int first_pixel, const Tile& tile,
                  const Epilogue<bf16>& epilogue, unsigned char* shared) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    block_sync();  // all have read the tiles that the sums replace
#pragma unroll
    for (int m = 0; m < 4; m++) {
#pragma unroll
        for (int n = 0; n < 4; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int pixel = (warp & 1) * 64 + m * 16 + (i >> 1) * 8 + (lane >> 2);
                const int output = (warp >> 1) * 32 + n * 8 + (lane & 3) * 2 + (i & 1);
                shared_store(sum_at(shared, tile_outputs, pixel, output), sums.at[m][n][i]);
            }
        }
    }
    const int pixels = g.target_h * g.target_w;
    auto pixel_of = [&](int m) { return first_pixel + m < pixels ? first_pixel + m : -1; };
    store_tile<threads>(g, tile, epilogue, pixel_of, shared);
}

}  // namespace

// Dense to active rows. Grid (pixels / 128, rows / 64, N), rounded up.
KERNEL(conv2d_to_rows, threads, 2)(
    const bf16* source,    // dense (N, source_h, source_w, source_stride); source_stride = column_stride
    const bf16* weight,    // (rows, kernel_h, kernel_w, column_stride)
    const u16* indices,    // (N, rows): the active rows, ascending; null: all
    const int* counts,     // (N); null: rows
    EpilogueArguments<bf16> arguments,  // outputs are rows
    bf16* target,          // compact (N, target_h, target_w, target_stride)
    Geometry g) {
    const int n = blockIdx.z, first = blockIdx.y * tile_outputs, first_pixel = blockIdx.x * tile_pixels;
    const int count = counts ? counts[n] : g.rows;
    if (first >= count) return;
    DYNAMIC_SHARED(unsigned char, shared);
    const u16* list = indices ? indices + static_cast<size_t>(n) * g.rows : nullptr;
    const bf16* sample = source + static_cast<size_t>(n) * g.source_h * g.source_w * g.source_stride;
    ToRowsLoader weights(g, weight, list, first, count);
    Sums sums = {};
    accumulate(sums, g, sample, first_pixel, g.column_stride, weights, count - first, shared);
    bf16* out = target + static_cast<size_t>(n) * g.target_h * g.target_w * g.target_stride;
    const auto epilogue = epilogue_of(g, arguments, n, blockIdx.x, gridDim.x, g.rows);
    const Tile tile = {tile_outputs, first, count, round_up_16(count), list, out};
    store(sums, g, first_pixel, tile, epilogue, shared);
}

// Active rows to dense. Grid (pixels / 128, columns / 64, N), rounded up.
KERNEL(conv2d_from_rows, threads, 2)(
    const bf16* source,    // compact (N, source_h, source_w, source_stride)
    const bf16* weight,    // (rows, kernel_h, kernel_w, column_stride)
    const u16* indices,    // (N, rows): the active rows, ascending; null: all
    const int* counts,     // (N); null: rows
    EpilogueArguments<bf16> arguments,  // outputs are columns
    bf16* target,          // dense (N, target_h, target_w, target_stride); target_stride = column_stride
    Geometry g) {
    const int n = blockIdx.z, first = blockIdx.y * tile_outputs, first_pixel = blockIdx.x * tile_pixels;
    const int count = counts ? counts[n] : g.rows;
    DYNAMIC_SHARED(unsigned char, shared);
    u32* starts = reinterpret_cast<u32*>(shared + stages * stage_bytes);
    for (int j = threadIdx.x; j < count; j += threads) {
        const u32 row = indices ? indices[static_cast<size_t>(n) * g.rows + j] : j;
        shared_store(starts + j, row * static_cast<u32>(g.kernel_h * g.kernel_w * g.column_stride));
    }
    block_sync();
    const bf16* sample = source + static_cast<size_t>(n) * g.source_h * g.source_w * g.source_stride;
    FromRowsLoader weights(g, weight, starts, first, count);
    Sums sums = {};
    accumulate(sums, g, sample, first_pixel, round_up_16(count), weights, g.columns - first, shared);
    bf16* out = target + static_cast<size_t>(n) * g.target_h * g.target_w * g.target_stride;
    const auto epilogue = epilogue_of(g, arguments, n, blockIdx.x, gridDim.x, g.columns);
    const Tile tile = {tile_outputs, first, g.columns, g.column_stride, nullptr, out};
    store(sums, g, first_pixel, tile, epilogue, shared);
}
