/* Causal attention from queries, keys and values as they come out of one product, forward and
 * backward: norms, gains, rotations, scores, softmax and mixing of a head while it lies in the cache;
 * only what the triangle needs is computed, in blocks of sixteen.
 *
 * R replica, B sequence, T token, H head, K head width, D = H·K. Layouts: qkv (R, B, T, 3, H, K),
 * mixed (R, B, T, H, K), normaliser (R, B, H, T). */
#include "lanes.h"

/* out (rows, LANES·vectors) = Σ over `from` ≤ k < `to` of a(row, k) · b(k, ·), a small tile held
 * in registers; a(row, k) lies at a[row·across + k·along], row k of b at b[k·b_width]. */
INLINE void tile(const int rows, const int vectors, const float *a, long across, long along,
                 const float *b, long b_width, long from, long to, float *out, long out_width) {
    lanes sum[8][2] = {{{0}}};
    for (long k = from; k < to; k++) {
        lanes right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) right[v] = load(b + k * b_width + v * LANES, LANES);
#pragma GCC unroll 8
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[m][v] += a[m * across + k * along] * right[v];
    }
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) store(out + m * out_width + v * LANES, sum[m][v], LANES);
}

/* Sixteen rows of such a product, over all columns of b; `columns` is a multiple of LANES. */
static void band(const float *a, long across, long along, const float *b, long b_width, long from,
                 long to, float *out, long out_width, long columns) {
    long c = 0;
    for (; c + 2 * LANES <= columns; c += 2 * LANES)
        for (int m = 0; m < ROWS; m += 4)
            tile(4, 2, a + m * across, across, along, b + c, b_width, from, to,
                 out + m * out_width + c, out_width);
    if (c < columns)
        for (int m = 0; m < ROWS; m += 8)
            tile(8, 1, a + m * across, across, along, b + c, b_width, from, to,
                 out + m * out_width + c, out_width);
}

/* What a head needs of its sequence. Everywhere below, `columns` is K padded with zeros to a
 * multiple of LANES, and `rows` T padded to one of ROWS; tables and gains come padded. */
typedef struct {
    long replicas, batch, length, heads, width, rows, columns;
    const float *cosine, *sine; /* (T, columns): each angle twice; the sine of a pair's first is
                                   negative */
    const float *gains;         /* (2, R, columns), that of queries times 1 / √K */
    float epsilon;
} Shape;

/* One head of one sequence. */
typedef struct {
    float *query_unit, *key_unit;            /* (rows, columns): of rms one */
    float *query, *key, *value;              /* (rows, columns): with gain, turned */
    float *keys;                             /* (columns, rows) */
    float *weights;                          /* (rows, rows): zero above the diagonal */
    float *query_inverse, *key_inverse;      /* (rows) */
} Head;

INLINE float *taken(float **room, long count) {
    float *start = *room;
    *room += count;
    memset(start, 0, sizeof(float) * count);
    return start;
}

INLINE Head new_head(const Shape *shape, float **room) {
    long plane = shape->rows * shape->columns;
    Head head;
    head.query_unit = taken(room, plane), head.key_unit = taken(room, plane);
    head.query = taken(room, plane), head.key = taken(room, plane);
    head.value = taken(room, plane), head.keys = taken(room, plane);
    head.weights = taken(room, shape->rows * shape->rows);
    head.query_inverse = taken(room, shape->rows), head.key_inverse = taken(room, shape->rows);
    return head;
}

/* Copy a head's rows, `stride` apart, into a plane (T, columns), or back. A loop of its own: what
 * was just written in pieces is slow to read as a whole. The padding is zeroed anew, since what is
 * not a number in one replica would stay there for the next. */
INLINE void gather(const Shape *shape, const float *from, long stride, float *to) {
    for (long t = 0; t < shape->length; t++, from += stride, to += shape->columns) {
        memcpy(to, from, sizeof(float) * shape->width);
        for (long k = shape->width; k < shape->columns; k++) to[k] = 0;
    }
}

INLINE void scatter(const Shape *shape, const float *from, float *to, long stride) {
    for (long t = 0; t < shape->length; t++)
        memcpy(to + t * stride, from + t * shape->columns, sizeof(float) * shape->width);
}

/* One row x, which becomes x / rms(x); `out` is that times the gain, turned. Rotary pairs are
 * neighbours. Returns 1 / rms. */
INLINE float turned(const Shape *shape, const float *gain, long t, float *unit, float *out) {
    float mean = dot(unit, unit, shape->columns) / shape->width;
    float inverse = 1 / sqrtf(mean + shape->epsilon);
    for (long i = 0; i < shape->columns; i += LANES) {
        lanes row = load(unit + i, LANES) * inverse, pairs = row * load(gain + i, LANES);
        lanes cosine = load(shape->cosine + t * shape->columns + i, LANES);
        lanes sine = load(shape->sine + t * shape->columns + i, LANES);
        store(unit + i, row, LANES);
        store(out + i, pairs * cosine + swapped(pairs) * sine, LANES);
    }
    return inverse;
}

/* The way back: the gradient of `turned` becomes that of x; what this row adds to the gradient of
 * the gain is added. */
INLINE void turned_back(const Shape *shape, float *given, const float *unit, float inverse,
                        const float *gain, long t, float *of_gain) {
    lanes sum = all(0);
    for (long i = 0; i < shape->columns; i += LANES) {
        lanes cosine = load(shape->cosine + t * shape->columns + i, LANES);
        lanes sine = load(shape->sine + t * shape->columns + i, LANES);
        lanes row = load(given + i, LANES), along = row * cosine - swapped(row) * sine;
        lanes of_this = along * load(unit + i, LANES);
        store(of_gain + i, load(of_gain + i, LANES) + of_this, LANES);
        sum += of_this * load(gain + i, LANES);
        store(given + i, along * load(gain + i, LANES), LANES);
    }
    float mean = total(sum) / shape->width;
    for (long i = 0; i < shape->columns; i += LANES)
        store(given + i, (load(given + i, LANES) - load(unit + i, LANES) * mean) * inverse, LANES);
}

/* to (columns, rows) = the transpose of from (T, columns). */
INLINE void transpose(const Shape *shape, const float *from, float *to) {
    for (long k = 0; k < shape->width; k++)
        for (long t = 0; t < shape->length; t++)
            to[k * shape->rows + t] = from[t * shape->columns + k];
}

/* Fill a head from its first row in qkv, whose rows are 3·D apart. */
INLINE void fill(const Shape *shape, Head *head, const float *qkv, long replica) {
    long stream = shape->heads * shape->width, columns = shape->columns;
    const float *query_gain = shape->gains + replica * columns;
    const float *key_gain = query_gain + shape->replicas * columns;
    gather(shape, qkv, 3 * stream, head->query_unit);
    gather(shape, qkv + stream, 3 * stream, head->key_unit);
    gather(shape, qkv + 2 * stream, 3 * stream, head->value);
    for (long t = 0, at = 0; t < shape->length; t++, at += columns) {
        head->query_inverse[t] =
            turned(shape, query_gain, t, head->query_unit + at, head->query + at);
        head->key_inverse[t] = turned(shape, key_gain, t, head->key_unit + at, head->key + at);
    }
    transpose(shape, head->key, head->keys);
}

/* Products of sixteen rows (·, columns) with every row up to the last of them, which stand
 * transposed in `others` (columns, rows). */
INLINE void scores(const Shape *shape, const float *rows, const float *others, float *out,
                   long m) {
    band(rows + m * shape->columns, shape->columns, 1, others, shape->rows, 0, shape->width,
         out + m * shape->rows, shape->rows, m + ROWS);
}

INLINE long padded(long n, long to) { return (n + to - 1) / to * to; }

INLINE Shape new_shape(const float *gains, const float *cosine, const float *sine, long replicas,
                       long batch, long length, long heads, long width, float epsilon) {
    long rows = padded(length, ROWS), columns = padded(width, LANES);
    return (Shape){replicas, batch, length, heads, width,  rows,
                   columns,  cosine, sine,   gains, epsilon};
}

/* How many floats of room both functions below need at most. */
long attention_room(long length, long width) {
    long rows = padded(length, ROWS), columns = padded(width, LANES);
    return 11 * rows * columns + 2 * rows * rows + 2 * rows;
}

void attention_forward(const float *qkv, const float *gains, const float *cosine,
                       const float *sine, float *mixed, float *normaliser, float *room,
                       long replicas, long batch, long length, long heads, long width,
                       float epsilon) {
    Shape shape =
        new_shape(gains, cosine, sine, replicas, batch, length, heads, width, epsilon);
    long stream = heads * width, rows = shape.rows, columns = shape.columns;
    Head head = new_head(&shape, &room);
    float *out = taken(&room, rows * columns);
    for (long sequence = 0; sequence < replicas * batch; sequence++)
        for (long h = 0; h < heads; h++) {
            long first = sequence * length;
            fill(&shape, &head, qkv + first * 3 * stream + h * width, sequence / batch);
            for (long m = 0; m < rows; m += ROWS) {
                scores(&shape, head.query, head.keys, head.weights, m);
                for (long i = m; i < m + ROWS; i++) {
                    float *row = head.weights + i * rows;
                    float log = softmax(row, i + 1, rows, 1);
                    for (long j = padded(i + 1, LANES); j < m + ROWS; j++) row[j] = 0;
                    if (i < length) normaliser[(sequence * heads + h) * length + i] = log;
                }
                band(head.weights + m * rows, rows, 1, head.value, columns, 0, m + ROWS,
                     out + m * columns, columns, columns);
            }
            scatter(&shape, out, mixed + first * stream + h * width, stream);
        }
}

/* Weights again from scores, and the gradient of the scores in the place of that of the weights:
 * dS = P ∘ (dP - Σ P ∘ dP), one row of which the first `n` count. */
INLINE void softmax_back(float *weights, float *slopes, float log, long n) {
    const mask place = {0, 1, 2, 3, 4, 5, 6, 7};
    lanes sum = all(0);
    for (long i = 0; i < n; i += LANES) {
        lanes weight = exponential(load(weights + i, LANES) - log);
        weight = chosen(place < (int32_t)(n - i), weight, all(0));
        store(weights + i, weight, LANES);
        sum += weight * load(slopes + i, LANES);
    }
    float mean = total(sum);
    for (long i = 0; i < n; i += LANES)
        store(slopes + i, load(weights + i, LANES) * (load(slopes + i, LANES) - mean), LANES);
}

void attention_backward(const float *qkv, const float *gains, const float *cosine,
                        const float *sine, const float *normaliser, const float *of_mixed,
                        float *of_qkv, float *of_gains, float *room, long replicas, long batch,
                        long length, long heads, long width, float epsilon) {
    Shape shape =
        new_shape(gains, cosine, sine, replicas, batch, length, heads, width, epsilon);
    long stream = heads * width, rows = shape.rows, columns = shape.columns;
    Head head = new_head(&shape, &room);
    float *given = taken(&room, rows * columns), *values = taken(&room, rows * columns);
    float *of_query = taken(&room, rows * columns), *of_key = taken(&room, rows * columns);
    float *of_value = taken(&room, rows * columns), *slopes = taken(&room, rows * rows);
    memset(of_gains, 0, sizeof(float) * 2 * replicas * columns);
    for (long sequence = 0; sequence < replicas * batch; sequence++)
        for (long h = 0; h < heads; h++) {
            long first = sequence * length, query = sequence / batch * columns;
            long key = query + replicas * columns;
            const float *logs = normaliser + (sequence * heads + h) * length;
            fill(&shape, &head, qkv + first * 3 * stream + h * width, sequence / batch);
            transpose(&shape, head.value, values);
            gather(&shape, of_mixed + first * stream + h * width, stream, given);
            for (long m = 0; m < rows; m += ROWS) {
                scores(&shape, head.query, head.keys, head.weights, m);
                scores(&shape, given, values, slopes, m);
                for (long i = m; i < m + ROWS; i++) {
                    float *weight = head.weights + i * rows, *slope = slopes + i * rows;
                    if (i < length) softmax_back(weight, slope, logs[i], i + 1);
                    for (long j = i < length ? padded(i + 1, LANES) : 0; j < m + ROWS; j++)
                        weight[j] = slope[j] = 0;
                }
                band(slopes + m * rows, rows, 1, head.key, columns, 0, m + ROWS,
                     of_query + m * columns, columns, columns);
            }
            for (long m = 0; m < rows; m += ROWS) {
                band(slopes + m, 1, rows, head.query, columns, m, rows, of_key + m * columns,
                     columns, columns);
                band(head.weights + m, 1, rows, given, columns, m, rows, of_value + m * columns,
                     columns, columns);
            }
            for (long t = 0, at = 0; t < length; t++, at += columns) {
                turned_back(&shape, of_query + at, head.query_unit + at, head.query_inverse[t],
                            gains + query, t, of_gains + query);
                turned_back(&shape, of_key + at, head.key_unit + at, head.key_inverse[t],
                            gains + key, t, of_gains + key);
            }
            float *to = of_qkv + first * 3 * stream + h * width;
            scatter(&shape, of_query, to, 3 * stream);
            scatter(&shape, of_key, to + stream, 3 * stream);
            scatter(&shape, of_value, to + 2 * stream, 3 * stream);
        }
}
