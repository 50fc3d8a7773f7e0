#include "engine.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "fiber.h"
#include "memory.h"
#include "segfault.h"

namespace emulator {

thread_local Block* block = nullptr;

namespace {

constexpr size_t stack_bytes = 128 << 10;
constexpr size_t max_threads = 1024;
constexpr size_t max_shared_bytes = 227 << 10;
constexpr unsigned warp_size = 32;

std::vector<Kernel>& kernels() {
    static std::vector<Kernel> all;
    return all;
}

thread_local std::string fault_of_last_launch;

const char* name(Instruction instruction) {
    switch (instruction) {
        case Instruction::Ballot: return "ballot";
        case Instruction::ShuffleXor: return "shuffle";
        case Instruction::LdmatrixX4: return "ldmatrix";
        case Instruction::LdmatrixX4Trans: return "ldmatrix.trans";
        case Instruction::MmaM16N8K16: return "mma";
        case Instruction::WgmmaWait: return "the wait for wgmma";
    }
    return "?";
}

const char* base_name(const char* file) {
    const char* slash = strrchr(file, '/');
    return slash ? slash + 1 : file;
}

std::string describe(const Thread& thread) {
    std::string text = "thread " + std::to_string(thread.index);
    if (thread.state == State::Exited) return text + " has exited";
    const char* what = thread.state == State::AtBarrier ? "the barrier" : name(thread.instruction);
    return text + " waits at " + what + " (" + base_name(thread.where.file) + ":" +
           std::to_string(thread.where.line) + ")";
}

// To the next lane of the warp that can run, or back to the scheduler.
void yield() {
    Thread* self = block->running;
    for (Thread* next = self + 1; next < block->warp_end; next++) {
        if (next->state != State::Ready) continue;
        block->running = next;
        emulator_switch_stack(&self->stack_pointer, next->stack_pointer);
        return;
    }
    emulator_switch_stack(&self->stack_pointer, block->scheduler);
}

void thread_main() {
    block->kernel->call(block->arguments);
    block->running->state = State::Exited;
    block->exited++;
    yield();
    __builtin_trap();
}

uint64_t next_random() {
    uint64_t& state = block->random;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

bool same_place(const Thread& a, const Thread& b) {
    return a.where.line == b.where.line && !strcmp(a.where.file, b.where.file);
}

// Called by the scheduler, which has no fiber to leave.
void set_fault(int error, std::string text) {
    if (block->error) return;
    block->error = error;
    block->fault = std::string(block->kernel->name) + ": " + std::move(text);
}

// Runs the lanes until none can; performs a warp instruction at which all of them wait.
// True if anything happened.
bool run_warp(Thread* warp, unsigned lanes) {
    bool moved = false;
    block->warp_end = warp + lanes;
    for (;;) {
        for (unsigned i = 0; i < lanes; i++) {
            if (warp[i].state != State::Ready) continue;
            moved = true;
            block->running = &warp[i];
            emulator_switch_stack(&block->scheduler, warp[i].stack_pointer);
            if (block->error) return true;
        }
        auto waits = [](const Thread& t) { return t.state == State::AtWarpInstruction; };
        Thread* first = std::find_if(warp, warp + lanes, waits);
        if (first == warp + lanes) return moved;
        for (unsigned i = 0; i < warp_size; i++) {
            bool together = i < lanes && waits(warp[i]) &&
                            warp[i].instruction == first->instruction &&
                            same_place(warp[i], *first);
            if (together) continue;
            std::string other = i < lanes ? describe(warp[i]) : "the warp is not full";
            set_fault(error_launch_failed, "divergent warp: " + describe(*first) + ", " + other);
            return true;
        }
        perform(warp);
        if (block->error) return true;
        for (unsigned i = 0; i < warp_size; i++) warp[i].state = State::Ready;
        moved = true;
    }
}

// Lets the threads go on if all that have not exited wait at one barrier. True if it did.
bool release_barrier() {
    Thread* first = nullptr;
    for (Thread& thread : block->threads) {
        if (thread.state == State::Exited) continue;
        if (thread.state != State::AtBarrier) return false;
        if (first && !same_place(*first, thread)) {
            set_fault(error_launch_failed,
                      "divergent barrier: " + describe(*first) + ", " + describe(thread));
            return true;
        }
        if (!first) first = &thread;
    }
    if (!first) return false;
    for (Thread& thread : block->threads)
        if (thread.state == State::AtBarrier) thread.state = State::Ready;
    block->epoch++;
    return true;
}

void start_block(dim3 index) {
    block->index = index;
    block->epoch++;
    block->exited = 0;
    memset(block->shared, 0xff, block->shared_bytes);
    for (Word& word : block->words) word.in_flight = word.unfenced = false;
    dim3 size = block->block_size;
    for (unsigned i = 0; i < block->threads.size(); i++) {
        Thread& thread = block->threads[i];
        thread.index = i;
        thread.id = {i % size.x, i / size.x % size.y, i / size.x / size.y};
        thread.state = State::Ready;
        thread.copies.clear();
        thread.copy_groups = 0;
        thread.products.clear();
        thread.product_groups = 0;
        thread.registers_fenced = false;
        thread.unfenced.clear();
        thread.stack_pointer = new_fiber(thread.stack_top, thread_main);
    }
}

void run_block(dim3 index) {
    start_block(index);
    unsigned threads = static_cast<unsigned>(block->threads.size());
    std::vector<unsigned> order((threads + warp_size - 1) / warp_size);
    for (unsigned i = 0; i < order.size(); i++) order[i] = i;
    while (block->exited < threads) {
        for (size_t i = order.size() - 1; i > 0; i--)
            std::swap(order[i], order[next_random() % (i + 1)]);
        bool moved = false;
        for (unsigned warp : order) {
            unsigned lanes = std::min(warp_size, threads - warp * warp_size);
            moved |= run_warp(&block->threads[warp * warp_size], lanes);
            if (block->error) return;
        }
        moved |= release_barrier();
        if (!moved) set_fault(error_launch_failed, "deadlock: " + describe(block->threads[0]));
        if (block->error) return;
    }
    for (Thread& thread : block->threads) {
        if (!thread.copies.empty())
            set_fault(error_launch_failed, describe(thread) + " with copies that it never waited for");
        if (!thread.products.empty())
            set_fault(error_launch_failed, describe(thread) + " with wgmma that it never waited for");
    }
}

unsigned char* map(size_t bytes) {
    void* mapping = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) abort();
    return static_cast<unsigned char*>(mapping);
}

uint64_t seed() {
    const char* text = getenv("EMULATOR_SEED");
    return text ? strtoull(text, nullptr, 10) : 1;
}

}  // namespace

void fault(int error, Where where, const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    {
        std::string whole = text;
        dim3 b = block->index;
        char tail[128];
        snprintf(tail, sizeof tail, " (thread %u of block %u,%u,%u, %s:%u)", running().index, b.x,
                 b.y, b.z, base_name(where.file), where.line);
        set_fault(error, whole + tail);
    }
    // This fiber is left for good; the scheduler sees the error.
    emulator_switch_stack(&running().stack_pointer, block->scheduler);
    __builtin_trap();
}

void warp_instruction(Instruction instruction, Where where) {
    Thread& self = running();
    self.instruction = instruction;
    self.where = where;
    self.state = State::AtWarpInstruction;
    yield();
}

void block_barrier(Where where) {
    Thread& self = running();
    self.where = where;
    self.state = State::AtBarrier;
    yield();
}

int launch(const Kernel& kernel, dim3 grid, dim3 block_size, size_t shared_bytes,
           void** arguments) {
    constexpr int invalid_value = 1, out_of_resources = 701;
    fault_of_last_launch.clear();
    size_t threads = size_t{block_size.x} * block_size.y * block_size.z;
    bool grid_fits = grid.x && grid.y && grid.z && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
                     grid.z <= 65535;
    if (!threads || threads > max_threads || !grid_fits || shared_bytes > max_shared_bytes) {
        fault_of_last_launch = std::string(kernel.name) + ": grid, block or shared memory too large";
        return invalid_value;
    }
    if (threads > kernel.max_threads) {
        fault_of_last_launch = std::string(kernel.name) + ": more threads than its launch bound";
        return out_of_resources;
    }

    thread_local Block local;
    thread_local unsigned char* stacks = nullptr;
    thread_local unsigned char* shared = nullptr;
    if (!stacks) {
        stacks = map(stack_bytes * max_threads);
        shared = map(max_shared_bytes + 1024);
        shared = reinterpret_cast<unsigned char*>(
            (reinterpret_cast<uintptr_t>(shared) + 1023) & ~uintptr_t{1023});
    }
    block = &local;
    local.grid_size = grid;
    local.block_size = block_size;
    local.kernel = &kernel;
    local.arguments = arguments;
    local.shared = shared;
    local.shared_bytes = shared_bytes;
    local.words.resize((shared_bytes + 3) / 4);
    local.threads.resize(threads);
    for (size_t i = 0; i < threads; i++)
        local.threads[i].stack_top = stacks + (i + 1) * stack_bytes;
    local.random = (seed() + 1) * 0x9e3779b97f4a7c15ull;
    local.error = 0;
    local.fault.clear();
    catch_segfaults();

    for (unsigned z = 0; z < grid.z && !local.error; z++)
        for (unsigned y = 0; y < grid.y && !local.error; y++)
            for (unsigned x = 0; x < grid.x && !local.error; x++) run_block({x, y, z});
    if (!local.error) {
        if (std::string stray = find_stray_write(); !stray.empty())
            set_fault(error_illegal_address, "out of bounds: " + stray);
    }
    block = nullptr;
    fault_of_last_launch = local.fault;
    return local.error;
}

const std::string& last_fault() { return fault_of_last_launch; }

void add_kernel(Kernel kernel) { kernels().push_back(std::move(kernel)); }

const Kernel* find_kernel(const char* file, const char* name) {
    for (const Kernel& kernel : kernels())
        if (!strcmp(kernel.file, file) && !strcmp(kernel.name, name)) return &kernel;
    return nullptr;
}

}  // namespace emulator
