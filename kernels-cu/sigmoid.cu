// The sigmoid of vectors in f32. NaN stays NaN.
//
// Memory contract: elementwise; each value is read once and each result written once. No shared memory.
#include "dev.cuh"

namespace {

constexpr int threads = 256;

}  // namespace

// Grid (count / 256, rounded up).
KERNEL(sigmoid_forward, threads, 4)(
    const float* x,  // (count)
    float* y,        // (count)
    int count) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at < count) y[at] = 1.0f / (1.0f + expf(-x[at]));
}

// Grid (count / 256, rounded up).
KERNEL(sigmoid_backward, threads, 4)(
    const float* y,       // (count)
    const float* grad_y,  // (count)
    float* grad_x,        // (count)
    int count) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at < count) grad_x[at] = grad_y[at] * y[at] * (1.0f - y[at]);
}
