// What becomes of the sums of a convolution, by the number of the output they belong to.
//
//   forward   relu(gate · (sum · scale + bias) + residual)
//   gradient  where the input was a = gate · relu(h) and `hidden` is relu(h): t = sum + residual is the gradient of a,
//             Σ_pixels t · hidden that of the gate, and gate · t (where hidden > 0, if relu) that of h
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
    const T* hidden;     // this sample's, as the target; null: forward
    float* partials;     // (outputs) of this sample and block of pixels; null: no gate gradient
    bool relu;

    DEVICE OutputTerms terms(int number) const {
        return {scale ? scale[number] : 1.0f, bias ? bias[number] : 0.0f, gates ? gates[number] : 1.0f};
    }

    // The value to store. Adds to `gate_gradient`.
    DEVICE float value(float sum, const OutputTerms& o, float residual, float hidden, float& gate_gradient) const {
        if (!this->hidden) {
            const float value = (o.gate == 0.0f ? 0.0f : o.gate * (sum * o.scale + o.bias)) + residual;
            return relu && value < 0.0f ? 0.0f : value;  // NaN stays
        }
        const float t = sum + residual;
        gate_gradient += t * hidden;
        return o.gate == 0.0f || (relu && !(hidden > 0.0f)) ? 0.0f : o.gate * t;
    }
};

// The pointers of an Epilogue as a kernel gets them, for all samples.
template <class T> struct EpilogueArguments {
    const float* scale;  // (outputs)
    const float* bias;   // (outputs)
    const float* gates;  // (N, gate_stride)
    const T* residual;   // as target
    const T* hidden;     // as target
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
            all.hidden ? all.hidden + start : nullptr,
            all.partials ? all.partials + row * outputs : nullptr,
            g.relu != 0};
}
