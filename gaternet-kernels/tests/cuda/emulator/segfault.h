// A kernel that touches an unmapped page gets a fault with the line that did it.
#pragma once

namespace emulator {

// For the OS thread that calls it; does nothing the second time.
void catch_segfaults();

}  // namespace emulator
