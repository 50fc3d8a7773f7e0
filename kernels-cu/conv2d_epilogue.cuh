// What becomes of the sums of a convolution, by the number of the output they belong to.
//
//   forward   relu(gate · (sum · scale + bias) + residual)
//   gradient  where the input was a = gate · relu(h) and `inner` is relu(h): t = sum + residual is the gradient of a,
//             Σ_pixels t · inner that of the gate, and gate · t (where inner > 0, if relu) that of h
//
// A gate of 0 gives exactly 0, by selection: 0 times NaN would be NaN.
#pragma once

#include "conv2d.cuh"

// What is the same for all pixels of an output.
struct OutputTerms {
    float scale, bias, gate;
};

// T is the element of activations: bf16 or float.
template <class T> struct Epilogue {
    const float* scale;  // (outputs); null: 1
    const float* bias;   // (outputs); null: 0
    const float* gates;  // (outputs) of this sample; null: 1
    const T* residual;   // this sample's, as the target; null: 0
    const T* inner;     // this sample's, as the target; null: forward
    float* partials;     // (outputs) of this sample and block of pixels; null: no gate gradient
    bool relu;

    DEVICE OutputTerms terms(int number) const {
        return {scale ? scale[number] : 1.0f, bias ? bias[number] : 0.0f, gates ? gates[number] : 1.0f};
    }

    // The value to store. Adds to `gate_gradient`.
    DEVICE float value(float sum, const OutputTerms& o, float residual, float inner, float& gate_gradient) const {
        if (!this->inner) {
            const float value = (o.gate == 0.0f ? 0.0f : o.gate * (sum * o.scale + o.bias)) + residual;
            return relu && value < 0.0f ? 0.0f : value;  // NaN stays
        }
        const float t = sum + residual;
        gate_gradient += t * inner;
        return o.gate == 0.0f || (relu && !(inner > 0.0f)) ? 0.0f : o.gate * t;
    }
};

// The pointers of an Epilogue as a kernel gets them, for all samples.
template <class T> struct EpilogueArguments {
    const float* scale;  // (outputs)
    const float* bias;   // (outputs)
    const float* gates;  // (N, gate_stride)
    const T* residual;   // as target
    const T* inner;     // as target
    float* partials;     // (N, blocks of pixels, outputs), by position if the target is compact
};

template <class T>
DEVICE Epilogue<T> epilogue_of(const Geometry& g, const EpilogueArguments<T>& all, int n, int block, int blocks,
                               int outputs) {
    const size_t start = static_cast<size_t>(n) * g.target_h * g.target_w * g.target_stride;
    const size_t row = static_cast<size_t>(n) * blocks + block;
    return {all.scale,
            all.bias,
            all.gates ? all.gates + static_cast<size_t>(n) * g.gate_stride + g.gate_first : nullptr,
            all.residual ? all.residual + start : nullptr,
            all.inner ? all.inner + start : nullptr,
            all.partials ? all.partials + row * outputs : nullptr,
            g.relu != 0};
}

// Where the sums of a block's tile lie in shared memory: (pixels, outputs + 8); the 8 spread the rows over the banks.
DEVICE float* sum_at(unsigned char* shared, int outputs, int pixel, int output) {
    return reinterpret_cast<float*>(shared) + pixel * (outputs + 8) + output;
}

// What of a tile is wanted, and where it goes.
struct Tile {
    int outputs;       // of the tile: 32, 64, 96 or 128
    int first_output;  // the number, or position, of the first
    int count, end;    // positions from `count` to `end` become 0, those after it are not written
    const u16* list;   // numbers of the positions; null: the positions
    bf16* target;      // of the sample
};

// Sends the sums of 128 pixels from shared memory through the epilogue. `pixel_of(m)` is the target pixel of row m, or
// -1. All threads of the block call it; neighbours write neighbouring outputs.
template <int threads, class PixelOf>
DEVICE void store_tile(const Geometry& g, const Tile& tile, const Epilogue<bf16>& epilogue, PixelOf pixel_of,
                       unsigned char* shared) {
    const int pairs = tile.outputs <= 32 ? 16 : tile.outputs <= 64 ? 32 : 64;
    const int groups = threads / pairs, group = threadIdx.x / pairs, of_tile = threadIdx.x % pairs * 2;
    const int output = tile.first_output + of_tile;
    const bool wanted = of_tile < tile.outputs && output < tile.end;
    OutputTerms terms[2] = {};
    for (int i = 0; i < 2; i++)
        if (wanted && output + i < tile.count) terms[i] = epilogue.terms(tile.list ? tile.list[output + i] : output + i);
    float gate_gradients[2] = {};
    block_sync();  // the sums are there
    for (int m = group; wanted && m < 128; m += groups) {
        const int pixel = pixel_of(m);
        if (pixel < 0) continue;
        const size_t at = static_cast<size_t>(pixel) * g.target_stride + output;
        const u32 residual = epilogue.residual ? load_pair(epilogue.residual + at) : 0;
        const u32 inner = epilogue.inner ? load_pair(epilogue.inner + at) : 0;
        const float* sum = sum_at(shared, tile.outputs, m, of_tile);
        const float low = epilogue.value(shared_load(sum), terms[0], bf16_low(residual), bf16_low(inner),
                                         gate_gradients[0]);
        const float high = epilogue.value(shared_load(sum + 1), terms[1], bf16_high(residual), bf16_high(inner),
                                          gate_gradients[1]);
        *reinterpret_cast<u32*>(tile.target + at) = pack_bf16(low, high);
    }
    if (!epilogue.partials) return;
    float* of_groups = reinterpret_cast<float*>(shared);  // (groups, 2 · pairs), over the sums, which all have read
    block_sync();
    for (int i = 0; i < 2; i++) shared_store(of_groups + threadIdx.x * 2 + i, gate_gradients[i]);
    block_sync();
    for (int i = threadIdx.x; i < tile.outputs; i += threads) {
        if (tile.first_output + i >= tile.count) continue;
        float total = 0.0f;
        for (int j = 0; j < groups; j++) total += shared_load(of_groups + j * pairs * 2 + i);
        epilogue.partials[tile.first_output + i] = total;
    }
}
