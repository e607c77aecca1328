/* x + causal attention of the normed x, forward and backward, a few sequences at a time. Norms,
 * gains, rotations, scores, softmax and mixing of a head are done while it lies in the cache; of the
 * square of scores only what the triangle needs is computed, in strips of sixteen queries.
 *
 * R replica, B sequence, T token, H head, K head width, D = H·K. Layouts: x (R, B, T, D),
 * qkv (R, B, T, 3, H, K), mixed (R, B, T, H, K), normaliser (R, B, H, T). Parameters of one replica
 * are contiguous; `*_stride` is from one replica to the next. */
#include "norms.h"
#include "products.h"
#include "room.h"

enum { ROWS = 16 }; /* queries of a strip, a multiple of LANES */

/* sum (rows, LANES·vectors) += Σ over k < `depth` of a(row, k) · b(k, ·), held in registers;
 * a(row, k) lies at a[row·across + k·along], row k of b at b[k·b_width]. */
INLINE void add_block(const int rows, const int vectors, lanes sum[8][2], const float *a,
                      long across, long along, const float *b, long b_width, long depth) {
    for (long k = 0; k < depth; k++) {
        lanes right[2];
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) right[v] = load(b + k * b_width + v * LANES, LANES);
#pragma GCC unroll 8
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) sum[m][v] += a[m * across + k * along] * right[v];
    }
}

INLINE void store_block(const int rows, const int vectors, lanes sum[8][2], float *out,
                        long out_width) {
#pragma GCC unroll 8
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) store(out + m * out_width + v * LANES, sum[m][v], LANES);
}

/* What all heads have in common. Everywhere below, `columns` is K padded with zeros to a multiple
 * of LANES, and `rows` T padded to one of ROWS; tables come padded. */
typedef struct {
    long length, heads, width, rows, columns;
    const float *cosine, *sine; /* (T, columns): each angle twice; the sine of a pair's first is
                                   negative */
    float epsilon;
} Shape;

INLINE Shape new_shape(const float *cosine, const float *sine, long length, long heads, long width,
                       float epsilon) {
    return (Shape){length, heads,  width, padded(length, ROWS), padded(width, LANES),
                   cosine, sine, epsilon};
}

/* One head of one sequence, and its gradients. Queries and keys of rms one are `*_unit`, the others
 * have their gain and are turned. */
typedef struct {
    float *query_unit, *key_unit, *query, *key, *value; /* (rows, columns) */
    float *queries, *of_outs;                           /* (columns, rows) */
    float *weights, *slopes;                            /* strips, see `strip_of` */
    float *query_inverse, *key_inverse, *log;           /* (rows) */
    float *out, *of_out, *of_query, *of_key, *of_value; /* (rows, columns) */
    float *query_gain, *key_gain, *of_query_gain, *of_key_gain; /* (columns) */
} Head;

INLINE Head head_of(Room *room, const Shape *shape) {
    long plane = shape->rows * shape->columns, square = shape->rows * shape->rows;
    long begun = room->used;
    Head head;
    float **planes[] = {&head.query_unit, &head.key_unit, &head.query,    &head.key,
                        &head.value,      &head.queries,  &head.of_outs,  &head.out,
                        &head.of_out,     &head.of_query, &head.of_key,   &head.of_value};
    for (unsigned i = 0; i < sizeof planes / sizeof *planes; i++) *planes[i] = taken(room, plane);
    head.weights = taken(room, square), head.slopes = taken(room, square);
    head.query_inverse = taken(room, shape->rows), head.key_inverse = taken(room, shape->rows);
    head.log = taken(room, shape->rows);
    head.query_gain = taken(room, shape->columns), head.key_gain = taken(room, shape->columns);
    head.of_query_gain = taken(room, shape->columns);
    head.of_key_gain = taken(room, shape->columns);
    if (room->start) memset(room->start + begun, 0, sizeof(float) * (room->used - begun));
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

/* Fill a head from its first row in qkv, whose rows are 3·D apart. */
INLINE void fill(const Shape *shape, Head *head, const float *qkv) {
    long stream = shape->heads * shape->width, columns = shape->columns;
    gather(shape, qkv, 3 * stream, head->query_unit);
    gather(shape, qkv + stream, 3 * stream, head->key_unit);
    gather(shape, qkv + 2 * stream, 3 * stream, head->value);
    for (long t = 0, at = 0; t < shape->length; t++, at += columns) {
        head->query_inverse[t] =
            turned(shape, head->query_gain, t, head->query_unit + at, head->query + at);
        head->key_inverse[t] =
            turned(shape, head->key_gain, t, head->key_unit + at, head->key + at);
    }
    turn(head->query, columns, shape->length, columns, head->queries, shape->rows);
}

/* Scores and their gradients stand in strips of sixteen queries: strip (key, query), of the keys up
 * to the last of them. So what is done to a query is done to eight at once, and never across
 * lanes. */
INLINE float *strip_of(const Shape *shape, float *strips, long m) {
    return strips + m * shape->rows;
}

/* Strip m of left (keys, columns) · right (columns, queries). */
static void strip_product(const Shape *shape, const float *left, const float *right, float *strips,
                          long m) {
    float *strip = strip_of(shape, strips, m);
    for (long j = 0; j < m + ROWS; j += 4) {
        lanes sum[8][2] = {{{0}}};
        add_block(4, 2, sum, left + j * shape->columns, shape->columns, 1, right + m, shape->rows,
                  shape->width);
        store_block(4, 2, sum, strip + j * ROWS, ROWS);
    }
}

/* Rows of queries m: the transposed strip (queries, keys) · right (keys, columns). */
static void rows_of_queries(const Shape *shape, float *strips, const float *right, float *out,
                            long m) {
    const float *strip = strip_of(shape, strips, m);
    long columns = shape->columns, c = 0;
    for (; c + 2 * LANES <= columns; c += 2 * LANES)
        for (long i = 0; i < ROWS; i += 4) {
            lanes sum[8][2] = {{{0}}};
            add_block(4, 2, sum, strip + i, 1, ROWS, right + c, columns, m + ROWS);
            store_block(4, 2, sum, out + (m + i) * columns + c, columns);
        }
    for (long i = 0; c < columns && i < ROWS; i += 8) {
        lanes sum[8][2] = {{{0}}};
        add_block(8, 1, sum, strip + i, 1, ROWS, right + c, columns, m + ROWS);
        store_block(8, 1, sum, out + (m + i) * columns + c, columns);
    }
}

/* Rows of keys n: the strips (keys, queries) · right (queries, columns), of queries from n on. */
static void rows_of_keys(const Shape *shape, float *strips, const float *right, float *out,
                         long n) {
    long columns = shape->columns, c = 0;
    for (; c + 2 * LANES <= columns; c += 2 * LANES)
        for (long i = n; i < n + ROWS; i += 4) {
            lanes sum[8][2] = {{{0}}};
            for (long m = n; m < shape->rows; m += ROWS)
                add_block(4, 2, sum, strip_of(shape, strips, m) + i * ROWS, ROWS, 1,
                          right + m * columns + c, columns, ROWS);
            store_block(4, 2, sum, out + i * columns + c, columns);
        }
    for (long i = n; c < columns && i < n + ROWS; i += 8) {
        lanes sum[8][2] = {{{0}}};
        for (long m = n; m < shape->rows; m += ROWS)
            add_block(8, 1, sum, strip_of(shape, strips, m) + i * ROWS, ROWS, 1,
                      right + m * columns + c, columns, ROWS);
        store_block(8, 1, sum, out + i * columns + c, columns);
    }
}

/* Which of eight queries, the first of them q, may see key j. */
INLINE mask may_see(long q, long j) {
    const mask place = {0, 1, 2, 3, 4, 5, 6, 7};
    return place >= (int32_t)(j - q);
}

/* Strip m of scores becomes weights; the logarithms of the normalisers go to `log`. */
INLINE void strip_softmax(const Shape *shape, float *strips, long m, float *log) {
    for (long q = m; q < m + ROWS; q += LANES) {
        float *strip = strip_of(shape, strips, m) + q - m;
        lanes most = all(-INFINITY), sum = all(0);
        for (long j = 0; j < m; j++) most = larger(load(strip + j * ROWS, LANES), most);
        for (long j = m; j < m + ROWS; j++) {
            lanes score = chosen(may_see(q, j), load(strip + j * ROWS, LANES), all(-INFINITY));
            most = larger(score, most);
        }
        for (long j = 0; j < m; j++) {
            lanes weight = exponential(load(strip + j * ROWS, LANES) - most);
            store(strip + j * ROWS, weight, LANES);
            sum += weight;
        }
        for (long j = m; j < m + ROWS; j++) {
            lanes weight = exponential(load(strip + j * ROWS, LANES) - most);
            weight = chosen(may_see(q, j), weight, all(0));
            store(strip + j * ROWS, weight, LANES);
            sum += weight;
        }
        lanes share = 1 / sum;
        for (long j = 0; j < m + ROWS; j++)
            store(strip + j * ROWS, load(strip + j * ROWS, LANES) * share, LANES);
        for (int i = 0; i < LANES; i++) log[q - m + i] = logf(sum[i]) + most[i];
    }
}

/* One head forward: from qkv to its columns of `mixed` and its normalisers. */
static void head_forward(const Shape *shape, Head *head, const float *qkv, float *mixed,
                         float *normaliser) {
    fill(shape, head, qkv);
    for (long m = 0; m < shape->rows; m += ROWS) {
        strip_product(shape, head->key, head->queries, head->weights, m);
        strip_softmax(shape, head->weights, m, head->log + m);
        rows_of_queries(shape, head->weights, head->value, head->out, m);
    }
    memcpy(normaliser, head->log, sizeof(float) * shape->length);
    scatter(shape, head->out, mixed, shape->heads * shape->width);
}

/* Strip m of scores becomes weights again, and the gradient of the weights that of the scores:
 * dS = P ∘ (dP - Σ P ∘ dP). */
INLINE void strip_softmax_back(const Shape *shape, float *weights, float *slopes, long m,
                               const float *log) {
    for (long q = m; q < m + ROWS; q += LANES) {
        float *weight = strip_of(shape, weights, m) + q - m;
        float *slope = strip_of(shape, slopes, m) + q - m;
        lanes sum = all(0), normaliser = load(log + q - m, LANES);
        for (long j = 0; j < m + ROWS; j++) {
            lanes share = exponential(load(weight + j * ROWS, LANES) - normaliser);
            if (j >= m) share = chosen(may_see(q, j), share, all(0));
            store(weight + j * ROWS, share, LANES);
            sum += share * load(slope + j * ROWS, LANES);
        }
        for (long j = 0; j < m + ROWS; j++) {
            lanes above = load(slope + j * ROWS, LANES) - sum;
            store(slope + j * ROWS, load(weight + j * ROWS, LANES) * above, LANES);
        }
    }
}

/* One head back: from qkv and the gradient of its columns of `mixed` to that of qkv; weights are
 * computed again. */
static void head_backward(const Shape *shape, Head *head, const float *qkv,
                          const float *normaliser, const float *of_mixed, float *of_qkv) {
    long rows = shape->rows, columns = shape->columns, stream = shape->heads * shape->width;
    fill(shape, head, qkv);
    memcpy(head->log, normaliser, sizeof(float) * shape->length);
    gather(shape, of_mixed, stream, head->of_out);
    turn(head->of_out, columns, shape->length, columns, head->of_outs, rows);
    for (long m = 0; m < rows; m += ROWS) {
        strip_product(shape, head->key, head->queries, head->weights, m);
        strip_product(shape, head->value, head->of_outs, head->slopes, m);
        strip_softmax_back(shape, head->weights, head->slopes, m, head->log + m);
        rows_of_queries(shape, head->slopes, head->key, head->of_query, m);
    }
    for (long n = 0; n < rows; n += ROWS) {
        rows_of_keys(shape, head->slopes, head->query, head->of_key, n);
        rows_of_keys(shape, head->weights, head->of_out, head->of_value, n);
    }
    for (long t = 0, at = 0; t < shape->length; t++, at += columns) {
        turned_back(shape, head->of_query + at, head->query_unit + at, head->query_inverse[t],
                    head->query_gain, t, head->of_query_gain);
        turned_back(shape, head->of_key + at, head->key_unit + at, head->key_inverse[t],
                    head->key_gain, t, head->of_key_gain);
    }
    scatter(shape, head->of_query, of_qkv, 3 * stream);
    scatter(shape, head->of_key, of_qkv + stream, 3 * stream);
    scatter(shape, head->of_value, of_qkv + 2 * stream, 3 * stream);
}

/* ------------------------------------------------------------------------------- whole layers */

/* Room for a piece of `few` sequences, and for the packed parameters of a replica. */
typedef struct {
    float *given, *of_given, *of_mixed, *of_qkv, *weight, *output, *sums;
    long few;
} Piece;

INLINE Piece piece_of(Room *room, long length, long width) {
    Piece p;
    p.few = PIECE > length ? PIECE / length : 1;
    long rows = p.few * length;
    p.given = taken(room, rows * width), p.of_given = taken(room, rows * width);
    p.of_mixed = taken(room, rows * width), p.of_qkv = taken(room, rows * 3 * width);
    p.weight = taken(room, larger_of(packed_size(width, 3 * width), packed_size(3 * width, width)));
    p.output = taken(room, packed_size(width, width));
    p.sums = taken(room, add_product_room(rows, width, 3 * width));
    return p;
}

/* How many floats of room both functions below need. */
long attention_room(long length, long heads, long width) {
    Room room = {0};
    Shape shape = new_shape(NULL, NULL, length, heads, width, 0);
    head_of(&room, &shape);
    piece_of(&room, length, heads * width);
    return room.used;
}

/* The gains of a replica, that of queries times 1 / √K. */
INLINE void set_gains(const Shape *shape, Head *head, const float *query, const float *key) {
    float scale = 1 / sqrtf(shape->width);
    for (long k = 0; k < shape->width; k++) {
        head->query_gain[k] = query[k] * scale, head->key_gain[k] = key[k];
        head->of_query_gain[k] = head->of_key_gain[k] = 0;
    }
}

INLINE void get_gains(const Shape *shape, const Head *head, float *of_query, float *of_key) {
    float scale = 1 / sqrtf(shape->width);
    for (long k = 0; k < shape->width; k++)
        of_query[k] = head->of_query_gain[k] * scale, of_key[k] = head->of_key_gain[k];
}

void attention_forward(const float *x, const float *gain, long gain_stride, const float *weight,
                       long weight_stride, const float *query, long query_stride, const float *key,
                       long key_stride, const float *output, long output_stride,
                       const float *cosine, const float *sine, float *inverse, float *qkv,
                       float *mixed, float *normaliser, float *after, float *memory, long replicas,
                       long batch, long length, long heads, long width, float epsilon) {
    Room room = {memory, 0};
    Shape shape = new_shape(cosine, sine, length, heads, width, epsilon);
    Head head = head_of(&room, &shape);
    long stream = heads * width;
    Piece p = piece_of(&room, length, stream);
    for (long r = 0; r < replicas; r++, gain += gain_stride) {
        pack(weight + r * weight_stride, stream, 3 * stream, p.weight);
        pack(output + r * output_stride, stream, stream, p.output);
        set_gains(&shape, &head, query + r * query_stride, key + r * key_stride);
        for (long start = 0, few; start < batch; start += few) {
            few = smaller_of(p.few, batch - start);
            long rows = few * length;
            for (long n = 0, at = 0; n < rows; n++, at += stream) {
                inverse[n] = inverse_rms(x + at, stream, epsilon);
                norm(x + at, inverse[n], gain, stream, p.given + at);
            }
            product(p.given, rows, stream, p.weight, 3 * stream, NULL, qkv);
            for (long s = 0; s < few; s++)
                for (long h = 0; h < heads; h++)
                    head_forward(&shape, &head, qkv + s * length * 3 * stream + h * width,
                                 mixed + s * length * stream + h * width,
                                 normaliser + (s * heads + h) * length);
            product(mixed, rows, stream, p.output, stream, x, after);
            x += rows * stream, mixed += rows * stream, after += rows * stream;
            qkv += rows * 3 * stream, inverse += rows, normaliser += rows * heads;
        }
    }
}

void attention_backward(const float *x, const float *gain, long gain_stride, const float *weight,
                        long weight_stride, const float *query, long query_stride,
                        const float *key, long key_stride, const float *output,
                        long output_stride, const float *cosine, const float *sine,
                        const float *inverse, const float *qkv, const float *mixed,
                        const float *normaliser, const float *of_after, float *of_x,
                        float *of_gain, float *of_weight, float *of_query, float *of_key,
                        float *of_output, float *memory, long replicas, long batch, long length,
                        long heads, long width, float epsilon) {
    Room room = {memory, 0};
    Shape shape = new_shape(cosine, sine, length, heads, width, epsilon);
    Head head = head_of(&room, &shape);
    long stream = heads * width;
    Piece p = piece_of(&room, length, stream);
    memset(of_gain, 0, sizeof(float) * replicas * stream);
    memset(of_weight, 0, sizeof(float) * replicas * stream * 3 * stream);
    memset(of_output, 0, sizeof(float) * replicas * stream * stream);
    for (long r = 0; r < replicas; r++, gain += gain_stride) {
        pack_turned(weight + r * weight_stride, stream, 3 * stream, p.weight);
        pack_turned(output + r * output_stride, stream, stream, p.output);
        set_gains(&shape, &head, query + r * query_stride, key + r * key_stride);
        for (long start = 0, few; start < batch; start += few) {
            few = smaller_of(p.few, batch - start);
            long rows = few * length;
            product(of_after, rows, stream, p.output, stream, NULL, p.of_mixed);
            add_product(mixed, of_after, rows, stream, stream, of_output, p.sums);
            for (long s = 0; s < few; s++)
                for (long h = 0; h < heads; h++)
                    head_backward(&shape, &head, qkv + s * length * 3 * stream + h * width,
                                  normaliser + (s * heads + h) * length,
                                  p.of_mixed + s * length * stream + h * width,
                                  p.of_qkv + s * length * 3 * stream + h * width);
            product(p.of_qkv, rows, 3 * stream, p.weight, stream, NULL, p.of_given);
            for (long n = 0, at = 0; n < rows; n++, at += stream)
                norm(x + at, inverse[n], gain, stream, p.given + at);
            add_product(p.given, p.of_qkv, rows, stream, 3 * stream, of_weight, p.sums);
            for (long n = 0, at = 0; n < rows; n++, at += stream)
                norm_back(p.of_given + at, x + at, inverse[n], gain, stream, of_after + at,
                          of_x + at, of_gain);
            x += rows * stream, of_x += rows * stream, of_after += rows * stream;
            mixed += rows * stream, qkv += rows * 3 * stream, inverse += rows;
            normaliser += rows * heads;
        }
        get_gains(&shape, &head, of_query + r * width, of_key + r * width);
        of_gain += stream, of_weight += 3 * stream * stream, of_output += stream * stream;
    }
}
