// As conformance.cu, for the instructions of dev90.cuh.
//
// Memory contract: blocks of one warpgroup, 16 KiB of dynamic shared memory; block i has the i-th part of each buffer,
// whose shape is that of one block.
#include "dev90.cuh"

namespace {

constexpr int lanes = 128;
constexpr int tile_bytes = 16384;

// Two products in one group, of the units `unit` and `unit` ^ 1 of the depth of B.
template <int n, int transposed>
DEVICE void products(const u32* registers, const unsigned char* tile, int unit, float* sums) {
    u32 a[2][4];
    float d[n / 2];
#pragma unroll
    for (int i = 0; i < 8; i++) a[i / 4][i % 4] = registers[i];
#pragma unroll
    for (int i = 0; i < n / 2; i++) d[i] = sums[i];
    // As conv2d_wgmma.cu: rows of outputs, 32 bytes a unit, or two halves of rows of channels, 16 rows a unit.
    const u64 start = transposed ? wgmma_descriptor(tile, tile_bytes / 2, 1024) : wgmma_descriptor(tile, 16, 1024);
    const int step = transposed ? 16 * 128 >> 4 : 32 >> 4;
    wgmma_fence();
    wgmma<n, transposed>(d, a[0], start + unit * step);
    wgmma<n, transposed>(d, a[1], start + (unit ^ 1) * step);
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int i = 0; i < n / 2; i++) sums[i] = d[i];
}

template <int n>
DEVICE void products_of(int transposed, const u32* registers, const unsigned char* tile, int unit, float* sums) {
    if (transposed) products<n, 1>(registers, tile, unit, sums);
    else products<n, 0>(registers, tile, unit, sums);
}

}  // namespace

KERNEL(conformance_wgmma, 128, 1)(
    const u32* a,               // (lanes, 8): registers of both products
    const unsigned char* tile,  // (tile_bytes): B, as it is to lie in shared memory
    float* sums,                // (lanes, 64), of which the first n / 2
    int n, int transposed,
    int unit) {  // 0..4
    DYNAMIC_SHARED(unsigned char, shared);
    const unsigned char* from = tile + static_cast<size_t>(blockIdx.x) * tile_bytes;
    for (int at = threadIdx.x * 16; at < tile_bytes; at += lanes * 16) cp_async_16(shared + at, from + at, true);
    cp_async_commit();
    cp_async_wait<0>();
    proxy_fence();
    block_sync();
    const size_t lane = static_cast<size_t>(blockIdx.x) * lanes + threadIdx.x;
    if (n == 32) products_of<32>(transposed, a + lane * 8, shared, unit, sums + lane * 64);
    else if (n == 64) products_of<64>(transposed, a + lane * 8, shared, unit, sums + lane * 64);
    else if (n == 96) products_of<96>(transposed, a + lane * 8, shared, unit, sums + lane * 64);
    else products_of<128>(transposed, a + lane * 8, shared, unit, sums + lane * 64);
}
