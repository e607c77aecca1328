/* Norms of single rows, forward and backward; the normed row is made again where it is needed. */
#pragma once
#include "lanes.h"

INLINE float inverse_rms(const float *x, long width, float epsilon) {
    return 1 / sqrtf(dot(x, x, width) / width + epsilon);
}

/* given = x · `inverse` · gain. */
INLINE void norm(const float *x, float inverse, const float *gain, long width, float *given) {
    for (long i = 0; i < width; i += LANES)
        store(given + i, load(x + i, width - i) * inverse * load(gain + i, width - i), width - i);
}

/* The way back: the gradient of x, which went on in the stream as well, from that of `given`; what
 * this row adds to the gradient of the gain is added. */
INLINE void norm_back(const float *of_given, const float *x, float inverse, const float *gain,
                      long width, const float *of_stream, float *of_x, float *of_gain) {
    lanes sum = all(0);
    for (long i = 0; i < width; i += LANES) {
        lanes of_this = load(of_given + i, width - i) * load(x + i, width - i) * inverse;
        store(of_gain + i, load(of_gain + i, width - i) + of_this, width - i);
        sum += of_this * load(gain + i, width - i);
    }
    float along = total(sum) / width * inverse;
    for (long i = 0; i < width; i += LANES) {
        lanes across = load(of_given + i, width - i) * load(gain + i, width - i);
        across -= load(x + i, width - i) * along;
        lanes stream = of_stream ? load(of_stream + i, width - i) : all(0);
        store(of_x + i, stream + across * inverse, width - i);
    }
}
