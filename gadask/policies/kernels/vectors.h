/* The arithmetic, included by convolutional.c once for each instruction set, which it has put into macros. */

#define floats NAME(floats)
#define integers NAME(integers)
typedef float floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t integers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

#ifdef MULTIPLY_ADD
/* Add four products of an unsigned and a signed byte to each sum. Without VNNI the one instruction that multiplies such
   bytes saturates, so they become 16 bits. */
#define DOT NAME(dot)
typedef int16_t NAME(shorts) __attribute__((vector_size(4 * LANES)));
typedef uint16_t NAME(words) __attribute__((vector_size(4 * LANES)));
static inline INTEGERS NAME(dot)(INTEGERS sums, INTEGERS bytes, INTEGERS weights) {
  const NAME(words) inputs = (NAME(words))bytes, even = inputs & 255, odd = inputs >> 8;
  const NAME(shorts) odd_weights = (NAME(shorts))weights >> 8, even_weights = (NAME(shorts))((NAME(words))weights << 8) >> 8;
  const INTEGERS evens = MULTIPLY_ADD((INTEGERS)even, (INTEGERS)even_weights);
  const INTEGERS odds = MULTIPLY_ADD((INTEGERS)odd, (INTEGERS)odd_weights);
  return (INTEGERS)((integers)sums + (integers)evens + (integers)odds);
}
#endif

static inline floats NAME(positive)(floats x) { return (floats)((integers)x & (x > 0)); }

/* Compute listed patches, n_patches at a time: as many sums as the registers hold. */
static inline __attribute__((always_inline)) void NAME(convolve_tiles)(
    const Layer *layer, const int32_t *list, int n, const int n_patches, const int n_vectors) {
  const int n_outputs = layer->n_outputs, segment = layer->window * layer->n_inputs;
  const int row_values = layer->source_columns * layer->n_inputs;
  const float *bias = layer->parameters + layer->window * segment * n_outputs;
  for (int at = 0; at < n; at += n_patches) {
    const float *source[MAX_PATCHES];
    int target[MAX_PATCHES];
    for (int p = 0; p < n_patches; p++) {
      const int patch = list[at + p < n ? at + p : n - 1];
      const int row = patch / layer->columns, column = patch % layer->columns;
      source[p] = (const float *)layer->source + layer->step * (row * row_values + column * layer->n_inputs);
      target[p] = row * layer->target_columns + column;
    }
    for (int first = 0; first < n_outputs; first += LANES * n_vectors) {
      const float *weights = layer->parameters + first;
      floats sums[MAX_PATCHES][MAX_VECTORS];
#pragma GCC unroll 12
      for (int p = 0; p < n_patches; p++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++) sums[p][v] = *(const floats *)(bias + first + LANES * v);
      for (int y = 0; y < layer->window; y++) {
        const float *values[MAX_PATCHES];
#pragma GCC unroll 12
        for (int p = 0; p < n_patches; p++) values[p] = source[p] + y * row_values;
        for (int i = 0; i < segment; i++, weights += n_outputs) {
#pragma GCC unroll 4
          for (int v = 0; v < n_vectors; v++) {
            const floats w = *(const floats *)(weights + LANES * v);
#pragma GCC unroll 12
            for (int p = 0; p < n_patches; p++) sums[p][v] += values[p][i] * w;
          }
        }
      }
#pragma GCC unroll 12
      for (int p = 0; p < n_patches; p++) {
        float *out = (float *)layer->target + target[p] * n_outputs + first;
        integers differing = {};
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++) {
          const floats sum = layer->relu ? NAME(positive)(sums[p][v]) : sums[p][v];
          differing |= sum != *(const floats *)(out + LANES * v);
          *(floats *)(out + LANES * v) = sum;
        }
        if (layer->target_changed) {
          int any = 0;
          for (int k = 0; k < LANES; k++) any |= differing[k];
          layer->target_changed[target[p]] |= any != 0;
        }
      }
    }
  }
}

void NAME(convolve)(const Layer *layer, int32_t *list) {
  const int n = changed_patches(layer, list);
  if (LANES == 8)
    NAME(convolve_tiles)(layer, list, n, 6, 2);
  else if (layer->n_outputs == 2 * LANES)
    NAME(convolve_tiles)(layer, list, n, 12, 2);
  else
    NAME(convolve_tiles)(layer, list, n, 6, 4);
}

/* hidden = max(0, bias + Σ features[i] dense[i]) over the features that are not 0, for this layer reads the most. */
void NAME(dense)(const Network *net) {
  enum { VECTORS = LANES == 16 ? 16 : 8 };
  const float *features = net->features;
  const int n = net->n_features, n_hidden = net->n_hidden;
  int n_list = 0;
  for (int i = 0; i < n; i++) {
    net->list[n_list] = i;
    n_list += features[i] != 0;
  }
  for (int i = 0; i < AHEAD_ROWS; i++) net->list[n_list + i] = n;
  for (int first = 0; first < n_hidden; first += VECTORS * LANES) {
    const float *columns = net->dense + first;
    floats sums[VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) sums[v] = *(const floats *)(columns + n * n_hidden + LANES * v);
    for (int at = 0; at < n_list; at++) {
      const float *row = columns + net->list[at] * n_hidden, *ahead = columns + net->list[at + AHEAD_ROWS] * n_hidden;
      const float x = features[net->list[at]];
#pragma GCC unroll 16
      for (int v = 0; v < VECTORS; v++) {
        if (v % (16 / LANES) == 0) __builtin_prefetch(ahead + LANES * v);
        sums[v] += x * *(const floats *)(row + LANES * v);
      }
    }
#pragma GCC unroll 16
    for (int v = 0; v < VECTORS; v++) *(floats *)(net->hidden + first + LANES * v) = NAME(positive)(sums[v]);
  }
}

void NAME(output)(const Network *net) {
  const int n = net->n_outputs;
  float *restrict result = net->result;
  memcpy(result, net->output + net->n_hidden * n, 4 * n);
  for (int i = 0; i < net->n_hidden; i++) {
    const float x = net->hidden[i], *weights = net->output + i * n;
    if (x != 0)
      for (int j = 0; j < n; j++) result[j] += x * weights[j];
  }
}

void NAME(forward_float)(Network *net) {
  take_image(net);
  for (int i = 0; i < 3; i++) NAME(convolve)(&net->layers[i], net->list);
  net->fresh = 0;
  NAME(dense)(net);
  NAME(output)(net);
}

static inline __attribute__((always_inline)) void NAME(convolve_byte_tiles)(
    const Layer *layer, const int32_t *list, int n, const int n_patches, const int n_vectors) {
  const int n_outputs = layer->n_outputs, segment = layer->window * layer->n_inputs;
  const int row_values = layer->source_columns * layer->n_inputs;
  for (int at = 0; at < n; at += n_patches) {
    const uint8_t *source[MAX_PATCHES];
    int32_t *target[MAX_PATCHES];
    for (int p = 0; p < n_patches; p++) {
      const int patch = list[at + p < n ? at + p : n - 1];
      const int row = patch / layer->columns, column = patch % layer->columns;
      source[p] = (const uint8_t *)layer->source + layer->step * (row * row_values + column * layer->n_inputs);
      target[p] = layer->sums + patch * n_outputs;
    }
    for (int first = 0; first < n_outputs; first += LANES * n_vectors) {
      const int8_t *weights = layer->weights + 4 * first;
      INTEGERS sums[MAX_PATCHES][MAX_VECTORS];
#pragma GCC unroll 12
      for (int p = 0; p < n_patches; p++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++) sums[p][v] = ZERO();
      for (int y = 0; y < layer->window; y++)
        for (int i = 0; i < segment; i += 4, weights += 4 * n_outputs) {
          INTEGERS w[MAX_VECTORS];
#pragma GCC unroll 4
          for (int v = 0; v < n_vectors; v++) w[v] = LOAD(weights + 4 * LANES * v);
#pragma GCC unroll 12
          for (int p = 0; p < n_patches; p++) {
            const INTEGERS bytes = BROADCAST(*(const word *)(source[p] + y * row_values + i));
#pragma GCC unroll 4
            for (int v = 0; v < n_vectors; v++) sums[p][v] = DOT(sums[p][v], bytes, w[v]);
          }
        }
#pragma GCC unroll 12
      for (int p = 0; p < n_patches; p++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++) STORE(target[p] + first + LANES * v, sums[p][v]);
    }
  }
}

/* values = max(0, sums × scales × scale + bias), n_rows × n_columns; returns the largest. */
static float NAME(dequantise)(float *values, const int32_t *sums, int n_rows, int n_columns, const float *scales,
                              float scale, const float *bias) {
  floats largest = {};
  for (int i = 0; i < n_rows; i++, sums += n_columns, values += n_columns)
    for (int j = 0; j < n_columns; j += LANES) {
      const floats x = __builtin_convertvector(*(const integers *)(sums + j), floats);
      const floats value = NAME(positive)(x * (*(const floats *)(scales + j) * scale) + *(const floats *)(bias + j));
      *(floats *)(values + j) = value;
      const integers larger = value > largest;
      largest = (floats)(((integers)value & larger) | ((integers)largest & ~larger));
    }
  float result = 0;
  for (int k = 0; k < LANES; k++)
    if (largest[k] > result) result = largest[k];
  return result;
}

/* Compute a layer, whose source's values are multiples of `scale`; returns the scale of the target's. */
float NAME(convolve_bytes)(const Layer *layer, float scale, int fresh, int32_t *list) {
  const int n = changed_patches(layer, list), n_outputs = layer->n_outputs;
  if (LANES == 8)
    NAME(convolve_byte_tiles)(layer, list, n, 6, 2);
  else if (n_outputs == 2 * LANES)
    NAME(convolve_byte_tiles)(layer, list, n, 12, 2);
  else
    NAME(convolve_byte_tiles)(layer, list, n, 6, 4);
  const float *bias = layer->parameters + layer->window * layer->window * layer->n_inputs * n_outputs;
  const int n_patches = layer->rows * layer->columns;
  const float largest =
      NAME(dequantise)(layer->values, layer->sums, n_patches, n_outputs, layer->scales, scale, bias);
  const float steps = largest > 0 ? 255 / largest : 0;
  const float *values = layer->values;
  for (int r = 0; r < layer->rows; r++)
    for (int c = 0; c < layer->columns; c++, values += n_outputs) {
      const int at = r * layer->target_columns + c;
      uint8_t *target = (uint8_t *)layer->target + at * n_outputs, differing = fresh;
      for (int j = 0; j < n_outputs; j++) {
        const uint8_t byte = (uint8_t)(int)(values[j] * steps + 0.5f);
        differing |= byte ^ target[j];
        target[j] = byte;
      }
      if (layer->target_changed) layer->target_changed[at] = differing != 0;
    }
  return largest / 255;
}

/* dense_sums = Σ features[i] dense_weights[i] over the features that are not 0, four rows at a time. */
void NAME(dense_bytes)(const Network *net) {
  const uint8_t *features = net->features;
  const int n = net->n_features;
  int n_list = 0;
  for (int i = 0; i < n; i++) {
    net->list[n_list] = i;
    n_list += features[i] != 0;
  }
  for (int i = 0; i < 4 + 4 * AHEAD_GROUPS; i++) net->list[n_list + i] = 0;
  for (int first = 0; first < net->n_hidden; first += 16 * LANES) {
    const int8_t *columns = net->dense_weights + (int64_t)(first / PART) * n * PART + first % PART;
    INTEGERS sums[16];
#pragma GCC unroll 16
    for (int v = 0; v < 16; v++) sums[v] = ZERO();
    for (int at = 0; at < n_list; at += 4) {
      uint32_t inputs = 0;
      const int8_t *rows[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) {
        if (at + i < n_list) inputs |= (uint32_t)features[net->list[at + i]] << 8 * i;
        rows[i] = columns + net->list[at + i] * PART;
        const int8_t *ahead = columns + net->list[at + i + 4 * AHEAD_GROUPS] * PART;
#pragma GCC unroll 4
        for (int v = 0; v < 4; v += 16 / LANES) __builtin_prefetch(ahead + 4 * LANES * v);
      }
      const INTEGERS bytes = BROADCAST(inputs);
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) {
        const INTEGERS a = LOAD(rows[0] + 4 * LANES * v), b = LOAD(rows[1] + 4 * LANES * v);
        const INTEGERS c = LOAD(rows[2] + 4 * LANES * v), d = LOAD(rows[3] + 4 * LANES * v);
        const INTEGERS ab = LOW8(a, b), AB = HIGH8(a, b), cd = LOW8(c, d), CD = HIGH8(c, d);
        sums[4 * v] = DOT(sums[4 * v], bytes, LOW16(ab, cd));
        sums[4 * v + 1] = DOT(sums[4 * v + 1], bytes, HIGH16(ab, cd));
        sums[4 * v + 2] = DOT(sums[4 * v + 2], bytes, LOW16(AB, CD));
        sums[4 * v + 3] = DOT(sums[4 * v + 3], bytes, HIGH16(AB, CD));
      }
    }
    /* Bytes are interleaved within each 16 of them: vector 4v + i holds of every 16 outputs the four from 4i on. */
    for (int v = 0; v < 16; v++) {
      int32_t stored[LANES];
      STORE(stored, sums[v]);
      for (int k = 0; k < LANES; k++)
        net->dense_sums[first + v / 4 * 4 * LANES + k / 4 * 16 + v % 4 * 4 + k % 4] = stored[k];
    }
  }
}

/* scales = largest |weight| / 127 by column; steps = 1 / scales, and 0 for a column of zeros. */
static void NAME(column_scales)(const float *weights, int n_rows, int n_columns, float *scales, float *steps) {
  memset(scales, 0, 4 * n_columns);
  for (int i = 0; i < n_rows; i++, weights += n_columns)
    for (int j = 0; j < n_columns; j++) {
      const float size = __builtin_fabsf(weights[j]);
      scales[j] = size > scales[j] ? size : scales[j];
    }
  for (int j = 0; j < n_columns; j++) {
    steps[j] = scales[j] > 0 ? 127 / scales[j] : 0;
    scales[j] /= 127;
  }
}

/* Make the bytes of new parameters. */
void NAME(pack)(Network *net) {
  float *steps = net->hidden; /* long enough, and free between two observations */
  for (int l = 0; l < 3; l++) {
    Layer *layer = &net->layers[l];
    const int n_rows = layer->window * layer->window * layer->n_inputs, n = layer->n_outputs;
    NAME(column_scales)(layer->parameters, n_rows, n, layer->scales, steps);
    for (int i = 0; i < n_rows; i++)
      for (int j = 0; j < n; j++)
        layer->weights[i / 4 * 4 * n + 4 * j + i % 4] = rounded(layer->parameters[i * n + j] * steps[j]);
  }
  NAME(column_scales)(net->dense, net->n_features, net->n_hidden, net->dense_scales, steps);
  for (int first = 0; first < net->n_hidden; first += PART)
    for (int i = 0; i < net->n_features; i++) {
      const float *weights = net->dense + i * net->n_hidden + first;
      int8_t *out = net->dense_weights + (int64_t)first * net->n_features + (int64_t)i * PART;
      for (int j = 0; j < PART; j++) out[j] = rounded(weights[j] * steps[first + j]);
    }
}

void NAME(forward_bytes)(Network *net) {
  if (net->fresh) NAME(pack)(net);
  take_image(net);
  float scale = 1.0f / 255;
  for (int i = 0; i < 3; i++) scale = NAME(convolve_bytes)(&net->layers[i], scale, net->fresh, net->list);
  net->fresh = 0;
  NAME(dense_bytes)(net);
  NAME(dequantise)(net->hidden, net->dense_sums, 1, net->n_hidden, net->dense_scales, scale,
                   net->dense + net->n_features * net->n_hidden);
  NAME(output)(net);
}

#ifdef MULTIPLY_ADD
#undef DOT
#endif
#undef floats
#undef integers
