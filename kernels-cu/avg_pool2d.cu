// Means of windows of dense activations, in which the border counts as zeros.
//
// Memory contract: the forward pass reads a value once for each window that has it and writes every channel of y. The gradient is
// gathered, a thread for each value of x, which alone writes it and reads grad_y once for each window of the value. No shared
// memory.
#include "pool2d.cuh"

namespace {

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void forward(
    const T* x,  // (N, in_h · in_w, S)
    T* y,        // (N, P, S), P = out_h · out_w
    Planes p, Windows w) {
    const Place place(p);
    const float fraction = 1.0f / (static_cast<float>(w.kernel_h) * static_cast<float>(w.kernel_w));
    const T* sample = sample_of(x, p, place, w.in_h * w.in_w);
    for_pixels(p, place, [&](int pixel) {
        float sums[width] = {};
        for_inputs(sample, p, w, pixel / w.out_w, pixel % w.out_w, [&](int, int, const float(&values)[width]) {
            for (int i = 0; i < width; i++) sums[i] += values[i];
        });
        for (int i = 0; i < width; i++) sums[i] *= fraction;
        store(y + place.at(p, pixel), sums);
    });
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of grad_x.
template <class T>
DEVICE void backward(
    const T* grad_y,  // (N, out_h · out_w, S)
    T* grad_x,        // (N, P, S), P = in_h · in_w
    Planes p, Windows w) {
    const Place place(p);
    const float fraction = 1.0f / (static_cast<float>(w.kernel_h) * static_cast<float>(w.kernel_w));
    const T* sample = sample_of(grad_y, p, place, w.out_h * w.out_w);
    for_pixels(p, place, [&](int pixel) {
        float sums[width] = {}, grad[width];
        for_windows(w, pixel / w.in_w, pixel % w.in_w, [&](int row, int column) {
            load(grad, sample + (static_cast<size_t>(row) * w.out_w + column) * p.stride);
            for (int i = 0; i < width; i++) sums[i] += grad[i];
        });
        for (int i = 0; i < width; i++) sums[i] *= fraction;
        store(grad_x + place.at(p, pixel), sums);
    });
}

}  // namespace

KERNEL(avg_pool2d_forward, threads, 4)(const bf16* x, bf16* y, Planes p, Windows w) { forward(x, y, p, w); }
KERNEL(avg_pool2d_forward_f32, threads, 4)(const float* x, float* y, Planes p, Windows w) { forward(x, y, p, w); }

KERNEL(avg_pool2d_backward, threads, 4)(const bf16* grad_y, bf16* grad_x, Planes p, Windows w) {
    backward(grad_y, grad_x, p, w);
}
KERNEL(avg_pool2d_backward_f32, threads, 4)(const float* grad_y, float* grad_x, Planes p, Windows w) {
    backward(grad_y, grad_x, p, w);
}
