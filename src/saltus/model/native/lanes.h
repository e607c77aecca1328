/* Eight single-precision floats at a time, in the vector extensions of GCC and Clang: what the
 * functions of this folder have in common. Sums have one order on every machine. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { LANES = 8 };
typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));
typedef float half __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t mask __attribute__((vector_size(32), aligned(4), may_alias));

INLINE lanes all(float x) { return (lanes){x, x, x, x, x, x, x, x}; }

#if defined(__clang__) || __GNUC__ >= 12
#define CHOSEN(x, y, ...) __builtin_shufflevector(x, y, __VA_ARGS__)
#else
#define CHOSEN(x, y, ...) __builtin_shuffle(x, y, (mask){__VA_ARGS__})
#endif
#define ORDERED(x, ...) CHOSEN(x, x, __VA_ARGS__)

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

/* The transpose of eight times eight. */
INLINE void turn_square(lanes row[LANES]) {
    lanes pairs[LANES], fours[LANES];
#pragma GCC unroll 4
    for (int i = 0; i < LANES; i += 2) {
        pairs[i] = CHOSEN(row[i], row[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        pairs[i + 1] = CHOSEN(row[i], row[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 2
    for (int i = 0; i < LANES; i += 4)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            fours[i + 2 * j] = CHOSEN(pairs[i + j], pairs[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            fours[i + 2 * j + 1] =
                CHOSEN(pairs[i + j], pairs[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        row[i] = CHOSEN(fours[i], fours[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        row[i + 4] = CHOSEN(fours[i], fours[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* to (columns, rows) = the transpose of from (rows, columns), rows `stride` and `to_stride` apart. */
static void turn(const float *from, long stride, long rows, long columns, float *to,
                 long to_stride) {
    for (long i = 0; i < rows; i += LANES)
        for (long j = 0; j < columns; j += LANES) {
            lanes block[LANES];
#pragma GCC unroll 8
            for (long k = 0; k < LANES; k++)
                block[k] = i + k < rows ? load(from + (i + k) * stride + j, columns - j) : all(0);
            turn_square(block);
#pragma GCC unroll 8
            for (long k = 0; k < LANES; k++)
                if (j + k < columns) store(to + (j + k) * to_stride + i, block[k], rows - i);
        }
}

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

INLINE long padded(long n, long to) { return (n + to - 1) / to * to; }
INLINE long smaller_of(long a, long b) { return a < b ? a : b; }
INLINE long larger_of(long a, long b) { return a > b ? a : b; }
