// Channels of two activations side by side, and a range of channels of one: each other's gradients.
//
// Memory contract: elementwise; each value is read once and each result written once, zeros in the padding. Where the
// channels move, neighbouring threads read neighbouring values, but one by one. No shared memory.
#include "plane.cuh"

using namespace planes;

namespace {

DEVICE float widened(float value) { return value; }
DEVICE float widened(bf16 value) { return bf16_to_float(value); }

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void forward(
    const T* a,  // (N, P, a_stride)
    const T* b,  // (N, P, b_stride)
    T* y,        // (N, P, S): a_channels channels of a, then those of b
    Planes p, int a_channels, int a_stride, int b_stride) {
    const Place place(p);
    for_pixels(p, place, [&](int pixel) {
        const size_t flat = static_cast<size_t>(place.n) * p.pixels + pixel;
        const T* from_b = b + flat * b_stride;
        float values[width] = {};
        // The padding of a is overwritten.
        if (place.channel < a_channels) load(values, a + flat * a_stride + place.channel);
        for (int i = 0; i < width; i++) {
            const int channel = place.channel + i;
            if (channel >= a_channels && channel < p.channels) values[i] = widened(from_b[channel - a_channels]);
        }
        store(y + place.at(p, pixel), values);
    });
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N) of y.
template <class T>
DEVICE void split(
    const T* x,  // (N, P, x_stride)
    T* y,        // (N, P, S): the channels from `first` on
    Planes p, int first, int x_stride) {
    const Place place(p);
    for_pixels(p, place, [&](int pixel) {
        const T* from = x + (static_cast<size_t>(place.n) * p.pixels + pixel) * x_stride + first;
        float values[width] = {};
        for (int i = 0; i < width; i++)
            if (place.channel + i < p.channels) values[i] = widened(from[place.channel + i]);
        store(y + place.at(p, pixel), values);
    });
}

}  // namespace

KERNEL(concat_forward, threads, 4)(
    const bf16* a, const bf16* b, bf16* y, Planes p, int a_channels, int a_stride, int b_stride) {
    forward(a, b, y, p, a_channels, a_stride, b_stride);
}
KERNEL(concat_forward_f32, threads, 4)(
    const float* a, const float* b, float* y, Planes p, int a_channels, int a_stride, int b_stride) {
    forward(a, b, y, p, a_channels, a_stride, b_stride);
}

KERNEL(concat_split, threads, 4)(const bf16* x, bf16* y, Planes p, int first, int x_stride) { split(x, y, p, first, x_stride); }
KERNEL(concat_split_f32, threads, 4)(const float* x, float* y, Planes p, int first, int x_stride) {
    split(x, y, p, first, x_stride);
}
