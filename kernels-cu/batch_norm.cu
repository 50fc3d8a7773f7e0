// Batch normalisation of dense activations, with what follows it in a block:
//
//   z = weight · (x - mean) / sqrt(var + eps) + bias,  a = gate · z (exactly 0 for a gate of 0),  y = relu(a + residual)
//
// Memory contract: a sum over all samples is two kernels. The first has a block for each sample and 256 channels, which
// alone writes their partial sums; the second has eight threads for each channel, whose sums are added in a fixed order.
// Passes that write activations write every channel, zeros in the padding, and read x, y, gradients and residual once.
// Sums use 16 KiB of dynamic shared memory (merges: 2 KiB), the others none.
#include "plane.cuh"

using namespace planes;

namespace {

// Mirrors `Options` of gaternet-kernels/src/cuda/batch_norm.rs.
struct Options {
    float eps, momentum;
    int relu, batch_stats, gate_stride, gate_first;
};

constexpr int merge_channels = 32, merge_rows = 8;  // a block of a merge

// What normalises eight channels.
struct Channels {
    float mean[width], inv_std[width], weight[width], bias[width];

    DEVICE Channels(const Place& place, int channels, float eps, const float* weights, const float* biases,
                    const float* means, const float* vars) {
        place.of_channels(weight, weights, channels, 1.0f);
        place.of_channels(bias, biases, channels, 0.0f);
        place.of_channels(mean, means, channels, 0.0f);
        place.of_channels(inv_std, vars, channels, 1.0f);
        for (int i = 0; i < width; i++) inv_std[i] = 1.0f / sqrtf(inv_std[i] + eps);
    }
};

DEVICE const float* gate_row(const float* gates, const Options& o, int n) {
    return gates ? gates + static_cast<size_t>(n) * o.gate_stride + o.gate_first : nullptr;
}

// Of each plane its mean, and the sum of squared distances from it. Grid (1, S / 256 rounded up, N).
template <class T>
DEVICE void moments(
    const T* x,       // (N, P, S)
    float* partials,  // (N, 2, C)
    Planes p) {
    DYNAMIC_SHARED(float, shared);
    const Place place(p);
    // Distances from the mean of a few pixels: squares of the values themselves would cancel.
    float shift[width] = {}, value[width];
    const int few = min(p.pixels, 8);
    for (int pixel = 0; place.works && pixel < few; pixel++) {
        load(value, x + place.at(p, pixel));
        for (int i = 0; i < width; i++) shift[i] += value[i] / static_cast<float>(few);
    }
    float sums[2][width] = {};
    for (int pixel = place.row; place.works && pixel < p.pixels; pixel += place.rows) {
        load(value, x + place.at(p, pixel));
        for (int i = 0; i < width; i++) {
            const float distance = value[i] - shift[i];
            sums[0][i] += distance;
            sums[1][i] += distance * distance;
        }
    }
    sum_rows(sums, place, shared);
    float* target = partials + static_cast<size_t>(place.n) * 2 * p.channels;
    for (int i = 0; i < width; i++) {
        const int c = place.channel + i;
        if (place.row > 0 || c >= p.channels) continue;
        const float from_shift = sums[0][i] / static_cast<float>(p.pixels);
        const float m2 = sums[1][i] - sums[0][i] * from_shift;
        target[c] = shift[i] + from_shift;
        target[p.channels + c] = m2 < 0.0f ? 0.0f : m2;  // NaN stays
    }
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N).
template <class T>
DEVICE void normalise(
    const T* x,           // (N, P, S)
    const float* weight,  // (C)
    const float* bias,    // (C)
    const float* mean,    // (C)
    const float* var,     // (C)
    const float* gates,   // (N, gate_stride); null: 1
    const T* residual,    // (N, P, S); null: 0
    T* y,                 // (N, P, S)
    Planes p, Options o) {
    const Place place(p);
    if (!place.works) return;
    const Channels channels(place, p.channels, o.eps, weight, bias, mean, var);
    float gate[width], value[width];
    place.of_channels(gate, gate_row(gates, o, place.n), p.channels, 1.0f);
    const int end = min(p.pixels, (blockIdx.x + 1) * block_steps * place.rows);
    for (int pixel = blockIdx.x * block_steps * place.rows + place.row; pixel < end; pixel += place.rows) {
        const size_t at = place.at(p, pixel);
        float other[width] = {};
        load(value, x + at);
        if (residual) load(other, residual + at);
        for (int i = 0; i < width; i++) {
            const float z = (value[i] - channels.mean[i]) * (channels.weight[i] * channels.inv_std[i]) + channels.bias[i];
            const float sum = (gate[i] == 0.0f ? 0.0f : gate[i] * z) + other[i];
            const bool zero = place.channel + i >= p.channels || (o.relu && sum <= 0.0f);
            value[i] = zero ? 0.0f : sum;
        }
        store(y + at, value);
    }
}

// The gradient of a: that of y where the ReLU was open.
template <class T>
DEVICE void load_grad_a(float (&grad)[width], const T* grad_y, const T* y, size_t at, bool relu) {
    load(grad, grad_y + at);
    if (!relu) return;
    float open[width];
    load(open, y + at);
    for (int i = 0; i < width; i++) grad[i] = open[i] <= 0.0f ? 0.0f : grad[i];
}

// Of each plane Σ grad a and Σ grad a · (x - mean), and the gradient of its gate. Grid (1, S / 256 rounded up, N).
template <class T>
DEVICE void backward_sums(
    const T* x,           // (N, P, S)
    const T* y,           // (N, P, S); null without relu
    const T* grad_y,      // (N, P, S)
    const float* weight,  // (C)
    const float* bias,    // (C)
    const float* mean,    // (C)
    const float* var,     // (C)
    float* partials,      // (N, 2, C)
    float* grad_gates,    // (N, gate_stride); columns gate_first.. are written; null: not wanted
    Planes p, Options o) {
    DYNAMIC_SHARED(float, shared);
    const Place place(p);
    const Channels channels(place, p.channels, o.eps, weight, bias, mean, var);
    float sums[2][width] = {}, value[width], grad[width];
    for (int pixel = place.row; place.works && pixel < p.pixels; pixel += place.rows) {
        const size_t at = place.at(p, pixel);
        load(value, x + at);
        load_grad_a(grad, grad_y, y, at, o.relu);
        for (int i = 0; i < width; i++) {
            sums[0][i] += grad[i];
            sums[1][i] += grad[i] * (value[i] - channels.mean[i]);
        }
    }
    sum_rows(sums, place, shared);
    float* target = partials + static_cast<size_t>(place.n) * 2 * p.channels;
    for (int i = 0; i < width; i++) {
        const int c = place.channel + i;
        if (place.row > 0 || c >= p.channels) continue;
        target[c] = sums[0][i];
        target[p.channels + c] = sums[1][i];
        if (grad_gates)
            grad_gates[static_cast<size_t>(place.n) * o.gate_stride + o.gate_first + c] =
                channels.weight[i] * channels.inv_std[i] * sums[1][i] + channels.bias[i] * sums[0][i];
    }
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N).
template <class T>
DEVICE void backward_input(
    const T* x,            // (N, P, S)
    const T* y,            // (N, P, S); null without relu
    const T* grad_y,       // (N, P, S)
    const float* weight,   // (C)
    const float* mean,     // (C)
    const float* var,      // (C)
    const float* gates,    // (N, gate_stride); null: 1
    const float* scratch,  // (N + 1, 2, C), of batch_norm_backward_merge
    const T* more,         // (N, P, S): added to grad_x; null: 0
    T* grad_x,             // (N, P, S)
    T* grad_residual,      // (N, P, S); null: not wanted
    Planes p, Options o) {
    const Place place(p);
    if (!place.works) return;
    const Channels channels(place, p.channels, o.eps, weight, nullptr, mean, var);
    float factor[width], to_mean[width] = {}, to_var[width] = {}, value[width], grad[width];
    place.of_channels(factor, gate_row(gates, o, place.n), p.channels, 1.0f);
    u32 off = 0;  // bit i: the gate of channel i is 0; one register for eight
    for (int i = 0; i < width; i++) {
        if (factor[i] == 0.0f) off |= 1u << i;
        factor[i] *= channels.weight[i] * channels.inv_std[i];
    }
    if (o.batch_stats) {
        const float* through = scratch + static_cast<size_t>(p.batch) * 2 * p.channels;
        place.of_channels(to_mean, through, p.channels, 0.0f);
        place.of_channels(to_var, through + p.channels, p.channels, 0.0f);
    }
    const int end = min(p.pixels, (blockIdx.x + 1) * block_steps * place.rows);
    for (int pixel = blockIdx.x * block_steps * place.rows + place.row; pixel < end; pixel += place.rows) {
        const size_t at = place.at(p, pixel);
        load_grad_a(grad, grad_y, y, at, o.relu);
        if (grad_residual) store(grad_residual + at, grad);
        if (o.batch_stats) load(value, x + at);
        for (int i = 0; i < width; i++) {
            const float direct = off >> i & 1u ? 0.0f : grad[i] * factor[i];
            const float stats = o.batch_stats ? to_mean[i] + (value[i] - channels.mean[i]) * to_var[i] : 0.0f;
            grad[i] = place.channel + i < p.channels ? direct - stats : 0.0f;
        }
        if (more) {
            load(value, more + at);
            for (int i = 0; i < width; i++) grad[i] += value[i];
        }
        store(grad_x + at, grad);
    }
}

// Σ over the block's rows, for all of them. Shared: merge_rows · merge_channels floats.
DEVICE float sum_merge_rows(float value, float* shared) {
    const int lane = threadIdx.x % merge_channels, row = threadIdx.x / merge_channels;
    block_sync();
    shared_store(shared + row * merge_channels + lane, value);
    block_sync();
    float sum = 0.0f;
    for (int i = 0; i < merge_rows; i++) sum += shared_load(shared + i * merge_channels + lane);
    return sum;
}

}  // namespace

KERNEL(batch_norm_moments, threads, 4)(const bf16* x, float* partials, Planes p) { moments(x, partials, p); }
KERNEL(batch_norm_moments_f32, threads, 4)(const float* x, float* partials, Planes p) { moments(x, partials, p); }

KERNEL(batch_norm_normalise, threads, 3)(
    const bf16* x, const float* weight, const float* bias, const float* mean, const float* var, const float* gates,
    const bf16* residual, bf16* y, Planes p, Options o) {
    normalise(x, weight, bias, mean, var, gates, residual, y, p, o);
}
KERNEL(batch_norm_normalise_f32, threads, 3)(
    const float* x, const float* weight, const float* bias, const float* mean, const float* var, const float* gates,
    const float* residual, float* y, Planes p, Options o) {
    normalise(x, weight, bias, mean, var, gates, residual, y, p, o);
}

KERNEL(batch_norm_backward_sums, threads, 2)(
    const bf16* x, const bf16* y, const bf16* grad_y, const float* weight, const float* bias, const float* mean,
    const float* var, float* partials, float* grad_gates, Planes p, Options o) {
    backward_sums(x, y, grad_y, weight, bias, mean, var, partials, grad_gates, p, o);
}
KERNEL(batch_norm_backward_sums_f32, threads, 2)(
    const float* x, const float* y, const float* grad_y, const float* weight, const float* bias, const float* mean,
    const float* var, float* partials, float* grad_gates, Planes p, Options o) {
    backward_sums(x, y, grad_y, weight, bias, mean, var, partials, grad_gates, p, o);
}

KERNEL(batch_norm_backward_input, threads, 3)(
    const bf16* x, const bf16* y, const bf16* grad_y, const float* weight, const float* mean, const float* var,
    const float* gates, const float* scratch, const bf16* more, bf16* grad_x, bf16* grad_residual, Planes p, Options o) {
    backward_input(x, y, grad_y, weight, mean, var, gates, scratch, more, grad_x, grad_residual, p, o);
}
KERNEL(batch_norm_backward_input_f32, threads, 3)(
    const float* x, const float* y, const float* grad_y, const float* weight, const float* mean, const float* var,
    const float* gates, const float* scratch, const float* more, float* grad_x, float* grad_residual, Planes p, Options o) {
    backward_input(x, y, grad_y, weight, mean, var, gates, scratch, more, grad_x, grad_residual, p, o);
}

// Mean and biased variance of each channel; the running ones move towards them, the variance unbiased.
// Grid (C / 32 rounded up).
KERNEL(batch_norm_merge, merge_channels * merge_rows, 1)(
    const float* partials,  // (N, 2, C), of batch_norm_moments
    float* mean,            // (C)
    float* var,             // (C)
    float* running_mean,    // (C); null: there are none
    float* running_var,     // (C); null as running_mean
    Planes p, Options o) {
    DYNAMIC_SHARED(float, shared);
    const int c = blockIdx.x * merge_channels + threadIdx.x % merge_channels, row = threadIdx.x / merge_channels;
    const bool works = c < p.channels;
    const float samples = static_cast<float>(p.batch), pixels = static_cast<float>(p.pixels);
    float sum = 0.0f, m2 = 0.0f;
    for (int n = row; works && n < p.batch; n += merge_rows) sum += partials[static_cast<size_t>(n) * 2 * p.channels + c];
    const float centre = sum_merge_rows(sum, shared) / samples;
    for (int n = row; works && n < p.batch; n += merge_rows) {
        const float* of_plane = partials + static_cast<size_t>(n) * 2 * p.channels + c;
        const float distance = of_plane[0] - centre;
        m2 += of_plane[p.channels] + distance * distance * pixels;
    }
    const float count = samples * pixels, biased = sum_merge_rows(m2, shared) / count;
    if (!works || row > 0) return;
    mean[c] = centre;
    var[c] = biased;
    if (!running_mean) return;
    running_mean[c] = (1.0f - o.momentum) * running_mean[c] + o.momentum * centre;
    running_var[c] = (1.0f - o.momentum) * running_var[c] + o.momentum * (biased * (count / (count - 1.0f)));
}

// Gradients of weight and bias, and what flows through the statistics. Grid (C / 32 rounded up).
KERNEL(batch_norm_backward_merge, merge_channels * merge_rows, 1)(
    float* scratch,       // (N + 1, 2, C): the sums of batch_norm_backward_sums; row N becomes what flows through the
                          // mean, and through the variance for each distance from it
    const float* weight,  // (C)
    const float* var,     // (C)
    const float* gates,   // (N, gate_stride); null: 1
    float* grad_weight,   // (C)
    float* grad_bias,     // (C)
    Planes p, Options o) {
    DYNAMIC_SHARED(float, shared);
    const int c = blockIdx.x * merge_channels + threadIdx.x % merge_channels, row = threadIdx.x / merge_channels;
    const bool works = c < p.channels;
    float of_grad = 0.0f, of_product = 0.0f;
    for (int n = row; works && n < p.batch; n += merge_rows) {
        const float gate = gates ? gate_row(gates, o, n)[c] : 1.0f;
        if (gate == 0.0f) continue;  // the sums of an off plane may be NaN
        const float* of_plane = scratch + static_cast<size_t>(n) * 2 * p.channels + c;
        of_grad += gate * of_plane[0];
        of_product += gate * of_plane[p.channels];
    }
    of_grad = sum_merge_rows(of_grad, shared);
    of_product = sum_merge_rows(of_product, shared);
    if (!works || row > 0) return;
    const float inv_std = 1.0f / sqrtf(var[c] + o.eps);
    const float factor = weight[c] * inv_std / (static_cast<float>(p.batch) * static_cast<float>(p.pixels));
    grad_weight[c] = of_product * inv_std;
    grad_bias[c] = of_grad;
    float* through = scratch + static_cast<size_t>(p.batch) * 2 * p.channels + c;
    through[0] = of_grad * factor;
    through[p.channels] = of_product * inv_std * inv_std * factor;
}
