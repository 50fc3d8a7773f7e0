// Dropout of activations. The mask is drawn again for the gradient, which is the same pass of another activation.
//
// Memory contract: elementwise; each value is read once and each result written once. No shared memory.
#include "plane.cuh"
#include "random.cuh"

using namespace planes;

namespace {

// y = 0 where a random word is below `threshold`, else scale · x. Grid (ceil(P / (rows · 8)), S / 256 rounded up, N).
template <class T>
DEVICE void dropout(
    const T* x,  // (N, P, S)
    const Clock* clock,
    T* y,  // (N, P, S)
    Planes p, u32 stream, u32 threshold, float scale) {
    const Place place(p);
    for_pixels(p, place, [&](int pixel) {
        const size_t at = place.at(p, pixel);
        float values[width];
        load(values, x + at);
        for (int first = 0; first < width; first += 4) {
            const Random4 draw = random(*clock, purpose_layer, stream, static_cast<u32>((at + first) / 4));
            for (int i = 0; i < 4; i++)
                values[first + i] = draw.words[i] < threshold ? 0.0f : scale * values[first + i];
        }
        store(y + at, values);
    });
}

}  // namespace

KERNEL(dropout_mask, threads, 4)(
    const bf16* x, const Clock* clock, bf16* y, Planes p, u32 stream, u32 threshold, float scale) {
    dropout(x, clock, y, p, stream, threshold, scale);
}
KERNEL(dropout_mask_f32, threads, 4)(
    const float* x, const Clock* clock, float* y, Planes p, u32 stream, u32 threshold, float scale) {
    dropout(x, clock, y, p, stream, threshold, scale);
}
