// Shake-Shake: a mean of two activations with a weight for each sample, and another one for the gradients.
//
// Memory contract: elementwise; each value is read once and each result written once. No shared memory.
#include "plane.cuh"
#include "random.cuh"

using namespace planes;

namespace {

// The fraction of the first activation of a sample: forward (`way` 0) and backward (1); a half without a clock.
DEVICE float fraction(const Clock* clock, u32 stream, int n, int way) {
    if (!clock) return 0.5f;
    return uniform(random(*clock, purpose_layer, stream, static_cast<u32>(n)).words[way]);
}

// y = fraction · a + (1 - fraction) · b. Grid (ceil(P / (rows · 8)), S / 256 rounded up, N).
template <class T>
DEVICE void forward(
    const T* a,          // (N, P, S)
    const T* b,          // (N, P, S)
    const Clock* clock,  // null: nothing is drawn
    T* y,                // (N, P, S)
    Planes p, u32 stream) {
    const Place place(p);
    const float of_a = fraction(clock, stream, place.n, 0);
    for_pixels(p, place, [&](int pixel) {
        const size_t at = place.at(p, pixel);
        float values[width], others[width];
        load(values, a + at);
        load(others, b + at);
        for (int i = 0; i < width; i++) values[i] = of_a * values[i] + (1.0f - of_a) * others[i];
        store(y + at, values);
    });
}

// grad_a = fraction · grad_y, grad_b = (1 - fraction) · grad_y. Grid as above.
template <class T>
DEVICE void backward(
    const T* grad_y,     // (N, P, S)
    const Clock* clock,  // null: nothing is drawn
    T* grad_a,           // (N, P, S)
    T* grad_b,           // (N, P, S)
    Planes p, u32 stream) {
    const Place place(p);
    const float of_a = fraction(clock, stream, place.n, 1);
    for_pixels(p, place, [&](int pixel) {
        const size_t at = place.at(p, pixel);
        float grad[width], part[width];
        load(grad, grad_y + at);
        for (int i = 0; i < width; i++) part[i] = of_a * grad[i];
        store(grad_a + at, part);
        for (int i = 0; i < width; i++) part[i] = (1.0f - of_a) * grad[i];
        store(grad_b + at, part);
    });
}

}  // namespace

KERNEL(shake_shake_forward, threads, 4)(const bf16* a, const bf16* b, const Clock* clock, bf16* y, Planes p, u32 stream) {
    forward(a, b, clock, y, p, stream);
}
KERNEL(shake_shake_forward_f32, threads, 4)(const float* a, const float* b, const Clock* clock, float* y, Planes p, u32 stream) {
    forward(a, b, clock, y, p, stream);
}

KERNEL(shake_shake_backward, threads, 4)(const bf16* grad_y, const Clock* clock, bf16* grad_a, bf16* grad_b, Planes p, u32 stream) {
    backward(grad_y, clock, grad_a, grad_b, p, stream);
}
KERNEL(shake_shake_backward_f32, threads, 4)(
    const float* grad_y, const Clock* clock, float* grad_a, float* grad_b, Planes p, u32 stream) {
    backward(grad_y, clock, grad_a, grad_b, p, stream);
}
