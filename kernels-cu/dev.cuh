// What every kernel includes: types, launch macros and the instructions that C++ has no word for.
//
// This file and dev90.cuh are the only ones with PTX. No system header is included, so NVRTC needs no include
// path. Without a GPU the kernels are compiled as host C++ with GATERNET_EMULATOR defined: then all of it comes
// from the emulator (gaternet-kernels/tests/cuda/emulator/device.h), which has the same names.
//
// Shared memory is dynamic and is touched only through shared_load, shared_store, cp_async_16 and ldmatrix:
// the emulator watches these for races and bounds.
#pragma once

#ifdef GATERNET_EMULATOR
#include "device.h"
#else

typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define DEVICE __device__ __forceinline__
// KERNEL(name, threads of a block, blocks that must fit on a multiprocessor)(parameters) { ... }
#define KERNEL(name, threads, blocks_per_sm) \
    extern "C" __global__ void __launch_bounds__(threads, blocks_per_sm) name
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(1024) type name[]

// Two bf16 in a word, the first in the low half.
DEVICE float bf16_low(u32 pair) { return __uint_as_float(pair << 16); }
DEVICE float bf16_high(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }
DEVICE u32 pack_bf16(float low, float high) {
    u32 pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
DEVICE int popcount(u32 bits) { return __popc(bits); }

DEVICE void block_sync() { __syncthreads(); }
DEVICE u32 warp_ballot(bool vote) { return __ballot_sync(0xffffffffu, vote); }
// The value of the lane whose number differs in the bits of `mask`.
DEVICE float warp_shuffle_xor(float value, int mask) { return __shfl_xor_sync(0xffffffffu, value, mask); }

template <class T> DEVICE T shared_load(const T* address) { return *address; }
template <class T> DEVICE void shared_store(T* address, T value) { *address = value; }

DEVICE u32 shared_address(const void* pointer) {
    return static_cast<u32>(__cvta_generic_to_shared(pointer));
}

// 16 bytes to shared memory, both addresses aligned to 16; zeros if not `valid`, and then `global` is not read.
DEVICE void cp_async_16(void* shared, const void* global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(valid ? 16 : 0)
                 : "memory");
}
DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Until at most the last `groups_left` committed groups of this thread's copies are under way.
template <int groups_left> DEVICE void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
}

// Four 8x8 matrices of 16-bit values, of whose 32 rows of 16 bytes each lane gives one address.
DEVICE void ldmatrix_x4(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
DEVICE void ldmatrix_x4_trans(u32 (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// d (16, 8) += a (16, 16) · b (16, 8) of bf16 with f32 sums.
DEVICE void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif

// One element of a bf16 tensor.
struct bf16 {
    u16 bits;
};

DEVICE float bf16_to_float(bf16 value) { return bf16_low(value.bits); }
// Rounds to nearest, ties to even.
DEVICE bf16 float_to_bf16(float value) { return {static_cast<u16>(pack_bf16(value, 0.0f))}; }

// Two elements, of which the first is at an even place.
DEVICE u32 load_pair(const bf16* pair) { return *reinterpret_cast<const u32*>(pair); }

// Σ over the warp's lanes, for all of them; the order of summation is fixed.
DEVICE float warp_sum(float value) {
    for (int mask = 16; mask > 0; mask >>= 1) value += warp_shuffle_xor(value, mask);
    return value;
}
