// Softmax cross-entropy with smoothed labels, one or two for a sample: loss, gradient and number of right answers in one
// pass over the logits.
//
// Memory contract: a warp has a sample; it alone writes the sample's gradient and its two results, which one block then
// sums (32 bytes of dynamic shared memory). A label that is not a class gives NaN, not a read outside.
#include "reduce.cuh"

namespace {

constexpr int warps = 4;

DEVICE float warp_max(float value) {
    for (int mask = 16; mask > 0; mask >>= 1) value = fmaxf(value, warp_shuffle_xor(value, mask));
    return value;
}

// Mirrors three addresses of gaternet-kernels/src/cuda/cross_entropy.rs.
struct Targets {
    const int* labels;      // (N)
    const int* partners;    // (N): the other labels; null without
    const float* fraction;  // (1): of the first labels
};

// Whether `label` has the largest logit of `row`, the first of equal ones; the same in all lanes.
DEVICE bool is_largest(const float* row, int classes, int label, int lane) {
    const float at_label = row[label];
    bool beaten = false;
    for (int k = lane; k < classes; k += 32) beaten |= !(row[k] < at_label || (row[k] == at_label && k >= label));
    return warp_ballot(beaten) == 0;
}

}  // namespace

// With t the labels smoothed, (1 - smoothing) · (fraction · one-hot + (1 - fraction) · one-hot of the partner) + smoothing / K: loss
// Σ t · (log Σ exp(logits) - logits), gradient (softmax - t) / N. Grid (N / 4, rounded up).
KERNEL(cross_entropy_samples, 32 * warps, 4)(
    const float* logits,  // (N, K)
    Targets targets,
    float* grad_logits,   // (N, K), of the mean loss; null: not wanted
    float* results,       // (2, N): losses, and the fractions of the label that has the largest logit, the first of equal ones
    int batch, int classes, float smoothing) {
    const int n = blockIdx.x * warps + threadIdx.x / 32, lane = threadIdx.x % 32;
    if (n >= batch) return;
    const float* row = logits + static_cast<size_t>(n) * classes;
    const bool mixed = targets.partners != nullptr;
    const int label = targets.labels[n], partner = mixed ? targets.partners[n] : label;
    const float fraction = mixed ? *targets.fraction : 1.0f;
    const bool valid = label >= 0 && label < classes && partner >= 0 && partner < classes;
    const float nan = 0.0f / 0.0f;

    float largest = -3.402823466e38f;
    for (int k = lane; k < classes; k += 32) largest = fmaxf(largest, row[k]);
    largest = warp_max(largest);
    float exponentials = 0.0f, logit_sum = 0.0f;
    for (int k = lane; k < classes; k += 32) {
        exponentials += expf(row[k] - largest);
        logit_sum += row[k] - largest;
    }
    exponentials = warp_sum(exponentials);
    logit_sum = warp_sum(logit_sum);
    float right = 0.0f, at_labels = nan;
    if (valid) {
        right = is_largest(row, classes, label, lane) ? fraction : 0.0f;
        at_labels = fraction * (row[label] - largest);
    }
    if (valid && mixed) {
        right += is_largest(row, classes, partner, lane) ? 1.0f - fraction : 0.0f;
        at_labels += (1.0f - fraction) * (row[partner] - largest);
    }
    const float floor = smoothing / static_cast<float>(classes);
    if (lane == 0) {
        results[n] = logf(exponentials) - (1.0f - smoothing) * at_labels - floor * logit_sum;
        results[batch + n] = right;
    }
    for (int k = lane; grad_logits && k < classes; k += 32) {
        const float certain = (k == label ? fraction : 0.0f) + (mixed && k == partner ? 1.0f - fraction : 0.0f);
        const float target = floor + (1.0f - smoothing) * certain;
        const float grad = (expf(row[k] - largest) / exponentials - target) / static_cast<float>(batch);
        grad_logits[static_cast<size_t>(n) * classes + k] = valid ? grad : nan;
    }
}

// Grid (1).
KERNEL(cross_entropy_sums, reduce_threads, 1)(
    const float* results,  // (2, N)
    float* loss,           // (2): the mean loss and the sum of the right answers
    float* totals,         // (2): to which the sum of the losses and the number are added; null: not wanted
    int batch) {
    DYNAMIC_SHARED(float, shared);
    for (int i = 0; i < 2; i++) {
        float sum = 0.0f;
        for (int n = threadIdx.x; n < batch; n += reduce_threads) sum += results[i * batch + n];
        sum = block_sum(sum, shared);
        if (threadIdx.x > 0) continue;
        loss[i] = i == 0 ? sum / static_cast<float>(batch) : sum;
        if (totals) totals[i] += sum;
    }
}
