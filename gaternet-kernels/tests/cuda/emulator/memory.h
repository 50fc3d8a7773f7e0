// Device memory: every allocation lies between pages that cannot be touched and starts as NaNs.
#pragma once

#include <cstddef>
#include <string>

namespace emulator {

// A pointer aligned to 16 bytes whose `bytes` end right before an unmapped page; null if there is no
// memory. All bits are set: every bf16 and f32 in it is a NaN.
void* allocate(size_t bytes);

// False if `pointer` was not allocated.
bool release(void* pointer);

// True if all of `bytes` from `pointer` on lie in one allocation.
bool is_device_memory(const void* pointer, size_t bytes);

// What was written beside an allocation, too near for the unmapped pages; empty if nothing was.
std::string find_stray_write();

}  // namespace emulator
