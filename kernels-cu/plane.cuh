// How blocks go through a dense activation (N, P, S) of P pixels and S channels, of which the last are padding.
//
// A block has one sample and up to 256 channels; a thread has eight channels (16 bytes of bf16) of every rows-th pixel.
// Sums over a plane stay inside a block, so their order is fixed.
#pragma once

#include "dev.cuh"

// Mirrors `Planes` of gaternet-kernels/src/cuda/planes.rs.
struct Planes {
    int batch, channels, pixels, stride;  // stride: channels rounded up to a multiple of 16
};

namespace planes {

constexpr int threads = 256;
constexpr int width = 8;             // channels of a thread
constexpr int block_channels = 256;  // the most of a block
constexpr int block_steps = 8;       // the most pixels of a thread in passes that sum nothing

// Eight values and where they are loaded from and stored to.
struct alignas(16) Bytes16 {
    u32 words[4];
};
DEVICE void load(float (&values)[width], const bf16* from) {
    const Bytes16 bytes = *reinterpret_cast<const Bytes16*>(from);
    for (int i = 0; i < 4; i++) {
        values[2 * i] = bf16_low(bytes.words[i]);
        values[2 * i + 1] = bf16_high(bytes.words[i]);
    }
}
DEVICE void store(bf16* to, const float (&values)[width]) {
    Bytes16 bytes;
    for (int i = 0; i < 4; i++) bytes.words[i] = pack_bf16(values[2 * i], values[2 * i + 1]);
    *reinterpret_cast<Bytes16*>(to) = bytes;
}
struct alignas(16) Quad {
    float values[4];
};
DEVICE void load(float (&values)[width], const float* from) {
    for (int half = 0; half < 2; half++) {
        const Quad quad = reinterpret_cast<const Quad*>(from)[half];
        for (int i = 0; i < 4; i++) values[4 * half + i] = quad.values[i];
    }
}
DEVICE void store(float* to, const float (&values)[width]) {
    for (int half = 0; half < 2; half++) {
        Quad quad;
        for (int i = 0; i < 4; i++) quad.values[i] = values[4 * half + i];
        reinterpret_cast<Quad*>(to)[half] = quad;
    }
}

// A thread's place. blockIdx.y is the group of channels, blockIdx.z the sample.
struct Place {
    int n, channel;  // sample, and the first of eight channels
    int groups;      // of eight channels, in the block
    int row, rows;   // pixels row, row + rows, ...; rows from `rows` on have no work
    bool works;

    DEVICE explicit Place(const Planes& p) {
        const int first = blockIdx.y * block_channels;
        groups = min(p.stride - first, block_channels) / width;
        n = blockIdx.z;
        rows = threads / groups;
        row = threadIdx.x / groups;
        channel = first + threadIdx.x % groups * width;
        works = row < rows;
    }

    // Of this thread's channels at `pixel`, in elements.
    DEVICE size_t at(const Planes& p, int pixel) const {
        return (static_cast<size_t>(n) * p.pixels + pixel) * p.stride + channel;
    }

    // values[i] of each channel below `channels`, the rest 0. null: all `otherwise`.
    DEVICE void of_channels(float (&values)[width], const float* all, int channels, float otherwise) const {
        for (int i = 0; i < width; i++) {
            const bool inside = works && channel + i < channels;
            values[i] = !inside ? 0.0f : all ? all[channel + i] : otherwise;
        }
    }
};

// The pixels of a thread in a pass that sums nothing: `f` gets each.
template <class F>
DEVICE void for_pixels(const Planes& p, const Place& place, F f) {
    if (!place.works) return;
    const int end = min(p.pixels, (blockIdx.x + 1) * block_steps * place.rows);
    for (int pixel = blockIdx.x * block_steps * place.rows + place.row; pixel < end; pixel += place.rows) f(pixel);
}

// Leaves the sums over the rows with the threads of row 0. `shared`: count · width · threads floats.
template <int count>
DEVICE void sum_rows(float (&sums)[count][width], const Place& place, float* shared) {
    for (int left = place.rows; left > 1;) {
        const int half = (left + 1) / 2;
        for (int j = 0; j < count * width && place.row >= half && place.row < left; j++)
            shared_store(shared + j * threads + threadIdx.x, sums[j / width][j % width]);
        block_sync();
        for (int j = 0; j < count * width && place.row + half < left; j++)
            sums[j / width][j % width] += shared_load(shared + j * threads + threadIdx.x + half * place.groups);
        block_sync();
        left = half;
    }
}

}  // namespace planes
