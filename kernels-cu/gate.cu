// Lists of live filters.
//
// Memory contract: reads `filters` gates of each row, writes every index of a list up to its count and no other
// (what follows is not touched), and every count. Nothing else is read or written; no shared memory.
#include "dev.cuh"

// The filters whose gate is not 0, ascending; a NaN is live, so that it shows. One warp per sample.
// Grid (N), block (32).
KERNEL(gate_compact, 32, 1)(
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
        const bool live = filter < filters && !(row[filter] == 0.0f);
        const u32 votes = warp_ballot(live);
        const u32 before = votes & ((1u << lane) - 1u);
        if (live) list[count + popcount(before)] = static_cast<u16>(filter);
        count += popcount(votes);
    }
    if (lane == 0) counts[n] = count;
}
