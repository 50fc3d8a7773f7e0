// The gradient of the straight-through estimator (the rule is that of gaternet-core/src/gate/estimator/straight_through.rs);
// its gates are those of evaluation, in sem_hash.cu.
//
// Memory contract: elementwise; each value is read once and each result written once. No shared memory.
#include "dev.cuh"

namespace {

constexpr int threads = 256;

}  // namespace

// That of the gates, but 0 where |g| > 1 and a step against it would take g further out. Grid (N · C / 256, rounded up).
KERNEL(straight_through_backward, threads, 4)(
    const float* logits,      // (N, C): g
    const float* grad_gates,  // (N, C)
    float* grad_logits,       // (N, C)
    int count) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const float g = logits[at], grad = grad_gates[at];
    grad_logits[at] = fabsf(g) > 1.0f && g * grad < 0.0f ? 0.0f : grad;
}
