// One step of torch.optim.SGD on f32 parameters, with the bf16 copy that convolutions read.
//
// Memory contract: elementwise; parameter and velocity are read and replaced, the gradient is read, the copy is written. A
// convolution's weight, its gradient and its copy all lie in (R, KH, KW, S), so its padding stays 0. No shared memory.
#include "random.cuh"

namespace {

constexpr int threads = 256;

// Mirrors `Constants` of gaternet-kernels/src/cuda/sgd.rs.
struct Constants {
    float momentum, dampening, weight_decay;
    int nesterov;
};

}  // namespace

// Grid (length / 256, rounded up).
KERNEL(sgd_step, threads, 4)(
    const Clock* clock,   // its step: 0 is the first
    const float* rates,   // (steps): the learning rate of each step; beyond them the last
    const float* grad,    // (length)
    float* param,         // (length)
    float* velocity,      // (length); null without momentum
    bf16* copy,           // (length); null: not wanted
    Constants constants, int steps, int length) {
    const int at = blockIdx.x * threads + threadIdx.x;
    if (at >= length) return;
    const u64 step = clock->step;
    const float rate = rates[step < static_cast<u64>(steps) ? static_cast<int>(step) : steps - 1];
    float value = param[at];
    float direction = grad[at] + constants.weight_decay * value;
    if (velocity) {
        const float kept = constants.momentum * velocity[at] + (1.0f - constants.dampening) * direction;
        const float rolled = step == 0 ? direction : kept;
        velocity[at] = rolled;
        direction = constants.nesterov ? direction + constants.momentum * rolled : rolled;
    }
    value -= rate * direction;
    param[at] = value;
    if (copy) copy[at] = float_to_bf16(value);
}
