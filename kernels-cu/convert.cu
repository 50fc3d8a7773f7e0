// Between f32 and bf16, and between (N, C, P) and dense activations.
//
// Memory contract: every value is read once and every result written once, zeros in the padding. The transpositions go
// through a tile of 32 x 32 in 4.1 KiB of dynamic shared memory.
#include "plane.cuh"

namespace {

constexpr int convert_threads = 256, tile = 32, tile_row = 33;

DEVICE float widened(float value) { return value; }
DEVICE float widened(bf16 value) { return bf16_to_float(value); }
DEVICE void narrow(float* to, float value) { *to = value; }
DEVICE void narrow(bf16* to, float value) { *to = float_to_bf16(value); }

// Grid (P / 32, S / 32, N), rounded up.
template <class T>
DEVICE void pack(
    const float* planes,  // (N, C, P)
    T* dense,             // (N, P, S)
    Planes p) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x % tile, first_pixel = blockIdx.x * tile, first_channel = blockIdx.y * tile;
    const size_t n = blockIdx.z;
    for (int i = threadIdx.x / tile; i < tile; i += convert_threads / tile) {
        const int channel = first_channel + i, pixel = first_pixel + lane;
        const bool inside = channel < p.channels && pixel < p.pixels;
        shared_store(shared + i * tile_row + lane,
                     inside ? planes[(n * p.channels + channel) * p.pixels + pixel] : 0.0f);
    }
    block_sync();
    for (int i = threadIdx.x / tile; i < tile; i += convert_threads / tile) {
        const int channel = first_channel + lane, pixel = first_pixel + i;
        if (channel < p.stride && pixel < p.pixels)
            narrow(dense + (n * p.pixels + pixel) * p.stride + channel, shared_load(shared + lane * tile_row + i));
    }
}

// Grid (P / 32, S / 32, N), rounded up.
template <class T>
DEVICE void unpack(
    const T* dense,  // (N, P, S)
    float* planes,   // (N, C, P)
    Planes p) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x % tile, first_pixel = blockIdx.x * tile, first_channel = blockIdx.y * tile;
    const size_t n = blockIdx.z;
    for (int i = threadIdx.x / tile; i < tile; i += convert_threads / tile) {
        const int channel = first_channel + lane, pixel = first_pixel + i;
        const bool inside = channel < p.channels && pixel < p.pixels;
        shared_store(shared + i * tile_row + lane,
                     inside ? widened(dense[(n * p.pixels + pixel) * p.stride + channel]) : 0.0f);
    }
    block_sync();
    for (int i = threadIdx.x / tile; i < tile; i += convert_threads / tile) {
        const int channel = first_channel + i, pixel = first_pixel + lane;
        if (channel < p.channels && pixel < p.pixels)
            planes[(n * p.channels + channel) * p.pixels + pixel] = shared_load(shared + lane * tile_row + i);
    }
}

}  // namespace

KERNEL(convert_pack, convert_threads, 4)(const float* planes, bf16* dense, Planes p) { pack(planes, dense, p); }
KERNEL(convert_pack_f32, convert_threads, 4)(const float* planes, float* dense, Planes p) { pack(planes, dense, p); }

KERNEL(convert_unpack, convert_threads, 4)(const bf16* dense, float* planes, Planes p) { unpack(dense, planes, p); }
KERNEL(convert_unpack_f32, convert_threads, 4)(const float* dense, float* planes, Planes p) { unpack(dense, planes, p); }

// Grid (length / 256, rounded up).
KERNEL(convert_to_bf16, convert_threads, 4)(
    const float* from,  // (length)
    bf16* to,           // (length)
    int length) {
    const int at = blockIdx.x * convert_threads + threadIdx.x;
    if (at < length) to[at] = float_to_bf16(from[at]);
}

// Grid (length / 256, rounded up).
KERNEL(convert_to_f32, convert_threads, 4)(
    const bf16* from,  // (length)
    float* to,         // (length)
    int length) {
    const int at = blockIdx.x * convert_threads + threadIdx.x;
    if (at < length) to[at] = bf16_to_float(from[at]);
}
