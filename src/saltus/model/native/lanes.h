/* Eight single-precision floats at a time, in the vector extensions of GCC and Clang: what the
 * functions of this folder have in common. Sums have one order on every machine. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8, ROWS = 16 };
typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef float half __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(32), aligned(4), may_alias));

INLINE lanes all(float x) { return (lanes){x, x, x, x, x, x, x, x}; }

#if defined(__clang__) || __GNUC__ >= 12
#define ORDERED(x, ...) __builtin_shufflevector(x, x, __VA_ARGS__)
#else
#define ORDERED(x, ...) __builtin_shuffle(x, (mask){__VA_ARGS__})
#endif

/* Eight floats, or the first `left` of them and zeros; four are so common that they go at once. */
INLINE lanes load(const float *from, long left) {
    if (left >= LANES) return *(const lanes *)from;
    if (left == LANES / 2) {
        half x = *(const half *)from;
        return (lanes){x[0], x[1], x[2], x[3]};
    }
    lanes x = all(0);
    memcpy(&x, from, sizeof(float) * left);
    return x;
}

INLINE void store(float *to, lanes x, long left) {
    if (left >= LANES)
        *(lanes *)to = x;
    else if (left == LANES / 2)
        *(half *)to = (half){x[0], x[1], x[2], x[3]};
    else
        memcpy(to, &x, sizeof(float) * left);
}

INLINE lanes chosen(mask where, lanes yes, lanes no) {
    return (lanes)((where & (mask)yes) | (~where & (mask)no));
}

INLINE lanes swapped(lanes x) { return ORDERED(x, 1, 0, 3, 2, 5, 4, 7, 6); }
INLINE lanes crossed(lanes x) { return ORDERED(x, 2, 3, 0, 1, 6, 7, 4, 5); }
INLINE lanes turned_over(lanes x) { return ORDERED(x, 4, 5, 6, 7, 0, 1, 2, 3); }

INLINE float total(lanes x) {
    x += turned_over(x);
    x += crossed(x);
    x += swapped(x);
    return x[0];
}

INLINE lanes larger(lanes x, lanes y) { return chosen(x > y, x, y); }

INLINE float largest(lanes x) {
    x = larger(x, turned_over(x));
    x = larger(x, crossed(x));
    return larger(x, swapped(x))[0];
}

/* e^x to two units in the last place (Cephes' polynomial), for x within -87 and 88 and as of the
 * nearer of these beyond them; not a number stays so. Adding 1.5·2^23 rounds to an integer, which
 * then stands in the last bits. */
INLINE lanes exponential(lanes x) {
    const float round = 12582912.0f;
    x = chosen(x < -87.0f, all(-87.0f), x);
    x = chosen(x > 88.0f, all(88.0f), x);
    lanes shifted = x * 1.44269504088896341f + round, whole = shifted - round;
    lanes rest = x - whole * 0.693359375f;
    rest += whole * 2.12194440e-4f;
    lanes sum = all(1.9875691500e-4f);
    sum = sum * rest + 1.3981999507e-3f;
    sum = sum * rest + 8.3334519073e-3f;
    sum = sum * rest + 4.1665795894e-2f;
    sum = sum * rest + 1.6666665459e-1f;
    sum = sum * rest + 5.0000001201e-1f;
    sum = sum * rest * rest + rest + 1.0f;
    mask power = ((mask)shifted - (mask)all(round) + 127) << 23;
    return sum * (lanes)power;
}

INLINE float dot(const float *a, const float *b, long n) {
    lanes sum = all(0);
    for (long i = 0; i < n; i += LANES) sum += load(a + i, n - i) * load(b + i, n - i);
    return total(sum);
}

/* Makes `scale` times the probabilities of a row of scores, of which those from `n` on count as
 * -infinity and become zero; `n` is at least 1. Returns the logarithm of the normaliser. The row is
 * `room` wide. */
INLINE float softmax(float *row, long n, long room, float scale) {
    const lanes none = all(-INFINITY);
    const mask place = {0, 1, 2, 3, 4, 5, 6, 7};
    lanes most = none, sum = all(0);
    for (long i = 0; i < n; i += LANES) {
        lanes x = chosen(place < (int32_t)(n - i), load(row + i, room - i), none);
        most = larger(x, most);
    }
    float highest = largest(most);
    for (long i = 0; i < n; i += LANES) {
        lanes weight = exponential(load(row + i, room - i) - highest);
        weight = chosen(place < (int32_t)(n - i), weight, all(0));
        sum += weight;
        store(row + i, weight, room - i);
    }
    float whole = total(sum), share = scale / whole;
    for (long i = 0; i < n; i += LANES) store(row + i, load(row + i, room - i) * share, room - i);
    return logf(whole) + highest;
}
