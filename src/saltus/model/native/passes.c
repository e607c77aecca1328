/* Norms, gated units and losses, forward and backward, one pass over memory each; `losses.py` calls
 * them and says what each is. All floats are contiguous in the order written; no function keeps
 * anything or starts a thread, so the same input gives the same bits. */
#include "lanes.h"

/* ------------------------------------------------------------------------------------- norms */

void norm_forward(const float *x, float *unit, float *inverse, long tokens, long width,
                  float epsilon) {
    for (long n = 0; n < tokens; n++, x += width, unit += width) {
        float scale = 1 / sqrtf(dot(x, x, width) / width + epsilon);
        inverse[n] = scale;
        for (long i = 0; i < width; i += LANES)
            store(unit + i, load(x + i, width - i) * scale, width - i);
    }
}

void norm_backward(const float *of_unit, const float *unit, const float *inverse,
                   const float *of_stream, float *of_x, long tokens, long width) {
    for (long n = 0; n < tokens; n++) {
        float along = dot(of_unit, unit, width) / width, scale = inverse[n];
        for (long i = 0; i < width; i += LANES) {
            lanes across = load(of_unit + i, width - i) - load(unit + i, width - i) * along;
            lanes stream = of_stream ? load(of_stream + i, width - i) : all(0);
            store(of_x + i, stream + across * scale, width - i);
        }
        of_unit += width, unit += width, of_x += width;
        if (of_stream) of_stream += width;
    }
}

/* ------------------------------------------------------------------------------- gated units */

void gate_forward(const float *gate_up, float *hidden, long tokens, long width) {
    for (long n = 0; n < tokens; n++, gate_up += 2 * width, hidden += width)
        for (long i = 0; i < width; i += LANES) {
            lanes gate = load(gate_up + i, width - i), up = load(gate_up + width + i, width - i);
            store(hidden + i, gate * up / (1 + exponential(-gate)), width - i);
        }
}

void gate_backward(const float *gate_up, const float *of_hidden, float *of_gate_up, long tokens,
                   long width) {
    for (long n = 0; n < tokens; n++) {
        for (long i = 0; i < width; i += LANES) {
            lanes gate = load(gate_up + i, width - i), up = load(gate_up + width + i, width - i);
            lanes given = load(of_hidden + i, width - i);
            lanes share = 1 / (1 + exponential(-gate)), opened = gate * share;
            store(of_gate_up + i, given * up * (share + opened * (1 - share)), width - i);
            store(of_gate_up + width + i, given * opened, width - i);
        }
        gate_up += 2 * width, of_gate_up += 2 * width, of_hidden += width;
    }
}

/* ------------------------------------------------------------------------------------ losses */

/* Losses, and in the place of the logits the gradient of `scale` times their sum. */
void losses(float *logits, const int64_t *targets, float *losses, long tokens, long vocabulary,
            float scale) {
    for (long n = 0; n < tokens; n++, logits += vocabulary) {
        float target = logits[targets[n]];
        losses[n] = softmax(logits, vocabulary, vocabulary, scale) - target;
        logits[targets[n]] -= scale;
    }
}
