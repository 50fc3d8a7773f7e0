// What a kernel sees on the host: dev.cuh includes this in place of its PTX.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <source_location>
#include <utility>

#include "engine.h"

using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;

#define DEVICE inline
#define KERNEL(name, threads, blocks_per_sm)              \
    [[maybe_unused]] constexpr unsigned name##_threads = threads; \
    static void name
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(emulator::block->shared)

#define threadIdx (emulator::running().id)
#define blockIdx (emulator::block->index)
#define gridDim (emulator::block->grid_size)
#define blockDim (emulator::block->block_size)

namespace emulator {

inline Where at(std::source_location here) { return {here.file_name(), here.line()}; }

// REGISTER_KERNEL(name) makes `name`, defined above it in this file, known to the driver.
template <auto function> struct Entry;
template <class... A, void (*function)(A...)> struct Entry<function> {
    template <size_t... I> static void call(void** arguments, std::index_sequence<I...>) {
        function(*static_cast<A*>(arguments[I])...);
    }
    static void call(void** arguments) { call(arguments, std::index_sequence_for<A...>{}); }
    Entry(const char* file, const char* name, unsigned max_threads) {
        add_kernel({name, file, max_threads, call, {static_cast<uint32_t>(sizeof(A))...}});
    }
};

}  // namespace emulator
#define REGISTER_KERNEL(file, name) \
    static emulator::Entry<name> register_##name(file, #name, name##_threads);

using emulator::at;
using Here = std::source_location;

inline float as_float(u32 bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline float bf16_low(u32 pair) { return as_float(pair << 16); }
inline float bf16_high(u32 pair) { return as_float(pair & 0xffff0000u); }
// Round to nearest, ties to even.
inline u32 bf16_bits(float value) {
    u32 bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
inline u32 pack_bf16(float low, float high) { return bf16_bits(low) | bf16_bits(high) << 16; }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline int popcount(u32 bits) { return __builtin_popcount(bits); }

inline void block_sync(Here here = Here::current()) { emulator::block_barrier(at(here)); }

inline u32 warp_ballot(bool vote, Here here = Here::current()) {
    emulator::running().in[0] = vote;
    emulator::warp_instruction(emulator::Instruction::Ballot, at(here));
    return emulator::running().out[0];
}

inline float warp_shuffle_xor(float value, int mask, Here here = Here::current()) {
    auto& self = emulator::running();
    memcpy(self.in, &value, 4);
    self.in[1] = static_cast<u32>(mask);
    emulator::warp_instruction(emulator::Instruction::ShuffleXor, at(here));
    return as_float(self.out[0]);
}

template <class T> T shared_load(const T* address, Here here = Here::current()) {
    emulator::on_shared_read(address, sizeof(T), at(here));
    return *address;
}
template <class T> void shared_store(T* address, T value, Here here = Here::current()) {
    emulator::on_shared_write(address, sizeof(T), at(here));
    *address = value;
}

inline void cp_async_16(void* shared, const void* global, bool valid, Here here = Here::current()) {
    emulator::issue_copy(shared, global, valid, at(here));
}
inline void cp_async_commit() { emulator::running().copy_groups++; }
template <int groups_left> void cp_async_wait() { emulator::wait_for_copies(groups_left); }

namespace emulator {
inline void load_matrices(Instruction instruction, u32 (&r)[4], const void* row, Where where) {
    on_shared_read(row, 16, where);
    auto& self = running();
    self.address = row;
    warp_instruction(instruction, where);
    memcpy(r, self.out, sizeof r);
}
}  // namespace emulator
inline void ldmatrix_x4(u32 (&r)[4], const void* row, Here here = Here::current()) {
    emulator::load_matrices(emulator::Instruction::LdmatrixX4, r, row, at(here));
}
inline void ldmatrix_x4_trans(u32 (&r)[4], const void* row, Here here = Here::current()) {
    emulator::load_matrices(emulator::Instruction::LdmatrixX4Trans, r, row, at(here));
}

inline void mma_m16n8k16(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1,
                         Here here = Here::current()) {
    auto& self = emulator::running();
    memcpy(self.in, a, sizeof a);
    self.in[4] = b0;
    self.in[5] = b1;
    memcpy(self.in + 6, d, sizeof d);
    emulator::warp_instruction(emulator::Instruction::MmaM16N8K16, at(here));
    memcpy(d, self.out, sizeof d);
}
