// The engine: runs the threads of one block as fibers, on the OS thread that launches the kernel.
//
// It is stricter than a GPU wherever a GPU would only sometimes fail:
//   - shared memory starts as NaNs, an asynchronous copy lands only at its wait;
//   - a 4-byte word of shared memory that two threads touch, one of them writing, with no block
//     barrier in between is a fault, whatever the order in which they happened to run;
//   - a warp instruction that not all 32 lanes reach at one place is a fault, and so is a barrier;
//   - warps run in random order (seed: EMULATOR_SEED).
// A fault ends the launch with an error; `last_fault` says what happened, with file and line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};

// A place in a kernel's source.
struct Where {
    const char* file = "";
    unsigned line = 0;
};

enum class State : uint8_t { Ready, AtWarpInstruction, AtBarrier, Exited };

// Instructions that a warp's 32 lanes execute together.
enum class Instruction : uint8_t {
    Ballot,
    ShuffleXor,
    LdmatrixX4,
    LdmatrixX4Trans,
    MmaM16N8K16,
    WgmmaWait,
};

// A cp.async that has not landed.
struct AsyncCopy {
    unsigned char* target;
    const unsigned char* source;  // null: zeros
    size_t group;
    Where where;
};

// A wgmma that has not been performed, with this lane's registers.
struct Product {
    float* d;  // n / 2 sums
    const uint32_t* a;
    uint64_t b;  // descriptor
    int n;
    bool transposed;
    size_t group;
    Where where;
};

struct Word;

struct Thread {
    void* stack_pointer;
    unsigned char* stack_top;
    State state;
    unsigned index;
    dim3 id;
    // The instruction or barrier it waits at, and its operands.
    Instruction instruction;
    Where where;
    uint32_t in[10];
    uint32_t out[4];
    const void* address;
    // Asynchronous work of this thread.
    std::vector<AsyncCopy> copies;
    size_t copy_groups;  // committed so far
    std::vector<Product> products;
    size_t product_groups;
    bool registers_fenced;         // wgmma_fence since the last commit
    std::vector<Word*> unfenced;   // written, no proxy_fence since
};

// What is known of one 4-byte word of shared memory. Epochs count block barriers and never start
// again, so nothing has to be cleared between blocks.
struct Word {
    uint32_t write_epoch, read_epoch;
    uint16_t writer, reader;  // `many` readers
    bool in_flight;           // an asynchronous copy to it has not landed
    bool unfenced;            // its writer has not called proxy_fence since
};
constexpr uint16_t many = 0xffff;

struct Kernel {
    const char* name;
    const char* file;
    unsigned max_threads;  // its launch bound
    void (*call)(void** arguments);
    std::vector<uint32_t> argument_sizes;
};

// What one OS thread runs blocks with; kept between launches.
struct Block {
    dim3 grid_size, block_size, index;
    const Kernel* kernel;
    void** arguments;
    unsigned char* shared;  // aligned to 1024 bytes
    size_t shared_bytes;
    std::vector<Word> words;
    std::vector<Thread> threads;
    uint32_t epoch = 1;
    Thread* running;
    Thread* warp_end;
    void* scheduler;  // stack pointer of the scheduler while a thread runs
    unsigned exited;
    uint64_t random;
    int error;  // 0, or the CUresult of a fault
    std::string fault;
};

// The block that this OS thread runs, null outside of a launch.
extern thread_local Block* block;
inline Thread& running() { return *block->running; }

// CUresult codes of what can go wrong in a kernel.
constexpr int error_illegal_address = 700;
constexpr int error_launch_failed = 719;
constexpr int error_misaligned_address = 716;

// Ends the launch. Never returns to the kernel.
[[noreturn]] void fault(int error, Where where, const char* format, ...)
    __attribute__((format(printf, 3, 4)));

// Lets the other lanes of the warp come to this place, then the instruction happens for all of them.
void warp_instruction(Instruction instruction, Where where);
void block_barrier(Where where);

// Every access to shared memory is told, and checked against its bounds and the other threads.
void on_shared_read(const void* pointer, size_t bytes, Where where);
void on_shared_write(void* pointer, size_t bytes, Where where);

void issue_copy(void* target, const void* source, bool valid, Where where);
void wait_for_copies(size_t groups_left);

void fence_proxy();
void issue_product(Product product);
void wait_for_products(size_t groups_left, Where where);
void perform_products(Thread* warp);

// What an instruction does once its 32 lanes (`warp` points at the first) have arrived.
void perform(Thread* warp);

// Runs a kernel over a grid; a CUresult.
int launch(const Kernel& kernel, dim3 grid, dim3 block_size, size_t shared_bytes, void** arguments);
// Why the last launch of this OS thread failed.
const std::string& last_fault();

// The kernels of the sources that this library was built with.
void add_kernel(Kernel kernel);
const Kernel* find_kernel(const char* file, const char* name);

}  // namespace emulator
