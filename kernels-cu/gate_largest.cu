// The gates of the largest gate logits of each layer (the rules are those of gaternet-core/src/gate/estimator/top_k.rs and
// gaternet-core/src/gate/min_active.rs).
//
// Memory contract: a block has a layer of a sample; it reads the gate logits and alone reads and writes the gates. No shared
// memory.
#include "dev.cuh"

namespace {

constexpr int threads = 128;

// The bits of a float as a number in the order of all floats: -NaN, -infinity, ..., -0, 0, ..., infinity, NaN.
DEVICE int in_order(int bits) { return bits < 0 ? bits ^ 0x7fffffff : bits; }
DEVICE bool is_nan(int bits) { return (bits & 0x7fffffff) > 0x7f800000; }

}  // namespace

// A gate is 1 if its gate logit is among the `count` largest of its layer, the first of equals; NaN stays NaN. The other
// gates close, or stay what they are. Grid (L, N).
KERNEL(gate_largest, threads, 8)(
    const int* logits,  // (N, C): the bits of f32
    const int* layers,  // (L, 3): first column, columns, `count`
    float* gates,       // (N, C); read only if the others stay
    int columns, int others_close) {
    const int* layer = layers + blockIdx.x * 3;
    const int first = layer[0], width = layer[1], count = layer[2];
    const size_t start = static_cast<size_t>(blockIdx.y) * columns + first;
    const int* row = logits + start;
    for (int i = threadIdx.x; i < width; i += threads) {
        const int key = in_order(row[i]);
        int before = 0;
        for (int j = 0; j < width; j++) {
            const int other = in_order(row[j]);
            before += other > key || (other == key && j < i) ? 1 : 0;
        }
        float* gate = gates + start + i;
        if (others_close)
            *gate = is_nan(row[i]) ? bf16_low(0x7fc0) : before < count ? 1.0f : 0.0f;
        else if (before < count && *gate == *gate)
            *gate = 1.0f;
    }
}
