// Batch-shaping: the distance of each gate's probabilities over the batch from a Beta distribution (the equations are those of
// gaternet-core/src/gate/loss/batch_shaping.rs and beta.rs, in f64 as there: near 0 and 1 the density takes all digits).
//
// Memory contract: a block has a gate; it reads the gate logits of its column, alone adds to their gradients, and writes one
// sum (dynamic shared memory: 8 floats and one for each sample). One block adds the sums (8 floats).
#include "gate_value.cuh"
#include "random.cuh"
#include "reduce.cuh"

namespace {

// Nearer to 0 and 1 the density could be infinite.
constexpr double margin = 1e-6;
constexpr int max_terms = 300;

// Mirrors `Raw` of gaternet-kernels/src/cuda/batch_shaping.rs.
struct Shaping {
    double a, b;
    int batch, columns, steps;
};

// In place of a 0 that would divide.
DEVICE double nonzero(double value) { return fabs(value) < 1e-300 ? 1e-300 : value; }

// The continued fraction of the incomplete beta function.
DEVICE double fraction(double a, double b, double x) {
    double c = 1.0, d = 1.0 / nonzero(1.0 - (a + b) * x / (a + 1.0)), result = d;
    for (int i = 1; i <= max_terms; i++) {
        const double m = i;
        double change = 1.0;
        for (int odd = 0; odd < 2; odd++) {
            const double coefficient = odd ? -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
                                           : m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
            d = 1.0 / nonzero(1.0 + coefficient * d);
            c = nonzero(1.0 + coefficient / c);
            change = c * d;
            result *= change;
        }
        if (fabs(change - 1.0) < 1e-14) break;
    }
    return result;
}

}  // namespace

// Grid (C).
KERNEL(batch_shaping, reduce_threads, 2)(
    const float* logits,   // (N, C)
    const float* weights,  // (steps): of the loss; beyond them the last
    const Clock* clock,
    float* grad_logits,   // (N, C): weight times the gradient is added
    float* sums,          // (C): of the squared distances of each gate
    Shaping s) {
    DYNAMIC_SHARED(float, shared);
    float* column = shared + 8;  // (N): probabilities
    const float weight = weights[place_of_step(*clock, s.steps)];
    for (int n = threadIdx.x; n < s.batch; n += reduce_threads)
        shared_store(column + n, sigmoid(logits[static_cast<size_t>(n) * s.columns + blockIdx.x]));
    block_sync();
    const double ln_beta = lgamma(s.a) + lgamma(s.b) - lgamma(s.a + s.b);
    const double each = 2.0 / (static_cast<double>(s.batch) * s.columns);
    float sum = 0.0f;
    for (int n = threadIdx.x; n < s.batch; n += reduce_threads) {
        const float probability = shared_load(column + n);
        int rank = 1;
        for (int i = 0; i < s.batch; i++) {
            const float other = shared_load(column + i);
            rank += other < probability || (other == probability && i < n) ? 1 : 0;
        }
        double x = probability;
        x = x < margin ? margin : x > 1.0 - margin ? 1.0 - margin : x;  // NaN stays
        const double front = exp(s.a * log(x) + s.b * log1p(-x) - ln_beta);
        // The fraction converges fast on this side of the mean.
        const double below = x < (s.a + 1.0) / (s.a + s.b + 2.0) ? front * fraction(s.a, s.b, x) / s.a
                                                                 : 1.0 - front * fraction(s.b, s.a, 1.0 - x) / s.b;
        const double distance = below - static_cast<double>(rank) / (s.batch + 1);
        sum += static_cast<float>(distance * distance);
        const float gradient = static_cast<float>(each * distance * (front / (x * (1.0 - x))));
        if (weight > 0.0f)
            grad_logits[static_cast<size_t>(n) * s.columns + blockIdx.x] +=
                weight * gradient * probability * (1.0f - probability);
    }
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// Grid (1).
KERNEL(batch_shaping_sum, reduce_threads, 1)(
    const float* sums,     // (C)
    const float* weights,  // (steps)
    const Clock* clock,
    float* loss,           // (1): the mean of the squared distances, without the weight
    float* totals,         // to whose first value N · weight · loss is added
    int batch, int columns, int steps) {
    DYNAMIC_SHARED(float, shared);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < columns; i += reduce_threads) sum += sums[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x > 0) return;
    const float weight = weights[place_of_step(*clock, steps)];
    *loss = sum / (static_cast<float>(batch) * static_cast<float>(columns));
    if (weight > 0.0f) totals[0] += static_cast<float>(batch) * weight * *loss;
}
