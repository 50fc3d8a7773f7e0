#include "memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>

namespace emulator {
namespace {

constexpr size_t page = 4096;
constexpr size_t guard = 16 * page;
constexpr unsigned char fill = 0xff;

struct Allocation {
    size_t bytes;
    unsigned char* mapping;  // guard, slack, the allocation, less than 16 bytes of slack, guard
    size_t mapped;
};

std::mutex mutex;
std::map<uintptr_t, Allocation> allocations;
// Changes with every allocation and release, so that a thread knows when its last answer is stale.
std::atomic<uint64_t> generation{1};

size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

}  // namespace

void* allocate(size_t bytes) {
    size_t usable = round_up(bytes, page);
    size_t mapped = usable + 2 * guard;
    void* mapping =
        mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) return nullptr;
    auto* first = static_cast<unsigned char*>(mapping) + guard;
    mprotect(first, usable, PROT_READ | PROT_WRITE);
    memset(first, fill, usable);
    unsigned char* pointer = first + usable - round_up(bytes, 16);
    std::lock_guard lock(mutex);
    allocations[reinterpret_cast<uintptr_t>(pointer)] = {
        bytes, static_cast<unsigned char*>(mapping), mapped};
    generation++;
    return pointer;
}

bool release(void* pointer) {
    std::lock_guard lock(mutex);
    auto found = allocations.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == allocations.end()) return false;
    munmap(found->second.mapping, found->second.mapped);
    allocations.erase(found);
    generation++;
    return true;
}

bool is_device_memory(const void* pointer, size_t bytes) {
    auto from = reinterpret_cast<uintptr_t>(pointer);
    // Asked once per asynchronous copy, which mostly alternate between two tensors.
    struct Answer {
        uint64_t generation;
        uintptr_t from, to;
    };
    thread_local Answer answers[2];
    thread_local unsigned oldest = 0;
    uint64_t now = generation.load(std::memory_order_relaxed);
    for (const Answer& a : answers)
        if (a.generation == now && a.from <= from && from + bytes <= a.to) return true;
    std::lock_guard lock(mutex);
    auto after = allocations.upper_bound(from);
    if (after == allocations.begin()) return false;
    auto [start, allocation] = *--after;
    if (from + bytes > start + allocation.bytes) return false;
    answers[oldest] = {generation.load(), start, start + allocation.bytes};
    oldest ^= 1;
    return true;
}

std::string find_stray_write() {
    std::lock_guard lock(mutex);
    for (auto& [start, allocation] : allocations) {
        unsigned char* first = allocation.mapping + guard;
        auto* pointer = reinterpret_cast<unsigned char*>(start);
        unsigned char* end = allocation.mapping + allocation.mapped - guard;
        for (unsigned char* byte = first; byte < end; byte++) {
            if (byte == pointer) byte += allocation.bytes;
            if (byte < end && *byte != fill) {
                *byte = fill;
                return "byte " + std::to_string(byte - pointer) + " of an allocation of " +
                       std::to_string(allocation.bytes) + " bytes was written";
            }
        }
    }
    return {};
}

}  // namespace emulator
