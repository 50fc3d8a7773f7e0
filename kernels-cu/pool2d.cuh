// The windows of a pool over dense activations.
#pragma once
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

}  // namespace
