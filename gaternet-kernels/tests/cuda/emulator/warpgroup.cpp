// Matrix products of dev90.cuh: B in shared memory as the PTX ISA lays out its 128-byte swizzle.
#include <algorithm>
#include <cstring>

#include "device.h"
#include "engine.h"

namespace emulator {
namespace {

constexpr int depth = 16;

// Byte offset in shared memory of element (k, n).
size_t offset_of(const Product& product, int k, int n) {
    size_t start = (product.b & 0x3fff) << 4;
    size_t leading = (product.b >> 16 & 0x3fff) << 4, stride = (product.b >> 32 & 0x3fff) << 4;
    size_t at = product.transposed ? start + n / 64 * leading + k / 8 * stride + k % 8 * 128 + n % 64 * 2
                                   : start + n / 8 * stride + n % 8 * 128 + k * 2;
    return at ^ (at >> 7 & 7) << 4;  // the swizzle
}

// d (16, n) += a (16, 16) · b (16, n), for the product at this place in the queues of all lanes.
void multiply(Thread* warp, size_t place) {
    const Product& product = warp[0].products[place];
    float a[16][depth], b[depth][256];
    for (unsigned lane = 0; lane < 32; lane++) {
        const uint32_t* registers = warp[lane].products[place].a;
        unsigned row = lane / 4, pair = lane % 4 * 2;
        for (unsigned i = 0; i < 4; i++) {
            float* target = &a[row + i % 2 * 8][pair + i / 2 * 8];
            target[0] = bf16_low(registers[i]);
            target[1] = bf16_high(registers[i]);
        }
    }
    for (int k = 0; k < depth; k++) {
        for (int n = 0; n < product.n; n++) {
            uint16_t bits;
            memcpy(&bits, block->shared + offset_of(product, k, n), 2);
            b[k][n] = bf16_low(bits);
        }
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        float* d = warp[lane].products[place].d;
        for (int i = 0; i < product.n / 2; i++) {
            int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
            for (int k = 0; k < depth; k++) d[i] += a[row][k] * b[k][column];
        }
    }
}

}  // namespace

void fence_proxy() {
    for (Word* word : running().unfenced) word->unfenced = false;
    running().unfenced.clear();
}

void issue_product(Product product) {
    Thread& self = running();
    if (!self.registers_fenced)
        fault(error_launch_failed, product.where, "wgmma without wgmma_fence since the last commit");
    product.group = self.product_groups;
    self.products.push_back(product);
}

void wait_for_products(size_t groups_left, Where where) {
    Thread& self = running();
    // Each lane looks at its part of the 16-byte pieces that B is made of.
    for (const Product& product : self.products) {
        if (product.group + groups_left >= self.product_groups) break;
        int pieces = product.n * depth / 8;
        for (int piece = int(self.index % 32); piece < pieces; piece += 32) {
            int along = product.transposed ? product.n / 8 : depth / 8;
            int row = piece / along, chunk = piece % along * 8;
            size_t at = product.transposed ? offset_of(product, row, chunk) : offset_of(product, chunk, row);
            on_shared_read(block->shared + at, 16, product.where);
            if (block->words[at / 4].unfenced)
                fault(error_launch_failed, product.where, "wgmma reads what was written without a proxy_fence");
        }
    }
    self.in[0] = uint32_t(groups_left);
    warp_instruction(Instruction::WgmmaWait, where);
}

void perform_products(Thread* warp) {
    size_t landed = 0;
    for (const Product& product : warp[0].products) {
        if (product.group + warp[0].in[0] >= warp[0].product_groups) break;
        multiply(warp, landed++);
    }
    for (unsigned lane = 0; lane < 32; lane++) {
        auto& queue = warp[lane].products;
        queue.erase(queue.begin(), queue.begin() + long(std::min(landed, queue.size())));
    }
}

}  // namespace emulator
