// Rows and columns of zeros around the planes of activations, and (where negative) cropping. The gradient is the way back.
//
// Memory contract: elementwise; each value that stays is read once and each result written once. No shared memory.
#include "plane.cuh"

using namespace planes;

// Mirrors `Borders` of gaternet-kernels/src/cuda/pad.rs.
struct Borders {
    int in_h, in_w, out_w;
    int top, left;  // where the input starts in the output
};

namespace {

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void pad(
    const T* x,  // (N, in_h · in_w, S)
    T* y,        // (N, P, S)
    Planes p, Borders b) {
    const Place place(p);
    const T* sample = x + static_cast<size_t>(place.n) * b.in_h * b.in_w * p.stride + place.channel;
    for_pixels(p, place, [&](int pixel) {
        const int row = pixel / b.out_w - b.top, column = pixel % b.out_w - b.left;
        float values[width] = {};
        if (row >= 0 && row < b.in_h && column >= 0 && column < b.in_w)
            load(values, sample + (static_cast<size_t>(row) * b.in_w + column) * p.stride);
        store(y + place.at(p, pixel), values);
    });
}

}  // namespace

KERNEL(pad_forward, threads, 4)(const bf16* x, bf16* y, Planes p, Borders b) { pad(x, y, p, b); }
KERNEL(pad_forward_f32, threads, 4)(const float* x, float* y, Planes p, Borders b) { pad(x, y, p, b); }
