// The instructions of dev90.cuh. A product happens at its wait, with what registers and shared memory hold then: if
// either was touched too early, the numbers are wrong or a race is reported.
#pragma once

#include "device.h"

inline void proxy_fence() { emulator::fence_proxy(); }
inline void wgmma_fence() { emulator::running().registers_fenced = true; }
inline void wgmma_commit() {
    auto& self = emulator::running();
    self.product_groups++;
    self.registers_fenced = false;
}
template <int groups_left> void wgmma_wait(Here here = Here::current()) {
    emulator::wait_for_products(groups_left, at(here));
}

// Addresses count from the beginning of shared memory.
inline u64 wgmma_descriptor(const void* tile, int leading_bytes, int stride_bytes, Here here = Here::current()) {
    u64 address = u64(static_cast<const unsigned char*>(tile) - emulator::block->shared);
    if (address % 1024) emulator::fault(emulator::error_misaligned_address, at(here), "wgmma: misaligned tile");
    return address >> 4 | u64(leading_bytes >> 4) << 16 | u64(stride_bytes >> 4) << 32 | u64{1} << 62;
}

template <int n, int transposed>
void wgmma(float (&d)[n / 2], const u32 (&a)[4], u64 b, Here here = Here::current()) {
    emulator::issue_product({d, a, b, n, transposed != 0, 0, at(here)});
}
