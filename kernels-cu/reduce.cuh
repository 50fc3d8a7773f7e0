// Sums over a block, in an order that depends on nothing but the number of threads.
#pragma once

#include "dev.cuh"

constexpr int reduce_threads = 256;

// Σ over the block's 256 threads, for all of them. `shared`: 8 floats, which no one else uses.
DEVICE float block_sum(float value, float* shared) {
    value = warp_sum(value);
    block_sync();
    if (threadIdx.x % 32 == 0) shared_store(shared + threadIdx.x / 32, value);
    block_sync();
    float sum = 0.0f;
    for (int i = 0; i < reduce_threads / 32; i++) sum += shared_load(shared + i);
    return sum;
}
