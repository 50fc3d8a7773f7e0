// Binary concrete gates (the equations are those of gaternet-core/src/gate/estimator/gumbel_sigmoid.rs).
//
// Memory contract: elementwise; each value is read once and each result written once. No shared memory.
#include "gate_value.cuh"
#include "random.cuh"

namespace {

constexpr int threads = 256;

// From the logistic distribution: ln(u / (1 - u)) where u is the middle of one of 2^24 equal parts of (0, 1).
DEVICE float logistic(u32 word) {
    const u32 part = word >> 8;
    return logf((static_cast<float>(part) + 0.5f) / (static_cast<float>(0xffffffu - part) + 0.5f));
}

}  // namespace

// With g = logits + noise: sigmoid(g / tau), or 1(g > 0) if `hard`. Grid (N · C / 1024, rounded up).
KERNEL(gumbel_sigmoid_forward, threads, 4)(
    const float* logits,  // (N, C)
    const float* noise,   // (N, C); null: drawn
    const Clock* clock,
    const float* taus,           // (steps): the temperature of each step; beyond them the last
    float* noisy,                // (N, C): g
    float* gates,                // (N, C)
    u32 stream, int steps, int hard, int count) {
    const int quad = blockIdx.x * threads + threadIdx.x;
    if (quad >= (count + 3) / 4) return;
    const float tau = taus[place_of_step(*clock, steps)];
    Random4 drawn = {};
    if (!noise) drawn = random(*clock, purpose_noise, stream, quad);
    for (int i = 0; i < 4 && quad * 4 + i < count; i++) {
        const int at = quad * 4 + i;
        const float g = logits[at] + (noise ? noise[at] : logistic(drawn.words[i]));
        noisy[at] = g;
        gates[at] = hard ? above(g, 0.0f) : sigmoid(g / tau);
    }
}

// The gradient is that of the soft gates for all (straight through). Grid (N · C / 256, rounded up).
KERNEL(gumbel_sigmoid_backward, threads, 4)(
    const float* noisy,         // (N, C)
    const float* grad_gates,    // (N, C)
    const Clock* clock,
    const float* taus,   // (steps)
    float* grad_logits,  // (N, C)
    int steps, int count) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const float tau = taus[place_of_step(*clock, steps)], s = sigmoid(noisy[at] / tau);
    grad_logits[at] = grad_gates[at] * s * (1.0f - s) / tau;
}
