// The price of open gates: the mean of |gate|, and its gradient.
//
// Memory contract: gates are read once; the gradient is added to what is there, by one thread for each gate. Each block
// writes two partial sums, which one block adds to the totals. 32 bytes of dynamic shared memory.
#include "random.cuh"
#include "reduce.cuh"

// Partial sums of |gate| and of gates that are not 0, and weight / count · sign(gate) added to their gradient. Grid (blocks).
KERNEL(gate_l1_partials, reduce_threads, 4)(
    const float* gates,    // (N, C)
    const float* weights,  // (steps): of the loss; beyond them the last
    const Clock* clock,
    float* grad_gates,     // (N, C)
    float* partials,       // (2, blocks)
    int count, int steps) {
    DYNAMIC_SHARED(float, shared);
    const float weight = weights[place_of_step(*clock, steps)], slope = weight / static_cast<float>(count);
    float sum = 0.0f, open = 0.0f;
    for (int at = blockIdx.x * reduce_threads + threadIdx.x; at < count; at += gridDim.x * reduce_threads) {
        const float gate = gates[at];
        sum += fabsf(gate);
        open += gate == 0.0f ? 0.0f : 1.0f;
        if (weight > 0.0f && gate != 0.0f) grad_gates[at] += gate > 0.0f ? slope : gate < 0.0f ? -slope : gate;
    }
    sum = block_sum(sum, shared);
    open = block_sum(open, shared);
    if (threadIdx.x > 0) return;
    partials[blockIdx.x] = sum;
    partials[gridDim.x + blockIdx.x] = open;
}

// Grid (1).
KERNEL(gate_l1_sum, reduce_threads, 1)(
    const float* partials,  // (2, blocks)
    const float* weights,   // (steps)
    const Clock* clock,
    float* loss,            // (1): the mean of |gate|
    float* totals,          // (2): to which samples · weight · loss and samples · the fraction of gates that are not 0 are added
    int blocks, int count, int samples, int steps) {
    DYNAMIC_SHARED(float, shared);
    float sum = 0.0f, open = 0.0f;
    for (int i = threadIdx.x; i < blocks; i += reduce_threads) {
        sum += partials[i];
        open += partials[blocks + i];
    }
    sum = block_sum(sum, shared);
    open = block_sum(open, shared);
    if (threadIdx.x > 0) return;
    const float weight = weights[place_of_step(*clock, steps)], mean = sum / static_cast<float>(count);
    *loss = mean;
    if (weight > 0.0f) totals[0] += static_cast<float>(samples) * weight * mean;
    totals[1] += static_cast<float>(samples) * (open / static_cast<float>(count));
}
