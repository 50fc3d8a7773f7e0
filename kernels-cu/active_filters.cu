// Lists of active filters.
//
// Memory contract: reads `filters` gates of each row, writes every index of a list up to its count and no other
// (what follows is not touched), and every count. Nothing else is read or written; no shared memory.
#include "dev.cuh"

// The filters whose gate is not 0, ascending; a NaN is active, so that it shows. One warp per sample.
// Grid (N), block (32).
KERNEL(active_filters_list, 32, 1)(
    const float* gates,  // (N, stride); columns first..first + filters are used
    u16* indices,        // (N, filters)
    int* counts,         // (N)
    int stride, int first, int filters) {
    const int n = blockIdx.x, lane = threadIdx.x;
    const float* row = gates + static_cast<size_t>(n) * stride + first;
    u16* list = indices + static_cast<size_t>(n) * filters;
    int count = 0;
    for (int start = 0; start < filters; start += 32) {
        const int filter = start + lane;
        const bool active = filter < filters && !(row[filter] == 0.0f);
        const u32 votes = warp_ballot(active);
        const u32 before = votes & ((1u << lane) - 1u);
        if (active) list[count + popcount(before)] = static_cast<u16>(filter);
        count += popcount(votes);
    }
    if (lane == 0) counts[n] = count;
}

// Gate gradients from the partial sums of a convolution's epilogue, in order; 0 for filters that are not active.
// Grid (N), block (128).
KERNEL(active_filters_gate_gradient, 128, 1)(
    const float* partials,  // (N, blocks, filters), by position in the list
    const u16* indices,     // (N, filters); null: all are active
    const int* counts,      // (N); null: filters
    float* gradient,        // (N, stride); columns first..first + filters are written
    int blocks, int filters, int stride, int first) {
    const int n = blockIdx.x;
    const int count = counts ? counts[n] : filters;
    const float* sums = partials + static_cast<size_t>(n) * blocks * filters;
    float* row = gradient + static_cast<size_t>(n) * stride + first;
    for (int filter = threadIdx.x; filter < filters; filter += 128) row[filter] = 0.0f;
    block_sync();  // zeros first, for all
    for (int j = threadIdx.x; j < count; j += 128) {
        float sum = 0.0f;
        for (int i = 0; i < blocks; i++) sum += sums[static_cast<size_t>(i) * filters + j];
        row[indices ? indices[static_cast<size_t>(n) * filters + j] : j] = sum;
    }
}
