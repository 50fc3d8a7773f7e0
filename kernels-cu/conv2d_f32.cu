// The convolution in f32, pass for pass as in bf16, to compare a GPU with the CPU. Plain loops: no tensor cores.
//
// Memory contract: a thread owns one value of the target (or of the weight's gradient) and is the only one to write it;
// the first thread of a block owns the block's partial sum of a gate gradient. Reads active rows only. 16 bytes of dynamic
// shared memory.
#include "conv2d_epilogue.cuh"

namespace {

constexpr int threads = 128;

// Σ over the block's threads, for thread 0.
DEVICE float block_sum(float value, float* of_warps) {
    value = warp_sum(value);
    if ((threadIdx.x & 31) == 0) shared_store(of_warps + (threadIdx.x >> 5), value);
    block_sync();
    float sum = 0.0f;
    if (threadIdx.x == 0)
        for (int i = 0; i < threads / 32; i++) sum += shared_load(of_warps + i);
    return sum;
}

// Stores the sum of a pixel and an output, and the block's partial sum of the gate gradient. All threads call it.
DEVICE void finish(float sum, const Geometry& g, int pixel, int output, bool active, int number,
                   const Epilogue<float>& epilogue, float* target, float* shared) {
    float gate_gradient = 0.0f;
    if (pixel < g.target_h * g.target_w) {
        const size_t at = static_cast<size_t>(pixel) * g.target_stride + output;
        const float residual = epilogue.residual ? epilogue.residual[at] : 0.0f;
        const float inner = epilogue.inner ? epilogue.inner[at] : 0.0f;
        target[at] = active ? epilogue.value(sum, epilogue.terms(number), residual, inner, gate_gradient) : 0.0f;
    }
    if (!epilogue.partials) return;
    const float total = block_sum(gate_gradient, shared);
    if (threadIdx.x == 0 && active) epilogue.partials[output] = total;
}

// The position of `row` in an ascending list, or -1.
DEVICE int position_of(const u16* list, int count, int row) {
    int low = 0, high = count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (list[middle] < row) low = middle + 1;
        else high = middle;
    }
    return low < count && list[low] == row ? low : -1;
}

}  // namespace

// Dense to active rows. Grid (pixels / 128, target_stride, N), rounded up.
KERNEL(conv2d_f32_to_rows, threads, 1)(
    const float* source,                 // dense (N, source_h, source_w, source_stride)
    const float* weight,                 // (rows, kernel_h, kernel_w, column_stride)
    const u16* indices,                  // (N, rows): the active rows, ascending; null: all
    const int* counts,                   // (N); null: rows
    EpilogueArguments<float> arguments,  // outputs are rows
    float* target,                       // compact (N, target_h, target_w, target_stride)
    Geometry g) {
    DYNAMIC_SHARED(float, shared);
    const int n = blockIdx.z, j = blockIdx.y, pixel = blockIdx.x * threads + threadIdx.x;
    const int count = counts ? counts[n] : g.rows;
    if (j >= round_up_16(count)) return;
    const bool active = j < count;
    const int row = active ? (indices ? indices[static_cast<size_t>(n) * g.rows + j] : j) : 0;
    const Origin origin = origin_of(g, pixel);
    const float* sample = source + static_cast<size_t>(n) * g.source_h * g.source_w * g.source_stride;
    float sum = 0.0f;
    for (int tap = 0; active && tap < g.kernel_h * g.kernel_w; tap++) {
        const int from = source_pixel(g, origin, tap / g.kernel_w, tap % g.kernel_w);
        if (from < 0) continue;
        const float* values = sample + static_cast<size_t>(from) * g.source_stride;
        const float* weights = weight + (static_cast<size_t>(row) * g.kernel_h * g.kernel_w + tap) * g.column_stride;
        for (int l = 0; l < g.columns; l++) sum += values[l] * weights[l];
    }
    finish(sum, g, pixel, j, active, row, epilogue_of(g, arguments, n, blockIdx.x, gridDim.x, g.rows),
           target + static_cast<size_t>(n) * g.target_h * g.target_w * g.target_stride, shared);
}

// Active rows to dense. Grid (pixels / 128, target_stride, N), rounded up.
KERNEL(conv2d_f32_from_rows, threads, 1)(
    const float* source,                 // compact (N, source_h, source_w, source_stride)
    const float* weight,                 // (rows, kernel_h, kernel_w, column_stride)
    const u16* indices,                  // (N, rows): the active rows, ascending; null: all
    const int* counts,                   // (N); null: rows
    EpilogueArguments<float> arguments,  // outputs are columns
    float* target,                       // dense (N, target_h, target_w, target_stride)
    Geometry g) {
    DYNAMIC_SHARED(float, shared);
    const int n = blockIdx.z, l = blockIdx.y, pixel = blockIdx.x * threads + threadIdx.x;
    const int count = counts ? counts[n] : g.rows;
    const u16* list = indices ? indices + static_cast<size_t>(n) * g.rows : nullptr;
    const Origin origin = origin_of(g, pixel);
    const float* sample = source + static_cast<size_t>(n) * g.source_h * g.source_w * g.source_stride;
    const int taps = g.kernel_h * g.kernel_w;
    float sum = 0.0f;
    for (int tap = 0; l < g.columns && tap < taps; tap++) {
        const int from = source_pixel(g, origin, tap / g.kernel_w, tap % g.kernel_w);
        if (from < 0) continue;
        const float* values = sample + static_cast<size_t>(from) * g.source_stride;
        for (int j = 0; j < count; j++) {
            const size_t row = list ? list[j] : j;
            sum += values[j] * weight[(row * taps + tap) * g.column_stride + l];
        }
    }
    finish(sum, g, pixel, l, l < g.columns, l, epilogue_of(g, arguments, n, blockIdx.x, gridDim.x, g.columns),
           target + static_cast<size_t>(n) * g.target_h * g.target_w * g.target_stride, shared);
}

// Gradient of the weight; `g` is of the pass that computes rows. Grid (taps · column_stride / 128, rows), rounded up.
KERNEL(conv2d_f32_weight_grad, threads, 1)(
    const float* target,  // (N, target_h, target_w, target_stride), compact with lists
    const float* source,  // dense (N, source_h, source_w, source_stride)
    const u16* indices,   // (N, rows): the active rows, ascending; null: all
    const int* counts,    // (N); null: rows
    float* gradient,      // (rows, kernel_h, kernel_w, column_stride)
    Geometry g, int batch) {
    const int row = blockIdx.y, flat = blockIdx.x * threads + threadIdx.x;
    const int length = g.kernel_h * g.kernel_w * g.column_stride;
    if (flat >= length) return;
    const int tap = flat / g.column_stride, l = flat % g.column_stride, pixels = g.target_h * g.target_w;
    float sum = 0.0f;
    for (int n = 0; n < batch; n++) {
        const int j = counts ? position_of(indices + static_cast<size_t>(n) * g.rows, counts[n], row) : row;
        if (j < 0) continue;
        const float* values = source + static_cast<size_t>(n) * g.source_h * g.source_w * g.source_stride + l;
        const float* grads = target + static_cast<size_t>(n) * pixels * g.target_stride + j;
        float of_sample = 0.0f;
        for (int pixel = 0; pixel < pixels; pixel++) {
            const int from = source_pixel(g, origin_of(g, pixel), tap / g.kernel_w, tap % g.kernel_w);
            if (from < 0) continue;
            of_sample += grads[static_cast<size_t>(pixel) * g.target_stride] *
                         values[static_cast<size_t>(from) * g.source_stride];
        }
        sum += of_sample;
    }
    gradient[static_cast<size_t>(row) * length + flat] = sum;
}
