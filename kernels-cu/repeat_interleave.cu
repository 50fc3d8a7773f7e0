// Shared gates: from each of them to the gates of its consecutive filters, and back for gradients.
//
// Memory contract: a thread has a shared gate of a sample. Forward it reads that gate and alone writes the gates of its
// filters; backward it reads their gradients and writes their sum. No shared memory.
#include "dev.cuh"

namespace {

constexpr int threads = 256;

}  // namespace

// Grid (N · G / 256, rounded up).
KERNEL(repeat_interleave_forward, threads, 4)(
    const float* shared_gates,  // (N, G)
    const int* firsts,          // (G + 1): the first filter of each shared gate, and C
    float* gates,               // (N, C)
    int count, int shared_count, int columns) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const int number = at % shared_count;
    float* row = gates + static_cast<size_t>(at / shared_count) * columns;
    const float gate = shared_gates[at];
    for (int i = firsts[number]; i < firsts[number + 1]; i++) row[i] = gate;
}

// Grid (N · G / 256, rounded up).
KERNEL(repeat_interleave_backward, threads, 4)(
    const float* grad_gates,   // (N, C)
    const int* firsts,         // (G + 1)
    float* grad_shared_gates,  // (N, G)
    int count, int shared_count, int columns) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= count) return;
    const int number = at % shared_count;
    const float* row = grad_gates + static_cast<size_t>(at / shared_count) * columns;
    float sum = 0.0f;
    for (int i = firsts[number]; i < firsts[number + 1]; i++) sum += row[i];
    grad_shared_gates[at] = sum;
}
