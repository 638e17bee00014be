/* The arithmetic, included by the header of an architecture once for each instruction set, which it has put into macros:
   what both precisions share, and the output layer. */

#ifndef VECTORS_H
#define VECTORS_H
KEEP_TEXT("text_of_vectors_h");
#endif

#define floats NAME(floats)
#define integers NAME(integers)
#define bytes_of NAME(bytes_of)
#define unsigned_integers NAME(unsigned_integers)
typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t unsigned_integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint8_t bytes_of __attribute__((vector_size(LANES), aligned(1), may_alias)); /* the lowest byte of each */

static inline floats NAME(positive)(floats x) { return (floats)((integers)x & (x > 0)); }

/* Append first + k to a list of n for every bit k of the mask; returns its new length. Writes a vector, whatever the mask. */
static inline int NAME(append_places)(int32_t *list, int n, int first, uint32_t mask) {
  STORE_PLACES(list + n, first, mask);
  return n + __builtin_popcount(mask);
}

/* result = bias + Σ hidden[i] output[i]. Rows are read a vector at a time, which may reach into the next rows; the last
   ones, behind which nothing may be read, are copied first. */
void NAME(output)(const Network *net) {
  const int n = net->n_outputs, n_hidden = net->n_hidden;
  const float *weights = net->output;
  for (int j = 0; j < n; j += LANES) {
    const int width = n - j < LANES ? n - j : LANES, n_safe = n_hidden + 1 - (j + LANES + n - 1) / n;
    float copy[LANES] = {};
    memcpy(copy, weights + n_hidden * n + j, 4 * width);
    floats sum = *(const floats *)copy;
    int i = 0;
    for (; i < n_safe; i++) sum += net->hidden[i] * *(const floats *)(weights + i * n + j);
    for (; i < n_hidden; i++) {
      memcpy(copy, weights + i * n + j, 4 * width);
      sum += net->hidden[i] * *(const floats *)copy;
    }
    memcpy(net->result + j, &sum, 4 * width);
  }
}

/* largest = max(largest, |weights|), a vector of them: floats that are not negative are in the order of their bits. */
static inline void NAME(keep_largest)(float *largest, integers weights) {
  const integers size = weights & INT32_MAX, before = *(const integers *)largest, larger = size > before;
  *(integers *)largest = (size & larger) | (before & ~larger);
}

/* The largest |weight| of every column. */
static void NAME(measure)(const float *weights, int n_rows, int n_columns, float *largest) {
  memset(largest, 0, 4 * n_columns);
  for (int i = 0; i < n_rows; i++, weights += n_columns)
    for (int j = 0; j < n_columns; j += LANES) NAME(keep_largest)(largest + j, *(const integers *)(weights + j));
}

/* scales = largest |weight| / full by column, in place; steps = 1 / scales, and 0 for a column of zeros. */
static void NAME(divide)(float *scales, int n_columns, float full, float *steps) {
  for (int j = 0; j < n_columns; j++) {
    steps[j] = scales[j] > 0 ? full / scales[j] : 0;
    scales[j] /= full;
  }
}

/* The same of the dense layer, which `mutate` may have measured. */
static void NAME(scale_dense)(Network *net, float full, float *steps) {
  if (!net->measured) NAME(measure)(net->dense, net->n_features, net->n_hidden, net->dense_scales);
  net->measured = 0;
  NAME(divide)(net->dense_scales, net->n_hidden, full, steps);
}

/* parameters = parent + power × noise, n of each: those of the network, which are one vector that begins at a multiple of 64
   bytes. The dense layer, nearly all of them, is measured on the way and written past the cache, so that its memory need not
   be read before it is written. */
void NAME(mutate)(
    Network *net, float *parameters, int64_t n, const float *parent, const float *noise, float power) {
  const int64_t first = net->dense - parameters, end = first + (int64_t)net->n_features * net->n_hidden;
  for (int64_t i = 0; i < first; i++) parameters[i] = parent[i] + power * noise[i];
  memset(net->dense_scales, 0, 4 * net->n_hidden);
  for (int64_t i = first; i < end;)
    for (int j = 0; j < net->n_hidden; j += LANES, i += LANES) {
      __builtin_prefetch(parent + i + AHEAD_WEIGHTS);
      __builtin_prefetch(noise + i + AHEAD_WEIGHTS);
      const floats weights = *(const floats *)(parent + i) + power * *(const floats *)(noise + i);
      STREAM(parameters + i, (INTEGERS)weights);
      NAME(keep_largest)(net->dense_scales + j, (integers)weights);
    }
  STREAMED();
  for (int64_t i = end; i < n; i++) parameters[i] = parent[i] + power * noise[i];
  net->fresh = net->measured = 1;
}

#include "float32.h"
#include "int8.h"

#undef floats
#undef integers
#undef bytes_of
#undef unsigned_integers
