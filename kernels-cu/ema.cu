// Exponential moving averages of many arrays, as gaternet-core/src/optim/ema.rs has them.
//
// Memory contract: elementwise; a block has a part of one array. The value is read, its average is read and replaced. No
// shared memory.
#include "random.cuh"
#include "table.cuh"

namespace {

// Mirrors the rows of `Averages` of gaternet-kernels/src/cuda/ema.rs.
struct Row {
    const float* value;  // (length)
    float* average;      // (length)
    u64 length;
};

}  // namespace

// average += fraction · (value - average), with the fraction of the clock's step. Grid (parts).
KERNEL(ema_update, table::threads, 4)(
    const Clock* clock,
    const table::Part* parts,  // (parts)
    const Row* rows,           // (arrays)
    const float* fractions,    // (steps)
    int steps) {
    const table::Part part = parts[blockIdx.x];
    const Row row = rows[part.row];
    const int length = static_cast<int>(row.length);
    const float fraction = fractions[place_of_step(*clock, steps)];
    for (int i = threadIdx.x; i < table::span && part.first + i < length; i += table::threads) {
        const int at = part.first + i;
        row.average[at] += fraction * (row.value[at] - row.average[at]);
    }
}
