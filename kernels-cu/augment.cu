// A batch of normalised images from a data set of bytes: crop, flip, normalise, cutout, in this order, as
// gaternet-core/src/data/augment.rs does it.
//
// Memory contract: a thread alone writes one pixel of one image, all its channels and their padding; the first thread of
// an image writes its label. It reads one place of the order and one pixel of the data set. No shared memory.
#include "plane.cuh"
#include "random.cuh"

namespace {

constexpr int threads = 256, max_channels = 4;

// Mirrors `Options` of gaternet-kernels/src/cuda/augment.rs.
struct Options {
    int batch, order, images;  // images of a batch, places of the order (a multiple), images of the data set
    int channels, height, width, stride;
    int padding, reflect, flip, cutout;
    float mean[max_channels], std[max_channels];  // on a scale of 0 to 1
};

// Where a position of a padded row or column comes from; -1: from the black border.
DEVICE int source(int position, int size, bool reflect) {
    if (reflect) {
        if (position < 0) position = -position;
        if (position >= size) position = 2 * (size - 1) - position;
    }
    return position >= 0 && position < size ? position : -1;
}

DEVICE bool cut(int position, int centre, int side) {
    return position >= centre - side / 2 && position < centre + (side + 1) / 2;
}

template <class T>
DEVICE void augment(
    const unsigned char* images,  // (images, channels, height, width)
    const int* labels,            // (images)
    const int* order,             // (order): step s takes places (s · batch ..) of it, from the start again beyond its end
    const Clock* clock,
    T* batch,           // (batch, height, width, stride)
    int* batch_labels,  // (batch)
    Options o) {
    const int pixels = o.height * o.width, pixel = blockIdx.x * threads + threadIdx.x, n = blockIdx.y;
    if (pixel >= pixels) return;
    const u32 batches = static_cast<u32>(o.order / o.batch);
    const int image = order[static_cast<int>(clock->step % batches) * o.batch + n];
    const bool known = image >= 0 && image < o.images;
    if (pixel == 0) batch_labels[n] = known ? labels[image] : -1;

    const Random4 draw = random(*clock, purpose_image, 0, static_cast<u32>(image));
    const Random4 hole = random(*clock, purpose_image, 1, static_cast<u32>(image));
    const int y = pixel / o.width, x = pixel % o.width;
    const bool flipped = o.flip && draw.words[2] >> 31;
    const int column = flipped ? o.width - 1 - x : x;
    const int from_y = source(y + uniform_below(draw.words[0], 2 * o.padding + 1) - o.padding, o.height, o.reflect);
    const int from_x = source(column + uniform_below(draw.words[1], 2 * o.padding + 1) - o.padding, o.width, o.reflect);
    const bool black = from_y < 0 || from_x < 0;
    const bool gone = o.cutout > 0 && cut(y, uniform_below(hole.words[0], o.height), o.cutout) &&
                      cut(x, uniform_below(hole.words[1], o.width), o.cutout);
    T* target = batch + (static_cast<size_t>(n) * pixels + pixel) * o.stride;
    for (int first = 0; first < o.stride; first += planes::width) {
        float values[planes::width] = {};
        for (int i = 0; i < planes::width; i++) {
            const int c = first + i;
            if (c >= o.channels || gone) continue;
            const size_t plane = static_cast<size_t>(known ? image : 0) * o.channels + c;
            const float byte = black ? 0.0f : images[plane * pixels + from_y * o.width + from_x];
            values[i] = known ? (byte / 255.0f - o.mean[c]) / o.std[c] : 0.0f / 0.0f;
        }
        planes::store(target + first, values);
    }
}

}  // namespace

// Grid (height · width / 256 rounded up, batch).
KERNEL(augment_batch, threads, 4)(
    const unsigned char* images, const int* labels, const int* order, const Clock* clock, bf16* batch, int* batch_labels,
    Options o) {
    augment(images, labels, order, clock, batch, batch_labels, o);
}
KERNEL(augment_batch_f32, threads, 4)(
    const unsigned char* images, const int* labels, const int* order, const Clock* clock, float* batch, int* batch_labels,
    Options o) {
    augment(images, labels, order, clock, batch, batch_labels, o);
}
