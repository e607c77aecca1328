/* Matrix products with the right factor packed in panels of its columns, so that a tile of the
 * product stays in registers while what it is made of streams from the cache (Goto & van de Geijn
 * 2008). Every sum has the same order on every machine. */
#pragma once
#include "lanes.h"

#ifdef __AVX512F__
#define WIDE 16
#define TALL 12
#else
#define WIDE 8
#define TALL 6
#endif
#define PANEL (2 * WIDE)
enum {
    DEEP = 512, /* of a panel so many rows lie in a core's first cache */
    PIECE = 64, /* so many rows of a replica are taken through a layer at a time */
};
typedef float wide __attribute__((vector_size(4 * WIDE), aligned(4), may_alias));

/* How many floats a packed matrix takes. */
INLINE long packed_size(long rows, long columns) { return rows * padded(columns, PANEL); }

/* Pack a matrix (rows, columns): panel after panel, each (rows, PANEL), the last with zeros. */
static void pack(const float *from, long rows, long columns, float *to) {
    for (long c = 0; c < columns; c += PANEL)
        for (long k = 0; k < rows; k++, to += PANEL)
            if (columns - c >= PANEL)
                memcpy(to, from + k * columns + c, sizeof(float) * PANEL);
            else
                for (long i = 0; i < PANEL; i++)
                    to[i] = i < columns - c ? from[k * columns + c + i] : 0;
}

/* Pack the transpose of a matrix (rows, columns). */
static void pack_turned(const float *from, long rows, long columns, float *to) {
    for (long c = 0; c < rows; c += PANEL, to += columns * PANEL) {
        long panel = smaller_of(PANEL, rows - c);
        if (panel < PANEL) memset(to, 0, sizeof(float) * columns * PANEL);
        turn(from + c * columns, columns, panel, columns, to, PANEL);
    }
}

/* out (rows, columns ≤ WIDE · vectors) = base + left (rows, depth) · panel (depth, PANEL). */
INLINE void tile(const int rows, const int vectors, const float *left, long stride,
                 const float *panel, long depth, const float *base, float *out, long out_stride,
                 long columns) {
    wide sum[TALL][2] = {{{0}}};
    if (base)
        for (int m = 0; m < rows; m++)
            for (int v = 0; v < PANEL; v += 16) __builtin_prefetch(base + m * out_stride + v, 0);
    for (long k = 0; k < depth; k++) {
        wide right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            right[v] = *(const wide *)(panel + k * PANEL + v * WIDE);
#pragma GCC unroll 12
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[m][v] += left[m * stride + k] * right[v];
    }
#pragma GCC unroll 12
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            long at = m * out_stride + v * WIDE, whole = columns - v * WIDE;
            wide old = {0};
            if (whole >= WIDE) {
                if (base) old = *(const wide *)(base + at);
                *(wide *)(out + at) = old + sum[m][v];
            } else {
                if (base) memcpy(&old, base + at, sizeof(float) * whole);
                old += sum[m][v];
                memcpy(out + at, &old, sizeof(float) * whole);
            }
        }
}

/* Such a tile of one to TALL rows. */
static void tile_of(long rows, const float *left, long stride, const float *panel, long depth,
                    const float *base, float *out, long out_stride, long columns) {
#define TILE(n)                                                                                    \
    case n:                                                                                        \
        if (columns > WIDE)                                                                        \
            tile(n, 2, left, stride, panel, depth, base, out, out_stride, columns);                \
        else                                                                                       \
            tile(n, 1, left, stride, panel, depth, base, out, out_stride, columns);                \
        break;
    switch (rows) {
        TILE(1) TILE(2) TILE(3) TILE(4) TILE(5) TILE(6)
#if TALL > 6
        TILE(7) TILE(8) TILE(9) TILE(10) TILE(11) TILE(12)
#endif
    }
#undef TILE
}

/* out (rows, columns) = base + left (rows, depth) · the packed matrix (depth, columns); `base`,
 * which may be `out` or nothing, has the layout of `out`. */
static void product(const float *left, long rows, long depth, const float *packed, long columns,
                    const float *base, float *out) {
    for (long k = 0; k < depth; k += DEEP, base = out)
        for (long c = 0; c < columns; c += PANEL) {
            const float *panel = packed + c * depth + k * PANEL;
            for (long m = 0, few; m < rows; m += few) {
                few = smaller_of(TALL, rows - m);
                /* Two tiles of half the height beat a whole one and a low one. */
                if (rows - m > TALL && rows - m < TALL + TALL / 2) few = (rows - m + 1) / 2;
                long at = m * columns + c;
                tile_of(few, left + m * depth + k, depth, panel, smaller_of(DEEP, depth - k),
                        base ? base + at : base, out + at, columns, columns - c);
            }
        }
}

/* sum (depth, columns) += the transpose of left (rows, depth) · right (rows, columns); `room` for
 * both in their new order. */
static void add_product(const float *left, const float *right, long rows, long depth, long columns,
                        float *sum, float *room) {
    turn(left, depth, rows, depth, room, rows);
    pack(right, rows, columns, room + depth * rows);
    product(room, depth, rows, room + depth * rows, columns, sum, sum);
}

INLINE long add_product_room(long rows, long depth, long columns) {
    return depth * rows + packed_size(rows, columns);
}
