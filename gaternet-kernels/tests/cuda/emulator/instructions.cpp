// The warp instructions, as the PTX ISA's figures lay out their fragments.
#include <cstring>

#include "device.h"
#include "engine.h"

namespace emulator {
namespace {

// x4: four 8x8 matrices of 16-bit values. Lanes 8m to 8m + 7 hold the addresses of the rows of matrix m; lane l
// gets of each the values at (row l / 4, columns 2 (l % 4) and the next), or transposed.
void ldmatrix(Thread* warp, bool transposed) {
    for (unsigned m = 0; m < 4; m++) {
        for (unsigned lane = 0; lane < 32; lane++) {
            unsigned row = lane / 4, pair = lane % 4 * 2;
            uint16_t values[2];
            for (unsigned i = 0; i < 2; i++) {
                unsigned r = transposed ? pair + i : row, c = transposed ? row : pair + i;
                memcpy(&values[i], static_cast<const char*>(warp[m * 8 + r].address) + 2 * c, 2);
            }
            warp[lane].out[m] = values[0] | uint32_t{values[1]} << 16;
        }
    }
}

// d (16, 8) = a (16, 16) · b (16, 8) + d, bf16 products summed in f32.
void mma(Thread* warp) {
    alignas(64) float a[16][16], b[16][8], d[16][8];
    for (unsigned lane = 0; lane < 32; lane++) {
        unsigned row = lane / 4, pair = lane % 4 * 2;
        const uint32_t* in = warp[lane].in;
        for (unsigned i = 0; i < 4; i++) {
            float* target = &a[row + i % 2 * 8][pair + i / 2 * 8];
            target[0] = bf16_low(in[i]);
            target[1] = bf16_high(in[i]);
        }
        for (unsigned i = 0; i < 2; i++) {
            b[pair + i * 8][row] = bf16_low(in[4 + i]);
            b[pair + i * 8 + 1][row] = bf16_high(in[4 + i]);
        }
        memcpy(&d[row][pair], in + 6, 8);
        memcpy(&d[row + 8][pair], in + 8, 8);
    }
    for (unsigned m = 0; m < 16; m++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned n = 0; n < 8; n++) d[m][n] += a[m][k] * b[k][n];
    for (unsigned lane = 0; lane < 32; lane++) {
        unsigned row = lane / 4, pair = lane % 4 * 2;
        memcpy(warp[lane].out, &d[row][pair], 8);
        memcpy(warp[lane].out + 2, &d[row + 8][pair], 8);
    }
}

}  // namespace

void perform(Thread* warp) {
    switch (warp[0].instruction) {
        case Instruction::Ballot: {
            uint32_t votes = 0;
            for (unsigned i = 0; i < 32; i++) votes |= (warp[i].in[0] & 1) << i;
            for (unsigned i = 0; i < 32; i++) warp[i].out[0] = votes;
            break;
        }
        case Instruction::ShuffleXor:
            for (unsigned i = 0; i < 32; i++) warp[i].out[0] = warp[i ^ (warp[i].in[1] & 31)].in[0];
            break;
        case Instruction::LdmatrixX4: ldmatrix(warp, false); break;
        case Instruction::LdmatrixX4Trans: ldmatrix(warp, true); break;
        case Instruction::MmaM16N8K16: mma(warp); break;
        case Instruction::WgmmaWait: perform_products(warp); break;
    }
}

}  // namespace emulator
