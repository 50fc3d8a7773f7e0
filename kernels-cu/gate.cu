// y = relu(gate · x + residual) of activations, also between dense and compact ones, and its gradients.
//
// Memory contract: forward reads what it needs of x and the residual once and writes y: all of it if it is dense, the
// active channels and zeros to the next multiple of 16 if it is compact; no shared memory. Backward: a block has a sample and
// 256 channels and alone writes their gradients (8 KiB of dynamic shared memory).
#include "plane.cuh"

using namespace planes;

namespace {

DEVICE float widened(float value) { return value; }
DEVICE float widened(bf16 value) { return bf16_to_float(value); }
DEVICE void narrow(float* to, float value) { *to = value; }
DEVICE void narrow(bf16* to, float value) { *to = float_to_bf16(value); }

// Mirrors `Options` of gaternet-kernels/src/cuda/gate.rs.
struct Options {
    int relu;
    int gate_stride, gate_first;  // the columns gate_first.. of rows of gate_stride gates
    int compact;                  // 0: nothing; 1: what is read; 2: what is written
};

// The active channels of a sample.
struct List {
    const u16* channels;  // ascending; null: all
    int count;

    DEVICE List(const u16* indices, const int* counts, int n, int all)
        : channels(indices ? indices + static_cast<size_t>(n) * all : nullptr), count(counts ? counts[n] : all) {}

    DEVICE int padded() const { return (count + 15) & ~15; }

    // The position of a channel, or -1.
    DEVICE int position_of(int channel) const {
        int low = 0, high = count;
        while (low < high) {
            const int middle = (low + high) / 2;
            if (channels[middle] < channel) low = middle + 1;
            else high = middle;
        }
        return low < count && channels[low] == channel ? low : -1;
    }
};

DEVICE const float* row_of(const float* gates, const Options& o, int n) {
    return gates ? gates + static_cast<size_t>(n) * o.gate_stride + o.gate_first : nullptr;
}

// Grid (ceil(P / (rows · 8)), S / 256 rounded up, N).
template <class T>
DEVICE void forward(
    const T* x,          // (N, P, S)
    const float* gates,  // (N, gate_stride); null: 1
    const u16* indices,  // (N, C): active channels; null if nothing is compact
    const int* counts,   // (N)
    const T* residual,   // (N, P, S), dense; null: 0
    T* y,                // (N, P, S)
    Planes p, Options o) {
    const Place place(p);
    if (!place.works) return;
    const List active(indices, counts, place.n, p.channels);
    const int end_channel = o.compact == 2 ? active.padded() : p.stride;
    if (place.channel >= end_channel) return;
    const float* row = row_of(gates, o, place.n);
    int from[width];  // the place in a pixel of x; -1: 0
    float gate[width];
    for (int i = 0; i < width; i++) {
        const int at = place.channel + i;
        int channel = at < p.channels ? at : -1;
        if (o.compact == 2) channel = at < active.count ? active.channels[at] : -1;
        from[i] = o.compact == 1 && channel >= 0 ? active.position_of(channel) : channel;
        gate[i] = row && channel >= 0 ? row[channel] : 1.0f;
        if (gate[i] == 0.0f) from[i] = -1;
    }
    const int end = min(p.pixels, (blockIdx.x + 1) * block_steps * place.rows);
    for (int pixel = blockIdx.x * block_steps * place.rows + place.row; pixel < end; pixel += place.rows) {
        const size_t at = place.at(p, pixel);
        const T* source = x + (at - place.channel);
        float value[width] = {};
        if (residual) load(value, residual + at);
        for (int i = 0; i < width; i++) {
            if (from[i] >= 0) value[i] += gate[i] * widened(source[from[i]]);
            if (o.relu && value[i] <= 0.0f) value[i] = 0.0f;  // NaN stays
        }
        store(y + at, value);
    }
}

// Grid (1, S / 256 rounded up, N).
template <class T>
DEVICE void backward(
    const T* x,          // (N, P, S), dense; null without a gradient of gates
    const T* y,          // (N, P, S), dense; null without relu
    const T* grad_y,     // (N, P, S), dense
    const float* gates,  // (N, gate_stride); null: 1
    const u16* indices,  // (N, C); null if nothing is compact
    const int* counts,   // (N)
    T* grad_x,           // (N, P, S); null: not wanted
    float* grad_gates,   // (N, gate_stride): the columns are written, where a gate is 0 too; null: not wanted
    T* grad_residual,    // (N, P, S), dense; null: not wanted
    Planes p, Options o) {
    DYNAMIC_SHARED(float, shared);
    const Place place(p);
    const List active(indices, counts, place.n, p.channels);
    const float* row = row_of(gates, o, place.n);
    int to[width];  // the place in a pixel of grad_x; -1: none
    float gate[width], sums[1][width] = {}, grad[width], value[width];
    for (int i = 0; i < width; i++) {
        const int channel = place.channel + i;
        const bool inside = place.works && channel < p.channels;
        to[i] = o.compact == 2 ? (inside ? active.position_of(channel) : -1) : channel;
        gate[i] = inside && row ? row[channel] : 1.0f;
    }
    for (int pixel = place.row; place.works && pixel < p.pixels; pixel += place.rows) {
        const size_t at = place.at(p, pixel);
        load(grad, grad_y + at);
        if (o.relu) {
            load(value, y + at);
            for (int i = 0; i < width; i++) grad[i] = value[i] <= 0.0f ? 0.0f : grad[i];
        }
        if (grad_residual) store(grad_residual + at, grad);
        if (grad_gates) {
            load(value, x + at);
            for (int i = 0; i < width; i++) sums[0][i] += grad[i] * value[i];
        }
        if (!grad_x) continue;
        T* target = grad_x + (at - place.channel);
        for (int i = 0; i < width; i++) {
            const int channel = place.channel + i;
            if (to[i] >= 0) narrow(target + to[i], gate[i] == 0.0f ? 0.0f : gate[i] * grad[i]);
            const bool padding = o.compact == 2 && channel >= active.count && channel < active.padded();
            if (padding) narrow(target + channel, 0.0f);
        }
    }
    if (!grad_gates) return;
    sum_rows(sums, place, shared);
    for (int i = 0; i < width; i++) {
        const int channel = place.channel + i;
        if (place.row == 0 && channel < p.channels)
            grad_gates[static_cast<size_t>(place.n) * o.gate_stride + o.gate_first + channel] = sums[0][i];
    }
}

}  // namespace

KERNEL(gate_forward, threads, 3)(
    const bf16* x, const float* gates, const u16* indices, const int* counts, const bf16* residual, bf16* y, Planes p,
    Options o) {
    forward(x, gates, indices, counts, residual, y, p, o);
}
KERNEL(gate_forward_f32, threads, 3)(
    const float* x, const float* gates, const u16* indices, const int* counts, const float* residual, float* y, Planes p,
    Options o) {
    forward(x, gates, indices, counts, residual, y, p, o);
}

KERNEL(gate_backward, threads, 2)(
    const bf16* x, const bf16* y, const bf16* grad_y, const float* gates, const u16* indices, const int* counts,
    bf16* grad_x, float* grad_gates, bf16* grad_residual, Planes p, Options o) {
    backward(x, y, grad_y, gates, indices, counts, grad_x, grad_gates, grad_residual, p, o);
}
KERNEL(gate_backward_f32, threads, 2)(
    const float* x, const float* y, const float* grad_y, const float* gates, const u16* indices, const int* counts,
    float* grad_x, float* grad_gates, float* grad_residual, Planes p, Options o) {
    backward(x, y, grad_y, gates, indices, counts, grad_x, grad_gates, grad_residual, p, o);
}
