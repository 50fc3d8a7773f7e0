// Instructions that only compute capability 9.0 has: matrix products of a warpgroup (wgmma), sm_90a.
//
// B lies in shared memory in rows of 128 bytes whose 16-byte chunks are exchanged by the low three bits of the row
// (chunk_of_128; PTX calls it the 128-byte swizzle), and begins at a multiple of 1024 bytes.
#pragma once

#include "dev.cuh"

#ifdef GATERNET_EMULATOR
#include "device90.h"
#else

// Orders what this thread wrote to shared memory, copies that have landed included, before what wgmma reads there.
DEVICE void proxy_fence() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Before the first wgmma of a group: orders the registers it uses.
DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Until at most the last `groups_left` committed groups are under way.
template <int groups_left> DEVICE void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(groups_left) : "memory");
}

// Where B begins. Rows of outputs: eight rows after `stride_bytes` are the next eight outputs. Rows of channels
// (transposed): eight rows after `stride_bytes` are the next eight channels, and the next 64 outputs begin
// `leading_bytes` further on.
DEVICE u64 wgmma_descriptor(const void* tile, int leading_bytes, int stride_bytes) {
    const u64 swizzle_128_bytes = 1ull << 62;
    return (shared_address(tile) & 0x3ffff) >> 4 | static_cast<u64>(leading_bytes >> 4) << 16 |
           static_cast<u64>(stride_bytes >> 4) << 32 | swizzle_128_bytes;
}

template <int n, int transposed> struct Wgmma;

#define OF_16(d, i)                                                                                               \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]),   \
        "+f"(d[i + 7]), "+f"(d[i + 8]), "+f"(d[i + 9]), "+f"(d[i + 10]), "+f"(d[i + 11]), "+f"(d[i + 12]),        \
        "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])
#define NAMES_0 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
#define NAMES_16 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_32 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define NAMES_48 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

// `names` are those of the n / 2 sums, `rest` of A, B and whether B is transposed.
#define WGMMA(n, names, rest, ...)                                                                            \
    template <int transposed> struct Wgmma<n, transposed> {                                                   \
        DEVICE static void run(float (&d)[n / 2], const u32 (&a)[4], u64 b) {                                 \
            asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" names "}, " rest ";"    \
                         : __VA_ARGS__                                                                        \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "n"(transposed));              \
        }                                                                                                     \
    };
WGMMA(32, NAMES_0, "{%16, %17, %18, %19}, %20, 1, 1, 1, %21", OF_16(d, 0))
WGMMA(64, NAMES_0 ", " NAMES_16, "{%32, %33, %34, %35}, %36, 1, 1, 1, %37", OF_16(d, 0), OF_16(d, 16))
WGMMA(96, NAMES_0 ", " NAMES_16 ", " NAMES_32, "{%48, %49, %50, %51}, %52, 1, 1, 1, %53", OF_16(d, 0), OF_16(d, 16),
      OF_16(d, 32))
WGMMA(128, NAMES_0 ", " NAMES_16 ", " NAMES_32 ", " NAMES_48, "{%64, %65, %66, %67}, %68, 1, 1, 1, %69", OF_16(d, 0),
      OF_16(d, 16), OF_16(d, 32), OF_16(d, 48))
#undef WGMMA
#undef NAMES_0
#undef NAMES_16
#undef NAMES_32
#undef NAMES_48
#undef OF_16

// d (64, n) += a (64, 16) · b (16, n) of bf16 with f32 sums, by the four warps of a warpgroup, each of which has 16 rows
// of a and d in fragments as of mma_m16n8k16. Neither d nor a may be touched before the wait.
template <int n, int transposed> DEVICE void wgmma(float (&d)[n / 2], const u32 (&a)[4], u64 b) {
    Wgmma<n, transposed>::run(d, a, b);
}

#endif
