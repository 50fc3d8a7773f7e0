// Gates of Improved SemHash (the equations are those of gaternet-core/src/gate/sem_hash.rs).
//
// Memory contract: elementwise; each value is read once and each result written once. No shared memory.
#include "gate_value.cuh"
#include "random.cuh"

namespace {

constexpr int threads = 256;

// NaN stays NaN.
DEVICE float saturated(float x) {
    const float value = 1.2f * sigmoid(x) - 0.1f;
    return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
}

}  // namespace

// With g = logits + noise: 1(g > 0) in samples whose coin says discrete, max(0, min(1, 1.2 · sigmoid(g) - 0.1)) in
// the others. Grid (N · C / 1024, rounded up).
KERNEL(sem_hash_forward, threads, 4)(
    const float* logits,         // (N, C)
    const float* noise,          // (N, C); null: drawn from N(0, 1)
    const unsigned char* coins,  // (N), 0: not discrete; null: drawn, fair
    const Clock* clock,          // null if nothing is drawn
    float* noisy,                // (N, C): g
    float* gates,                // (N, C)
    u32 stream, int count, int columns) {
    const int quad = blockIdx.x * threads + threadIdx.x;
    if (quad >= (count + 3) / 4) return;
    float drawn[4] = {};
    if (!noise) normals(drawn, random(*clock, purpose_noise, stream, quad));
    for (int i = 0; i < 4 && quad * 4 + i < count; i++) {
        const int at = quad * 4 + i, n = at / columns;
        const float g = logits[at] + (noise ? noise[at] : drawn[i]);
        const bool discrete = coins ? coins[n] != 0 : random(*clock, purpose_coin, stream, n).words[0] >> 31;
        noisy[at] = g;
        gates[at] = discrete ? above(g, 0.0f) : saturated(g);
    }
}

// The gradient is that of the soft gates for all (straight through). Grid (N · C / 256, rounded up).
KERNEL(sem_hash_backward, threads, 4)(
    const float* noisy,       // (N, C)
    const float* grad_gates,  // (N, C)
    float* grad_logits,       // (N, C)
    int count) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const float s = sigmoid(noisy[at]), soft = 1.2f * s - 0.1f;
    const bool inside = soft >= 0.0f && soft <= 1.0f;
    grad_logits[at] = inside ? grad_gates[at] * 1.2f * s * (1.0f - s) : 0.0f;
}

// Gates of evaluation, without noise. Grid (N · C / 256, rounded up).
KERNEL(sem_hash_evaluate, threads, 4)(
    const float* logits,  // (N, C)
    float* gates,         // (N, C)
    int count, int discrete) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const float soft = saturated(logits[at]);
    gates[at] = discrete ? above(soft, 0.49999f) : soft;
}
