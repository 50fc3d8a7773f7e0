// Pools of windows of dense activations: means, in which the border counts as zeros, and maxima, which it never is.
//
// Memory contract: the forward passes read a value once for each window that has it and write every channel of y. The
// gradients are gathered, a thread for each value of x, which alone writes it: that of the mean reads grad_y once for each
// window of a value; that of the maximum looks for the largest value of each of these windows again. No shared memory.
#include "plane.cuh"

using namespace planes;

// Mirrors `Windows` of gaternet-kernels/src/cuda/pool2d.rs.
struct Windows {
    int in_h, in_w, out_h, out_w;
    int kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
};

namespace {

// From the first to before the last.
struct Span {
    int first, end;
};

// The inputs of window `at` along a side of `size`.
DEVICE Span inputs(int at, int kernel, int stride, int padding, int size) {
    const int first = at * stride - padding;
    return {max(first, 0), min(first + kernel, size)};
}

// The windows that hold input `at`, of `count` along the side.
DEVICE Span windows(int at, int kernel, int stride, int padding, int count) {
    const int before = at + padding - kernel;  // the last that ends before `at` begins at most here
    return {before < 0 ? 0 : before / stride + 1, min((at + padding) / stride + 1, count)};
}

// Whether x is shown instead of `best`, which came before it. A NaN is the largest, so that it shows.
DEVICE bool wins(float x, float best) { return x > best || x != x; }

// `f` gets the row, the column and the values of each input of a window.
template <class T, class F>
DEVICE void for_inputs(const T* sample, const Planes& p, const Windows& w, int row, int column, F f) {
    const Span rows = inputs(row, w.kernel_h, w.stride_h, w.padding_h, w.in_h);
    const Span columns = inputs(column, w.kernel_w, w.stride_w, w.padding_w, w.in_w);
    for (int y = rows.first; y < rows.end; y++)
        for (int x = columns.first; x < columns.end; x++) {
            float values[width];
            load(values, sample + (static_cast<size_t>(y) * w.in_w + x) * p.stride);
            f(y, x, values);
        }
}

// `f` gets the row and the column of each window that holds an input.
template <class F>
DEVICE void for_windows(const Windows& w, int y, int x, F f) {
    const Span rows = windows(y, w.kernel_h, w.stride_h, w.padding_h, w.out_h);
    const Span columns = windows(x, w.kernel_w, w.stride_w, w.padding_w, w.out_w);
    for (int row = rows.first; row < rows.end; row++)
        for (int column = columns.first; column < columns.end; column++) f(row, column);
}

// Of a thread's channels in a sample of `pixels` pixels.
template <class T> DEVICE T* sample_of(T* all, const Planes& p, const Place& place, int pixels) {
    return all + static_cast<size_t>(place.n) * pixels * p.stride + place.channel;
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void avg(
    const T* x,  // (N, in_h · in_w, S)
    T* y,        // (N, P, S), P = out_h · out_w
    Planes p, Windows w) {
    const Place place(p);
    const float share = 1.0f / (static_cast<float>(w.kernel_h) * static_cast<float>(w.kernel_w));
    const T* sample = sample_of(x, p, place, w.in_h * w.in_w);
    for_pixels(p, place, [&](int pixel) {
        float sums[width] = {};
        for_inputs(sample, p, w, pixel / w.out_w, pixel % w.out_w, [&](int, int, const float(&values)[width]) {
            for (int i = 0; i < width; i++) sums[i] += values[i];
        });
        for (int i = 0; i < width; i++) sums[i] *= share;
        store(y + place.at(p, pixel), sums);
    });
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of grad_x.
template <class T>
DEVICE void avg_backward(
    const T* grad_y,  // (N, out_h · out_w, S)
    T* grad_x,        // (N, P, S), P = in_h · in_w
    Planes p, Windows w) {
    const Place place(p);
    const float share = 1.0f / (static_cast<float>(w.kernel_h) * static_cast<float>(w.kernel_w));
    const T* sample = sample_of(grad_y, p, place, w.out_h * w.out_w);
    for_pixels(p, place, [&](int pixel) {
        float sums[width] = {}, grad[width];
        for_windows(w, pixel / w.in_w, pixel % w.in_w, [&](int row, int column) {
            load(grad, sample + (static_cast<size_t>(row) * w.out_w + column) * p.stride);
            for (int i = 0; i < width; i++) sums[i] += grad[i];
        });
        for (int i = 0; i < width; i++) sums[i] *= share;
        store(grad_x + place.at(p, pixel), sums);
    });
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void max_forward(
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
DEVICE void max_backward(
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

KERNEL(pool2d_avg, threads, 4)(const bf16* x, bf16* y, Planes p, Windows w) { avg(x, y, p, w); }
KERNEL(pool2d_avg_f32, threads, 4)(const float* x, float* y, Planes p, Windows w) { avg(x, y, p, w); }

KERNEL(pool2d_avg_backward, threads, 4)(const bf16* grad_y, bf16* grad_x, Planes p, Windows w) {
    avg_backward(grad_y, grad_x, p, w);
}
KERNEL(pool2d_avg_backward_f32, threads, 4)(const float* grad_y, float* grad_x, Planes p, Windows w) {
    avg_backward(grad_y, grad_x, p, w);
}

KERNEL(pool2d_max, threads, 4)(const bf16* x, bf16* y, Planes p, Windows w) { max_forward(x, y, p, w); }
KERNEL(pool2d_max_f32, threads, 4)(const float* x, float* y, Planes p, Windows w) { max_forward(x, y, p, w); }

KERNEL(pool2d_max_backward, threads, 3)(const bf16* x, const bf16* grad_y, bf16* grad_x, Planes p, Windows w) {
    max_backward(x, grad_y, grad_x, p, w);
}
KERNEL(pool2d_max_backward_f32, threads, 3)(const float* x, const float* grad_y, float* grad_x, Planes p, Windows w) {
    max_backward(x, grad_y, grad_x, p, w);
}
