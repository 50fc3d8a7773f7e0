// A price for what the gates execute above or below a target, with bounds for parts of the network (the equations are those of
// gaternet-core/src/gate/loss/target_macs.rs).
//
// Memory contract: a warp writes the fraction of a layer of a sample; one block reads all fractions, writes the loss and the gradient
// of each fraction, and adds to the totals (dynamic shared memory: two floats a convolution); a warp adds that gradient to those
// of the gates of a layer of a sample.
#include "random.cuh"

namespace {

constexpr int threads = 256;

// Within this fraction of the target the pull of the loss grows in proportion to the distance.
constexpr float near_fraction = 0.02f;

// Mirrors `Raw` of gaternet-kernels/src/cuda/gate_target.rs.
struct Target {
    float always, target;  // what runs whatever the gates are, and the target, over the network without gates
    int pulls;             // 0: there are bounds only
    int convs, blocks, layers, batch, steps;
};

// The mean gate of a sample in a layer; 1 without a layer.
DEVICE float open_fraction(const float* fractions, int layer, int n, int batch) {
    return layer < 0 ? 1.0f : fractions[static_cast<size_t>(layer) * batch + n];
}

// How far a fraction is outside its bounds: positive above, negative below. NaN stays NaN.
DEVICE float beyond(float fraction, float lower, float upper) {
    return fraction > upper ? fraction - upper : fraction < lower ? fraction - lower : fraction == fraction ? 0.0f : fraction;
}

}  // namespace

// The mean gate of each layer in each sample. Grid (L, N).
KERNEL(gate_fractions, 32, 1)(
    const float* gates,  // (N, C)
    const int* layers,   // (L, 3): first column, columns
    float* work,         // (2, L, N): the fractions go to the first half
    int columns, int batch) {
    const int first = layers[blockIdx.x * 3], width = layers[blockIdx.x * 3 + 1];
    const float* row = gates + static_cast<size_t>(blockIdx.y) * columns + first;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += 32) sum += row[i];
    sum = warp_sum(sum);
    if (threadIdx.x == 0) work[static_cast<size_t>(blockIdx.x) * batch + blockIdx.y] = sum / static_cast<float>(width);
}

// Grid (1).
KERNEL(gate_target, threads, 1)(
    const float* macs,      // (K): of each convolution, over those of the network without gates
    const int* convs,       // (K, 3): its block, ascending; the layers of its filters and channels, -1 for none
    const float* schedule,  // (steps, 3): weight of the loss, lower and upper bound of a block's fraction; beyond them the last
    const Clock* clock,
    float* work,            // (2, L, N): the fractions; weight times the gradient of the loss with respect to them is written
    float* loss,            // (1), without the weight
    float* totals,          // to whose first value N · weight · loss is added
    Target t) {
    DYNAMIC_SHARED(float, shared);
    float* executed = shared;       // (K)
    float* slopes = shared + t.convs;  // (K)
    const float* row = schedule + place_of_step(*clock, t.steps) * 3;
    const float weight = row[0], lower = row[1], upper = row[2];
    const float batch = static_cast<float>(t.batch), blocks = static_cast<float>(t.blocks);
    float* grads = work + static_cast<size_t>(t.layers) * t.batch;
    const int lane = threadIdx.x % 32;
    for (int k = threadIdx.x / 32; k < t.convs; k += threads / 32) {
        float pairs = 0.0f;
        for (int n = lane; n < t.batch; n += 32)
            pairs += open_fraction(work, convs[k * 3 + 1], n, t.batch) * open_fraction(work, convs[k * 3 + 2], n, t.batch);
        pairs = warp_sum(pairs);
        if (lane == 0) shared_store(executed + k, macs[k] * (pairs / batch));
    }
    block_sync();
    if (threadIdx.x == 0) {
        float ratio = t.always;
        for (int k = 0; k < t.convs; k++) ratio += shared_load(executed + k);
        const float excess = ratio - t.target, near = near_fraction * t.target;
        const bool far = fabsf(excess) > near;
        const float pull = !t.pulls ? 0.0f : !far ? excess / near : excess > 0.0f ? 1.0f : -1.0f;
        float price = !t.pulls ? 0.0f : far ? fabsf(excess) - near / 2.0f : excess * excess / (2.0f * near);
        for (int first = 0, end = 0; first < t.convs; first = end) {
            float dense = 0.0f, ran = 0.0f;
            for (; end < t.convs && convs[end * 3] == convs[first * 3]; end++) {
                dense += macs[end];
                ran += shared_load(executed + end);
            }
            const float outside = beyond(ran / dense, lower, upper);
            price += outside * outside / blocks;
            const float slope = weight * (pull + 2.0f * outside / (blocks * dense)) / batch;
            for (int k = first; k < end; k++) shared_store(slopes + k, slope * macs[k]);
        }
        *loss = price;
        if (weight > 0.0f) totals[0] += batch * weight * price;
    }
    block_sync();
    for (int n = threadIdx.x; n < t.batch; n += threads) {
        for (int layer = 0; layer < t.layers; layer++) grads[static_cast<size_t>(layer) * t.batch + n] = 0.0f;
        for (int k = 0; k < t.convs && weight > 0.0f; k++) {
            const int filters = convs[k * 3 + 1], channels = convs[k * 3 + 2];
            const float slope = shared_load(slopes + k);
            if (filters >= 0) grads[static_cast<size_t>(filters) * t.batch + n] += slope * open_fraction(work, channels, n, t.batch);
            if (channels >= 0) grads[static_cast<size_t>(channels) * t.batch + n] += slope * open_fraction(work, filters, n, t.batch);
        }
    }
}

// Grid (L, N).
KERNEL(gate_fraction_gradient, 32, 1)(
    const int* layers,  // (L, 3)
    const float* work,  // (2, L, N): the second half is the gradient of the fractions
    float* grad_gates,  // (N, C): what is there is added to
    int columns, int batch, int layer_count) {
    const int first = layers[blockIdx.x * 3], width = layers[blockIdx.x * 3 + 1];
    const float of_fraction = work[static_cast<size_t>(layer_count + blockIdx.x) * batch + blockIdx.y];
    const float each = of_fraction / static_cast<float>(width);
    float* row = grad_gates + static_cast<size_t>(blockIdx.y) * columns + first;
    for (int i = threadIdx.x; i < width; i += 32) row[i] += each;
}
