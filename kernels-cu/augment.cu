// A batch of normalised images from a data set of bytes: crop, flip, normalise, cutout, in this order, as
// gaternet-core/src/data/augment/ does it; then, if wanted, a blend with another image of the batch, as in mixup.rs there.
//
// Memory contract: a thread alone writes one pixel of one image, all its channels and their padding; the first thread of
// an image writes its labels, that of the first image the fraction. It reads one place of the order and of its partners, and
// one pixel of the data set for each. No shared memory.
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

// What is blended with what. Mirrors four addresses of augment.rs; null pointers without blends.
struct Mix {
    const int* partners;      // (order): the image that is blended into the one at this place of the order
    const float* fractions;   // (order / batch): of the image itself
    int* partner_labels;      // (batch)
    float* fraction;          // (1): that of the batch
};

// Where a pixel of the batch comes from.
struct Origin {
    const unsigned char* first;  // its first channel; null: from the black border
    bool known, gone;
};

DEVICE Origin origin(
    const unsigned char* images, int image, int y, int x, const Clock& clock, const Options& o) {
    const Random4 draw = random(clock, purpose_image, 0, static_cast<u32>(image));
    const Random4 hole = random(clock, purpose_image, 1, static_cast<u32>(image));
    const bool flipped = o.flip && draw.words[2] >> 31;
    const int column = flipped ? o.width - 1 - x : x;
    const int from_y = source(y + uniform_below(draw.words[0], 2 * o.padding + 1) - o.padding, o.height, o.reflect);
    const int from_x = source(column + uniform_below(draw.words[1], 2 * o.padding + 1) - o.padding, o.width, o.reflect);
    Origin from;
    from.known = image >= 0 && image < o.images;
    from.gone = o.cutout > 0 && cut(y, uniform_below(hole.words[0], o.height), o.cutout) &&
                cut(x, uniform_below(hole.words[1], o.width), o.cutout);
    const size_t row = static_cast<size_t>(from.known ? image : 0) * o.channels * o.height + from_y;
    from.first = from_y < 0 || from_x < 0 ? nullptr : images + row * o.width + from_x;
    return from;
}

DEVICE float value(const Origin& from, int c, const Options& o) {
    if (from.gone) return 0.0f;
    if (!from.known) return 0.0f / 0.0f;
    const float byte = from.first ? from.first[static_cast<size_t>(c) * o.height * o.width] : 0.0f;
    return (byte / 255.0f - o.mean[c]) / o.std[c];
}

template <class T>
DEVICE void augment(
    const unsigned char* images,  // (images, channels, height, width)
    const int* labels,            // (images)
    const int* order,             // (order): step s takes places (s · batch ..) of it, from the start again beyond its end
    const Clock* clock,
    T* batch,           // (batch, height, width, stride)
    int* batch_labels,  // (batch)
    Mix mix, Options o) {
    const int pixels = o.height * o.width, pixel = blockIdx.x * threads + threadIdx.x, n = blockIdx.y;
    if (pixel >= pixels) return;
    const int of_epoch = static_cast<int>(clock->step % static_cast<u32>(o.order / o.batch));
    const int place = of_epoch * o.batch + n, y = pixel / o.width, x = pixel % o.width;
    const int image = order[place];
    const Origin own = origin(images, image, y, x, *clock, o);
    T* target = batch + (static_cast<size_t>(n) * pixels + pixel) * o.stride;
    float values[planes::width] = {};
    for (int c = 0; c < max_channels; c++) {
        if (c < o.channels) values[c] = value(own, c, o);
    }
    if (pixel == 0) batch_labels[n] = own.known ? labels[image] : -1;
    if (mix.partners) {
        const int partner = mix.partners[place];
        const float fraction = mix.fractions[of_epoch];
        const Origin other = origin(images, partner, y, x, *clock, o);
        for (int c = 0; c < max_channels; c++) {
            if (c < o.channels) values[c] = fraction * values[c] + (1.0f - fraction) * value(other, c, o);
        }
        if (pixel == 0) mix.partner_labels[n] = other.known ? labels[partner] : -1;
        if (pixel == 0 && n == 0) *mix.fraction = fraction;
    }
    planes::store(target, values);
    const float zeros[planes::width] = {};
    for (int c = planes::width; c < o.stride; c += planes::width) planes::store(target + c, zeros);
}

}  // namespace

// Grid (height · width / 256 rounded up, batch).
KERNEL(augment_batch, threads, 4)(
    const unsigned char* images, const int* labels, const int* order, const Clock* clock, bf16* batch, int* batch_labels,
    Mix mix, Options o) {
    augment(images, labels, order, clock, batch, batch_labels, mix, o);
}
KERNEL(augment_batch_f32, threads, 4)(
    const unsigned char* images, const int* labels, const int* order, const Clock* clock, float* batch, int* batch_labels,
    Mix mix, Options o) {
    augment(images, labels, order, clock, batch, batch_labels, mix, o);
}
