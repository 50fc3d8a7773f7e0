// Memory contract: reads and writes the clock; one thread, no shared memory.
#include "random.cuh"

// To the next step. Grid (1), block (32).
KERNEL(clock_advance, 32, 1)(Clock* clock) {
    if (threadIdx.x == 0) clock->step += 1;
}
