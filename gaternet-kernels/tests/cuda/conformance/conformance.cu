// One kernel for each instruction that dev.cuh wraps: what it does on a GPU is compared with what the emulator does.
//
// Memory contract: blocks of one warp; block i has the i-th part of each buffer, whose shape is that of one block.
#include "dev.cuh"

namespace {

constexpr int lanes = 32;
constexpr int tile_rows = 64;  // of 16 bytes

// This lane's `count` words of a buffer (lanes, count) of each block.
template <class T> DEVICE T* of_lane(T* buffer, int count) {
    return buffer + (static_cast<size_t>(blockIdx.x) * lanes + threadIdx.x) * count;
}

}  // namespace

// Rounds two values to bf16 and widens them again.
KERNEL(conformance_convert, 32, 1)(
    const float* in,  // (lanes, 2)
    u32* out) {       // (lanes, 3): the pair, then its elements as f32
    const float* pair = of_lane(in, 2);
    float* widened = reinterpret_cast<float*>(of_lane(out, 3));
    const u32 packed = pack_bf16(pair[0], pair[1]);
    of_lane(out, 3)[0] = packed;
    widened[1] = bf16_low(packed);
    widened[2] = bf16_high(packed);
}

KERNEL(conformance_warp, 32, 1)(
    const u32* in,  // (lanes)
    u32* out) {     // (lanes, 7): popcount, ballot of the lowest bit, what lanes at a distance have
    const u32 bits = *of_lane(in, 1);
    u32* values = of_lane(out, 7);
    values[0] = popcount(bits);
    values[1] = warp_ballot(bits & 1);
    // Not a number, but moved as one: shuffles keep all bits.
    const float value = *reinterpret_cast<const float*>(of_lane(in, 1));
    float* moved = reinterpret_cast<float*>(values + 2);
    for (int i = 0; i < 5; i++) moved[i] = warp_shuffle_xor(value, 1 << i);
}

// Copies a tile to shared memory, or zeros where a row is not valid, and reads matrices from any of its rows.
KERNEL(conformance_ldmatrix, 32, 1)(
    const u32* tile,   // (tile_rows, 4)
    const int* valid,  // (tile_rows)
    const int* rows,   // (lanes): where each lane points to
    u32* out) {        // (lanes, 8): as they are, transposed
    DYNAMIC_SHARED(u32, shared);  // 1 KiB
    const u32* from = tile + static_cast<size_t>(blockIdx.x) * tile_rows * 4;
    for (int row = threadIdx.x; row < tile_rows; row += lanes)
        cp_async_16(shared + row * 4, from + row * 4, valid[blockIdx.x * tile_rows + row] != 0);
    cp_async_commit();
    cp_async_wait<0>();
    block_sync();
    u32 plain[4], transposed[4];
    const u32* row = shared + *of_lane(rows, 1) * 4;
    ldmatrix_x4(plain, row);
    ldmatrix_x4_trans(transposed, row);
    for (int i = 0; i < 4; i++) {
        of_lane(out, 8)[i] = plain[i];
        of_lane(out, 8)[4 + i] = transposed[i];
    }
}

KERNEL(conformance_mma, 32, 1)(
    const u32* ab,     // (lanes, 6): four registers of a, two of b
    const float* sum,  // (lanes, 4)
    float* out) {      // (lanes, 4)
    const u32* r = of_lane(ab, 6);
    const u32 a[4] = {r[0], r[1], r[2], r[3]};
    float d[4];
    for (int i = 0; i < 4; i++) d[i] = of_lane(sum, 4)[i];
    mma_m16n8k16(d, a, r[4], r[5]);
    for (int i = 0; i < 4; i++) of_lane(out, 4)[i] = d[i];
}
