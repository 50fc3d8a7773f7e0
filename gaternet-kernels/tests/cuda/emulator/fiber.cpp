#include "fiber.h"

#include <cstdint>

#if !defined(__x86_64__)
#error "the emulator's fiber switch is written for x86-64"
#endif

// System V ABI: rbx, rbp and r12 to r15 belong to the caller, so they are all there is to keep.
asm(R"(
.text
.p2align 4
.globl emulator_switch_stack
.type emulator_switch_stack, @function
emulator_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch_stack, .-emulator_switch_stack
)");

namespace emulator {

void* new_fiber(unsigned char* top, void (*entry)()) {
    constexpr int saved_registers = 6;
    // `entry` is reached by `ret`, so above it there must be one more word for the stack to be
    // aligned as after a call.
    auto* words = reinterpret_cast<uintptr_t*>(top) - 2;
    words[0] = reinterpret_cast<uintptr_t>(entry);
    words[1] = 0;
    return words - saved_registers;
}

}  // namespace emulator
