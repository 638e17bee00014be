/* The arithmetic, included by convolutional.c once for each instruction set, which it has put into macros: what both
   precisions share, and the output layer. */

#ifdef KEEP_TEXT
KEEP_TEXT("text_of_vectors_h");
#endif

#define floats NAME(floats)
#define integers NAME(integers)
#define bytes_of NAME(bytes_of)
typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
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

/* scales = largest |weight| / full by column; steps = 1 / scales, and 0 for a column of zeros. */
static void NAME(column_scales)(
    const float *weights, int n_rows, int n_columns, float full, float *scales, float *steps) {
  memset(scales, 0, 4 * n_columns);
  for (int i = 0; i < n_rows; i++, weights += n_columns)
    for (int j = 0; j < n_columns; j += LANES) {
      const integers size = *(const integers *)(weights + j) & INT32_MAX, largest = *(const integers *)(scales + j);
      const integers larger = size > largest; /* floats that are not negative are in the order of their bits */
      *(integers *)(scales + j) = (size & larger) | (largest & ~larger);
    }
  for (int j = 0; j < n_columns; j++) {
    steps[j] = scales[j] > 0 ? full / scales[j] : 0;
    scales[j] /= full;
  }
}

#include "float32.h"
#include "int8.h"

#undef floats
#undef integers
#undef bytes_of
