// Random numbers that are a function of what they are for: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers:
// as easy as 1, 2, 3"), keyed by the seed, counting (index, purpose, step). No state but the clock, so a step can be
// repeated, and no number depends on the geometry of a launch.
#pragma once

#include "dev.cuh"

// Mirrors `Clock` of gaternet-kernels/src/cuda/clock.rs; in device memory.
struct Clock {
    u64 seed, step;
};

// The place of the clock's step in a table that has a value for each of `steps` steps; beyond them the last.
DEVICE int place_of_step(const Clock& clock, int steps) {
    return clock.step < static_cast<u64>(steps) ? static_cast<int>(clock.step) : steps - 1;
}

struct Random4 {
    u32 words[4];
};

// What numbers are for: each has its own.
constexpr u32 purpose_noise = 0, purpose_coin = 1, purpose_image = 2, purpose_layer = 3, purposes = 4;

DEVICE Random4 philox(u64 key, u32 c0, u32 c1, u32 c2, u32 c3) {
    u32 k0 = static_cast<u32>(key), k1 = static_cast<u32>(key >> 32);
    for (int round = 0; round < 10; round++) {
        const u64 a = static_cast<u64>(0xd2511f53u) * c0, b = static_cast<u64>(0xcd9e8d57u) * c2;
        c0 = static_cast<u32>(b >> 32) ^ c1 ^ k0;
        c1 = static_cast<u32>(b);
        c2 = static_cast<u32>(a >> 32) ^ c3 ^ k1;
        c3 = static_cast<u32>(a);
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return {{c0, c1, c2, c3}};
}

// The numbers of `index` in this step. `stream` tells apart calls for one purpose in a step.
DEVICE Random4 random(const Clock& clock, u32 purpose, u32 stream, u32 index) {
    return philox(clock.seed, index, stream * purposes + purpose, static_cast<u32>(clock.step),
                  static_cast<u32>(clock.step >> 32));
}

// Uniform in (0, 1].
DEVICE float uniform(u32 word) { return static_cast<float>((word >> 8) + 1u) * (1.0f / 16777216.0f); }

// Uniform in 0..count.
DEVICE int uniform_below(u32 word, int count) {
    return static_cast<int>(static_cast<u64>(word) * static_cast<u32>(count) >> 32);
}

// Four numbers from N(0, 1), after Box and Muller.
DEVICE void normals(float (&values)[4], const Random4& random) {
    for (int i = 0; i < 4; i += 2) {
        const float radius = sqrtf(-2.0f * logf(uniform(random.words[i])));
        const float angle = 6.283185307f * uniform(random.words[i + 1]);
        values[i] = radius * cosf(angle);
        values[i + 1] = radius * sinf(angle);
    }
}
