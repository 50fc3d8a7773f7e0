// Maxima of windows of dense activations, of which the border is never one.
//
// Memory contract: the forward pass reads a value once for each window that has it and writes every channel of y. The gradient is
// gathered, a thread for each value of x, which alone writes it and looks for the largest value of each of its windows again. No
// shared memory.
#include "pool2d.cuh"

namespace {

// Whether x is shown instead of `best`, which came before it. A NaN is the largest, so that it shows.
DEVICE bool wins(float x, float best) { return x > best || x != x; }

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void forward(
    const T* x,  // (N, in_h · in_w, S)
    T* y,        // (N, P, S), P = out_h · out_w
    Planes p, Windows w) {
    const Place place(p);
    const T* sample = sample_of(x, p, place, w.in_h * w.in_w);
    for_pixels(p, place, [&](int pixel) {
        float best[width];
        bool none = true;
        for_inputs(sample, p, w, pixel / w.out_w, pixel % w.out_w, [&](int, int, const float(&values)[width]) {
            for (int i = 0; i < width; i++) best[i] = none || wins(values[i], best[i]) ? values[i] : best[i];
            none = false;
        });
        store(y + place.at(p, pixel), best);
    });
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of grad_x.
template <class T>
DEVICE void backward(
    const T* x,       // (N, P, S), P = in_h · in_w
    const T* grad_y,  // (N, out_h · out_w, S)
    T* grad_x,        // (N, P, S)
    Planes p, Windows w) {
    const Place place(p);
    const T* sample = sample_of(x, p, place, p.pixels);
    const T* grads = sample_of(grad_y, p, place, w.out_h * w.out_w);
    for_pixels(p, place, [&](int pixel) {
        float sums[width] = {}, grad[width], best[width];
        int winner[width];  // pixels
        for_windows(w, pixel / w.in_w, pixel % w.in_w, [&](int row, int column) {
            for (int i = 0; i < width; i++) winner[i] = -1;
            for_inputs(sample, p, w, row, column, [&](int in_y, int in_x, const float(&values)[width]) {
                for (int i = 0; i < width; i++) {
                    if (winner[i] >= 0 && !wins(values[i], best[i])) continue;
                    best[i] = values[i];
                    winner[i] = in_y * w.in_w + in_x;
                }
            });
            load(grad, grads + (static_cast<size_t>(row) * w.out_w + column) * p.stride);
            for (int i = 0; i < width; i++) sums[i] += winner[i] == pixel ? grad[i] : 0.0f;
        });
        store(grad_x + place.at(p, pixel), sums);
    });
}

}  // namespace

KERNEL(max_pool2d_forward, threads, 4)(const bf16* x, bf16* y, Planes p, Windows w) { forward(x, y, p, w); }
KERNEL(max_pool2d_forward_f32, threads, 4)(const float* x, float* y, Planes p, Windows w) { forward(x, y, p, w); }

KERNEL(max_pool2d_backward, threads, 3)(const bf16* x, const bf16* grad_y, bf16* grad_x, Planes p, Windows w) {
    backward(x, grad_y, grad_x, p, w);
}
KERNEL(max_pool2d_backward_f32, threads, 3)(const float* x, const float* grad_y, float* grad_x, Planes p, Windows w) {
    backward(x, grad_y, grad_x, p, w);
}
