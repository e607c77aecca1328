/* Norm, output matrix and cross-entropy of every token, and already on the way there their
 * gradients, a piece of rows at a time: logits do not leave the cache.
 *
 * R replica, N token, D width, V vocabulary. Parameters of one replica are contiguous; `*_stride`
 * is from one replica to the next. */
#include "norms.h"
#include "products.h"
#include "room.h"

typedef struct {
    float *given, *of_given, *logits, *embedding, *turned, *sums;
} Pieces;

INLINE Pieces pieces_of(Room *room, long width, long vocabulary) {
    Pieces p;
    p.given = taken(room, PIECE * width), p.of_given = taken(room, PIECE * width);
    p.logits = taken(room, PIECE * vocabulary);
    p.embedding = taken(room, packed_size(vocabulary, width));
    p.turned = taken(room, packed_size(width, vocabulary));
    p.sums = taken(room, add_product_room(PIECE, vocabulary, width));
    return p;
}

/* How many floats of room the function below needs. */
long head_room(long width, long vocabulary) {
    Room room = {0};
    pieces_of(&room, width, vocabulary);
    return room.used;
}

/* Makes `scale` times the probabilities of a row of `n` scores; returns the logarithm of the
 * normaliser. */
INLINE float softmax(float *row, long n, float scale) {
    const mask place = {0, 1, 2, 3, 4, 5, 6, 7};
    long whole = n / LANES * LANES, left = n - whole;
    lanes most = all(-INFINITY), sum = all(0);
    for (long i = 0; i < whole; i += LANES) most = larger(load(row + i, LANES), most);
    if (left)
        most = larger(chosen(place < (int32_t)left, load(row + whole, left), most), most);
    float highest = largest(most);
    for (long i = 0; i < whole; i += LANES) {
        lanes weight = exponential(load(row + i, LANES) - highest);
        sum += weight;
        store(row + i, weight, LANES);
    }
    if (left) {
        lanes weight = exponential(load(row + whole, left) - highest);
        sum += chosen(place < (int32_t)left, weight, all(0));
        store(row + whole, weight, left);
    }
    float normaliser = total(sum), share = scale / normaliser;
    for (long i = 0; i < n; i += LANES) store(row + i, load(row + i, n - i) * share, n - i);
    return logf(normaliser) + highest;
}

/* Losses, and the gradients of `scale` times their sum. */
void head_losses(const float *x, const float *gain, long gain_stride, const float *embedding,
                 long embedding_stride, const int64_t *targets, float *losses, float *of_x,
                 float *of_gain, float *of_embedding, float *memory, long replicas, long tokens,
                 long width, long vocabulary, float scale, float epsilon) {
    Room room = {memory, 0};
    Pieces p = pieces_of(&room, width, vocabulary);
    memset(of_gain, 0, sizeof(float) * replicas * width);
    memset(of_embedding, 0, sizeof(float) * replicas * vocabulary * width);
    for (long r = 0; r < replicas; r++) {
        pack(embedding, vocabulary, width, p.embedding);
        pack_turned(embedding, vocabulary, width, p.turned);
        for (long start = 0, rows; start < tokens; start += rows) {
            rows = smaller_of(PIECE, tokens - start);
            float inverse[PIECE];
            for (long n = 0, at = 0; n < rows; n++, at += width) {
                inverse[n] = inverse_rms(x + at, width, epsilon);
                norm(x + at, inverse[n], gain, width, p.given + at);
            }
            product(p.given, rows, width, p.turned, vocabulary, NULL, p.logits);
            for (long n = 0; n < rows; n++) {
                float *logits = p.logits + n * vocabulary, target = logits[targets[n]];
                losses[n] = softmax(logits, vocabulary, scale) - target;
                logits[targets[n]] -= scale;
            }
            add_product(p.logits, p.given, rows, vocabulary, width, of_embedding, p.sums);
            product(p.logits, rows, vocabulary, p.embedding, width, NULL, p.of_given);
            for (long n = 0, at = 0; n < rows; n++, at += width)
                norm_back(p.of_given + at, x + at, inverse[n], gain, width, NULL, of_x + at,
                          of_gain);
            x += rows * width, of_x += rows * width, losses += rows, targets += rows;
        }
        gain += gain_stride, of_gain += width;
        embedding += embedding_stride, of_embedding += vocabulary * width;
    }
}
