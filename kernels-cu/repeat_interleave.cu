// Gates of groups of consecutive filters: from the gate of each group to those of its filters, and back for gradients.
//
// Memory contract: a thread has a group of a sample. Forward it reads its gate and alone writes those of its filters;
// backward it reads their gradients and writes their sum. No shared memory.
#include "dev.cuh"

namespace {

constexpr int threads = 256;

}  // namespace

// Grid (N · G / 256, rounded up).
KERNEL(repeat_interleave_forward, threads, 4)(
    const float* groups,  // (N, G)
    const int* firsts,    // (G + 1): the first filter of each group, and C
    float* gates,         // (N, C)
    int count, int group_count, int columns) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const int group = at % group_count;
    float* row = gates + static_cast<size_t>(at / group_count) * columns;
    const float gate = groups[at];
    for (int i = firsts[group]; i < firsts[group + 1]; i++) row[i] = gate;
}

// Grid (N · G / 256, rounded up).
KERNEL(repeat_interleave_backward, threads, 4)(
    const float* grad_gates,  // (N, C)
    const int* firsts,        // (G + 1)
    float* grad_groups,       // (N, G)
    int count, int group_count, int columns) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const int group = at % group_count;
    const float* row = grad_gates + static_cast<size_t>(at / group_count) * columns;
    float sum = 0.0f;
    for (int i = firsts[group]; i < firsts[group + 1]; i++) sum += row[i];
    grad_groups[at] = sum;
}
