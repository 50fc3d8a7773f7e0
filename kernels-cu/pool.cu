// Average pools of dense activations: of whole planes, and of windows.
//
// Memory contract: forward of planes reads x once; a block has a sample and 256 channels and alone writes their means (8 KiB
// of dynamic shared memory). Its backward pass and the windows write every channel, zeros in the padding; no shared memory.
#include "plane.cuh"

using namespace planes;

// Mirrors `Windows` of gaternet-kernels/src/cuda/pool.rs.
struct Windows {
    int in_h, in_w, out_h, out_w;
    int kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
};

namespace {

// Grid (1, S / 256 rounded up, N).
template <class T>
DEVICE void global_avg(
    const T* x,  // (N, P, S)
    float* y,    // (N, C)
    Planes p) {
    DYNAMIC_SHARED(float, shared);
    const Place place(p);
    float sums[1][width] = {}, value[width];
    for (int pixel = place.row; place.works && pixel < p.pixels; pixel += place.rows) {
        load(value, x + place.at(p, pixel));
        for (int i = 0; i < width; i++) sums[0][i] += value[i];
    }
    sum_rows(sums, place, shared);
    float* row = y + static_cast<size_t>(place.n) * p.channels;
    for (int i = 0; i < width; i++) {
        const int c = place.channel + i;
        if (place.row == 0 && c < p.channels) row[c] = sums[0][i] / static_cast<float>(p.pixels);
    }
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N).
template <class T>
DEVICE void global_avg_backward(
    const float* grad_y,  // (N, C)
    T* grad_x,            // (N, P, S)
    Planes p) {
    const Place place(p);
    if (!place.works) return;
    float share[width];
    place.of_channels(share, grad_y + static_cast<size_t>(place.n) * p.channels, p.channels, 0.0f);
    for (int i = 0; i < width; i++) share[i] /= static_cast<float>(p.pixels);
    const int end = min(p.pixels, (blockIdx.x + 1) * block_steps * place.rows);
    for (int pixel = blockIdx.x * block_steps * place.rows + place.row; pixel < end; pixel += place.rows)
        store(grad_x + place.at(p, pixel), share);
}

// Means of the windows, zeros of the border included. Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void avg(
    const T* x,  // (N, in_h · in_w, S)
    T* y,        // (N, P, S), P = out_h · out_w
    Planes p, Windows w) {
    const Place place(p);
    if (!place.works) return;
    const float share = 1.0f / static_cast<float>(w.kernel_h * w.kernel_w);
    const T* sample = x + static_cast<size_t>(place.n) * w.in_h * w.in_w * p.stride + place.channel;
    const int end = min(p.pixels, (blockIdx.x + 1) * block_steps * place.rows);
    for (int pixel = blockIdx.x * block_steps * place.rows + place.row; pixel < end; pixel += place.rows) {
        const int top = pixel / w.out_w * w.stride_h - w.padding_h, left = pixel % w.out_w * w.stride_w - w.padding_w;
        float sums[width] = {}, value[width];
        for (int row = max(top, 0); row < min(top + w.kernel_h, w.in_h); row++)
            for (int column = max(left, 0); column < min(left + w.kernel_w, w.in_w); column++) {
                load(value, sample + (static_cast<size_t>(row) * w.in_w + column) * p.stride);
                for (int i = 0; i < width; i++) sums[i] += value[i];
            }
        for (int i = 0; i < width; i++) sums[i] *= share;
        store(y + place.at(p, pixel), sums);
    }
}

}  // namespace

KERNEL(pool_avg, threads, 4)(const bf16* x, bf16* y, Planes p, Windows w) { avg(x, y, p, w); }
KERNEL(pool_avg_f32, threads, 4)(const float* x, float* y, Planes p, Windows w) { avg(x, y, p, w); }

KERNEL(pool_global_avg, threads, 4)(const bf16* x, float* y, Planes p) { global_avg(x, y, p); }
KERNEL(pool_global_avg_f32, threads, 4)(const float* x, float* y, Planes p) { global_avg(x, y, p); }

KERNEL(pool_global_avg_backward, threads, 4)(const float* grad_y, bf16* grad_x, Planes p) {
    global_avg_backward(grad_y, grad_x, p);
}
KERNEL(pool_global_avg_backward_f32, threads, 4)(const float* grad_y, float* grad_x, Planes p) {
    global_avg_backward(grad_y, grad_x, p);
}
