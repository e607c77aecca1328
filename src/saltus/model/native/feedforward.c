/* x + down(silu(gate) · up) of the normed x, forward and backward, a piece of rows at a time: what
 * lies between x and the sum stays in the cache; gates and ups alone are kept for the way back.
 *
 * R replica, N token, D width, F feed-forward width. Parameters of one replica are contiguous;
 * `*_stride` is from one replica to the next. */
#include "norms.h"
#include "products.h"
#include "room.h"

typedef struct {
    float *given, *hidden, *of_hidden, *of_gate_up, *of_given, *up, *down, *sums;
} Pieces;

INLINE Pieces pieces_of(Room *room, long width, long inner) {
    Pieces p;
    p.given = taken(room, PIECE * width), p.of_given = taken(room, PIECE * width);
    p.hidden = taken(room, PIECE * inner), p.of_hidden = taken(room, PIECE * inner);
    p.of_gate_up = taken(room, PIECE * 2 * inner);
    long up = packed_size(width, 2 * inner), up_turned = packed_size(2 * inner, width);
    long down = packed_size(inner, width), down_turned = packed_size(width, inner);
    p.up = taken(room, larger_of(up, up_turned));
    p.down = taken(room, larger_of(down, down_turned));
    long sums = add_product_room(PIECE, width, 2 * inner);
    long of_down = add_product_room(PIECE, inner, width);
    p.sums = taken(room, larger_of(sums, of_down));
    return p;
}

/* How many floats of room both functions below need. */
long feedforward_room(long width, long inner) {
    Room room = {0};
    pieces_of(&room, width, inner);
    return room.used;
}

/* hidden (rows, F) of gate_up (rows, 2F). */
static void gated(const float *gate_up, long rows, long inner, float *hidden) {
    for (long n = 0; n < rows; n++, gate_up += 2 * inner, hidden += inner)
        for (long i = 0; i < inner; i += LANES) {
            lanes gate = load(gate_up + i, inner - i), up = load(gate_up + inner + i, inner - i);
            store(hidden + i, gate * up / (1 + exponential(-gate)), inner - i);
        }
}

/* The gradient of gate_up from that of hidden, and hidden again. */
static void gated_back(const float *gate_up, const float *of_hidden, long rows, long inner,
                       float *hidden, float *of_gate_up) {
    for (long n = 0; n < rows; n++) {
        for (long i = 0; i < inner; i += LANES) {
            lanes gate = load(gate_up + i, inner - i), up = load(gate_up + inner + i, inner - i);
            lanes given = load(of_hidden + i, inner - i);
            lanes share = 1 / (1 + exponential(-gate)), opened = gate * share;
            store(hidden + i, opened * up, inner - i);
            store(of_gate_up + i, given * up * (share + opened * (1 - share)), inner - i);
            store(of_gate_up + inner + i, given * opened, inner - i);
        }
        gate_up += 2 * inner, of_gate_up += 2 * inner, of_hidden += inner, hidden += inner;
    }
}

void feedforward_forward(const float *x, const float *gain, long gain_stride, const float *up,
                         long up_stride, const float *down, long down_stride, float *inverse,
                         float *gate_up, float *after, float *memory, long replicas, long tokens,
                         long width, long inner, float epsilon) {
    Room room = {memory, 0};
    Pieces p = pieces_of(&room, width, inner);
    for (long r = 0; r < replicas; r++, gain += gain_stride, up += up_stride, down += down_stride) {
        pack(up, width, 2 * inner, p.up);
        pack(down, inner, width, p.down);
        for (long start = 0, rows; start < tokens; start += rows) {
            rows = smaller_of(PIECE, tokens - start);
            for (long n = 0, at = 0; n < rows; n++, at += width) {
                inverse[n] = inverse_rms(x + at, width, epsilon);
                norm(x + at, inverse[n], gain, width, p.given + at);
            }
            product(p.given, rows, width, p.up, 2 * inner, NULL, gate_up);
            gated(gate_up, rows, inner, p.hidden);
            product(p.hidden, rows, inner, p.down, width, x, after);
            x += rows * width, after += rows * width, inverse += rows;
            gate_up += rows * 2 * inner;
        }
    }
}

void feedforward_backward(const float *x, const float *gain, long gain_stride, const float *up,
                          long up_stride, const float *down, long down_stride,
                          const float *inverse, const float *gate_up, const float *of_after,
                          float *of_x, float *of_gain, float *of_up, float *of_down,
                          float *memory, long replicas, long tokens, long width, long inner) {
    Room room = {memory, 0};
    Pieces p = pieces_of(&room, width, inner);
    memset(of_gain, 0, sizeof(float) * replicas * width);
    memset(of_up, 0, sizeof(float) * replicas * width * 2 * inner);
    memset(of_down, 0, sizeof(float) * replicas * inner * width);
    for (long r = 0; r < replicas; r++, gain += gain_stride, up += up_stride, down += down_stride) {
        pack_turned(up, width, 2 * inner, p.up);
        pack_turned(down, inner, width, p.down);
        for (long start = 0, rows; start < tokens; start += rows) {
            rows = smaller_of(PIECE, tokens - start);
            product(of_after, rows, width, p.down, inner, NULL, p.of_hidden);
            gated_back(gate_up, p.of_hidden, rows, inner, p.hidden, p.of_gate_up);
            add_product(p.hidden, of_after, rows, inner, width, of_down, p.sums);
            product(p.of_gate_up, rows, 2 * inner, p.up, width, NULL, p.of_given);
            for (long n = 0, at = 0; n < rows; n++, at += width)
                norm(x + at, inverse[n], gain, width, p.given + at);
            add_product(p.given, p.of_gate_up, rows, width, 2 * inner, of_up, p.sums);
            for (long n = 0, at = 0; n < rows; n++, at += width)
                norm_back(p.of_given + at, x + at, inverse[n], gain, width, of_after + at,
                          of_x + at, of_gain);
            x += rows * width, of_after += rows * width, of_x += rows * width, inverse += rows;
            gate_up += rows * 2 * inner;
        }
        of_gain += width, of_up += width * 2 * inner, of_down += inner * width;
    }
}
