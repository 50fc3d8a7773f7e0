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

// The same in double precision. `shared`: 256 doubles, which no one else uses.
DEVICE double block_sum(double value, double* shared) {
    const int thread = threadIdx.x;
    block_sync();
    shared_store(shared + thread, value);
    for (int half = reduce_threads / 2; half > 0; half /= 2) {
        block_sync();
        if (thread >= half) continue;
        shared_store(shared + thread, shared_load(shared + thread) + shared_load(shared + thread + half));
    }
    block_sync();
    return shared_load(shared);
}
