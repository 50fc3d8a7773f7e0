// One step of torch.optim.SGD on all f32 parameters of a model, with the bf16 copies that convolutions read; before it, if
// wanted, the norm of all gradients together, as torch.nn.utils.clip_grad_norm_ has it.
//
// Memory contract: elementwise; a block has a part of one parameter. Parameter and velocity are read and replaced, the
// gradient is read, the copy is written. A convolution's weight, its gradient and its copy all lie in (R, KH, KW, S), so its
// padding stays 0. A norm is made of one sum for each block, which one block then adds up: 2 KiB of shared memory.
#include "random.cuh"
#include "reduce.cuh"
#include "table.cuh"

namespace {

// Mirrors the rows of `Sgd` of gaternet-kernels/src/cuda/sgd.rs.
struct Row {
    const float* rates;  // (steps): the learning rate of each step; beyond them the last
    const float* grad;   // (length)
    float* param;        // (length)
    float* velocity;     // (length); null without momentum
    bf16* copy;          // (length); null: not wanted
    float weight_decay;
    int length;
};

// Mirrors `Raw` of sgd.rs.
struct Constants {
    float momentum, dampening;
    int nesterov, steps;
};

}  // namespace

// Grid (parts).
KERNEL(sgd_step, table::threads, 4)(
    const Clock* clock,        // its step: 0 is the first
    const table::Part* parts,  // (parts)
    const Row* rows,           // (parameters)
    const float* factor,       // (1): of the gradients; null for 1
    Constants constants) {
    const table::Part part = parts[blockIdx.x];
    const Row row = rows[part.row];
    const u64 step = clock->step;
    const int steps = constants.steps;
    const float rate = row.rates[step < static_cast<u64>(steps) ? static_cast<int>(step) : steps - 1];
    for (int i = threadIdx.x; i < table::span && part.first + i < row.length; i += table::threads) {
        const int at = part.first + i;
        const float grad = factor ? row.grad[at] * *factor : row.grad[at];
        float value = row.param[at];
        float direction = grad + row.weight_decay * value;
        if (row.velocity) {
            const float kept =
                constants.momentum * row.velocity[at] + (1.0f - constants.dampening) * direction;
            const float rolled = step == 0 ? direction : kept;
            row.velocity[at] = rolled;
            direction = constants.nesterov ? direction + constants.momentum * rolled : rolled;
        }
        value -= rate * direction;
        row.param[at] = value;
        if (row.copy) row.copy[at] = float_to_bf16(value);
    }
}

// The sum of the squares of each part of the gradients. Grid (parts).
KERNEL(sgd_squares, reduce_threads, 4)(
    const table::Part* parts,  // (parts)
    const Row* rows,           // (parameters)
    double* squares) {         // (parts)
    DYNAMIC_SHARED(double, shared);
    const table::Part part = parts[blockIdx.x];
    const Row row = rows[part.row];
    double sum = 0.0;
    for (int i = threadIdx.x; i < table::span && part.first + i < row.length; i += reduce_threads) {
        const double value = row.grad[part.first + i];
        sum += value * value;
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum;
}

// min(1, max_norm / (norm + 1e-6)); NaN shows. Grid (1).
KERNEL(sgd_clip, reduce_threads, 1)(
    const double* squares,  // (parts)
    float* factor,          // (1)
    float max_norm, int parts) {
    DYNAMIC_SHARED(double, shared);
    double sum = 0.0;
    for (int i = threadIdx.x; i < parts; i += reduce_threads) sum += squares[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x > 0) return;
    const double scale = max_norm / (sqrt(sum) + 1e-6);
    *factor = scale >= 1.0 ? 1.0f : static_cast<float>(scale);
}
