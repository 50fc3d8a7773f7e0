// Average pool of whole planes of dense activations.
//
// Memory contract: forward reads x once; a block has a sample and 256 channels and alone writes their means (8 KiB of dynamic
// shared memory). Backward writes every channel, zeros in the padding; no shared memory.
#include "plane.cuh"

using namespace planes;

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
    float grads[width];
    place.of_channels(grads, grad_y + static_cast<size_t>(place.n) * p.channels, p.channels, 0.0f);
    for (int i = 0; i < width; i++) grads[i] /= static_cast<float>(p.pixels);
    for_pixels(p, place, [&](int pixel) { store(grad_x + place.at(p, pixel), grads); });
}

}  // namespace

KERNEL(global_avg_pool_forward, threads, 4)(const bf16* x, float* y, Planes p) { global_avg(x, y, p); }
KERNEL(global_avg_pool_forward_f32, threads, 4)(const float* x, float* y, Planes p) { global_avg(x, y, p); }

KERNEL(global_avg_pool_backward, threads, 4)(const float* grad_y, bf16* grad_x, Planes p) {
    global_avg_backward(grad_y, grad_x, p);
}
KERNEL(global_avg_pool_backward_f32, threads, 4)(const float* grad_y, float* grad_x, Planes p) {
    global_avg_backward(grad_y, grad_x, p);
}
