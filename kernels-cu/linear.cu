// Fully connected layers in f32, with an optional ReLU: y = relu(x · weightᵀ + bias), and its gradients.
//
// Memory contract: all three products are one kernel with other strides. A block alone writes 64 x 64 results and reads
// 64 rows of either factor, 16 columns at a time, through 8.5 KiB of dynamic shared memory. The bias gradient has a block
// for 32 features (1 KiB).
#include "dev.cuh"

namespace {

constexpr int tile = 64, step = 16, threads = 256;
constexpr int row_length = tile + 4;  // of a tile of a factor, (step, row_length): the threads' stores find other banks

// Mirrors `Product` of gaternet-kernels/src/cuda/linear.rs: c (m, n) = a (m, k) · b (k, n).
struct Product {
    int m, n, k;
    int a_m, a_k, b_k, b_n;  // element (i, j) of a is at i · a_m + j · a_k, and so on; c is contiguous
    int relu;
};

// Copies columns first_k.. of 64 rows of a factor, whose element (row, k) is at row · stride + k · stride_k.
DEVICE void load_tile(float* target, const float* factor, const float* open, int first_row, int rows, int first_k, int k,
                      int stride, int stride_k) {
    for (int i = threadIdx.x; i < tile * step; i += threads) {
        // Neighbouring threads read neighbouring elements.
        const int row = stride_k == 1 ? i / step : i % tile, column = stride_k == 1 ? i % step : i / tile;
        float value = 0.0f;
        if (first_row + row < rows && first_k + column < k) {
            const size_t at = static_cast<size_t>(first_row + row) * stride + static_cast<size_t>(first_k + column) * stride_k;
            value = open && open[at] <= 0.0f ? 0.0f : factor[at];
        }
        shared_store(target + column * row_length + row, value);
    }
}

}  // namespace

// Grid (n / 64, m / 64), rounded up.
KERNEL(linear_product, threads, 2)(
    const float* a,     // (m, k)
    const float* open,  // as a, which counts as 0 where this is 0 or less; null: a counts everywhere
    const float* b,     // (k, n)
    const float* bias,  // (n); null: 0
    float* c,           // (m, n)
    Product p) {
    DYNAMIC_SHARED(float, shared);
    float* a_tile = shared;
    float* b_tile = shared + step * row_length;
    const int first_m = blockIdx.y * tile, first_n = blockIdx.x * tile;
    const int row = threadIdx.x / 16, column = threadIdx.x % 16;  // of results row + 16 i, column + 16 j
    float sums[4][4] = {};
    for (int first_k = 0; first_k < p.k; first_k += step) {
        load_tile(a_tile, a, open, first_m, p.m, first_k, p.k, p.a_m, p.a_k);
        load_tile(b_tile, b, nullptr, first_n, p.n, first_k, p.k, p.b_n, p.b_k);
        block_sync();
        for (int k = 0; k < step; k++) {
            float of_a[4], of_b[4];
            for (int i = 0; i < 4; i++) of_a[i] = shared_load(a_tile + k * row_length + row + 16 * i);
            for (int j = 0; j < 4; j++) of_b[j] = shared_load(b_tile + k * row_length + column + 16 * j);
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) sums[i][j] += of_a[i] * of_b[j];
        }
        block_sync();
    }
    for (int i = 0; i < 4; i++) {
        for (int j = 0; j < 4; j++) {
            const int m = first_m + row + 16 * i, n = first_n + column + 16 * j;
            if (m >= p.m || n >= p.n) continue;
            const float value = sums[i][j] + (bias ? bias[n] : 0.0f);
            c[static_cast<size_t>(m) * p.n + n] = p.relu && value <= 0.0f ? 0.0f : value;  // NaN stays
        }
    }
}

// Grid (O / 32, rounded up), 8 x 32 threads.
KERNEL(linear_bias_gradient, threads, 2)(
    const float* grad_y,  // (N, O)
    const float* open,    // as grad_y, which counts as 0 where this is 0 or less; null: it counts everywhere
    float* grad_bias,     // (O)
    int batch, int features) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32, o = blockIdx.x * 32 + lane;
    float sum = 0.0f;
    for (int n = row; n < batch && o < features; n += threads / 32) {
        const size_t at = static_cast<size_t>(n) * features + o;
        sum += open && open[at] <= 0.0f ? 0.0f : grad_y[at];
    }
    shared_store(shared + threadIdx.x, sum);
    block_sync();
    if (row > 0 || o >= features) return;
    for (int i = 1; i < threads / 32; i++) sum += shared_load(shared + i * 32 + lane);
    grad_bias[o] = sum;
}
