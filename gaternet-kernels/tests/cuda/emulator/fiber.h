// Fibers: a function call that can be left in the middle and resumed. Every CUDA thread is one.
//
// ucontext would do, but it sets the signal mask at every switch: 304 ns against 3 ns here, and a
// convolution switches a million times.
#pragma once

namespace emulator {

// Saves the registers that a call must keep and the stack pointer at `*save`, then continues at `to`.
extern "C" void emulator_switch_stack(void** save, void* to);

// The stack pointer from which the first switch enters `entry`, for a stack that ends at `top`.
// `entry` must not return.
void* new_fiber(unsigned char* top, void (*entry)());

}  // namespace emulator
