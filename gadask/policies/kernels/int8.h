/* The layers of a network of precision int8, included by vectors.h. */

#ifndef INT8_H
#define INT8_H
KEEP_TEXT("text_of_int8_h");
#endif

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

static inline __attribute__((always_inline)) void NAME(convolve_byte_tiles)(
    const Layer *layer, const int32_t *list, int n, const int n_patches, const int n_vectors) {
  const int n_outputs = layer->n_outputs, segment = layer->window * layer->n_inputs;
  const int row_values = layer->source_columns * layer->n_inputs;
  for (int at = 0; at < n; at += n_patches) {
    const uint8_t *source[MAX_PATCHES];
    int32_t *target[MAX_PATCHES];
    uint32_t excess[MAX_PATCHES] = {}; /* that WEIGHT_OFFSET makes */
    for (int p = 0; p < n_patches; p++) {
      const int patch = list[at + p < n ? at + p : n - 1];
      const int row = patch / layer->columns, column = patch % layer->columns;
      source[p] = (const uint8_t *)layer->source + layer->step * (row * row_values + column * layer->n_inputs);
      target[p] = layer->sums + patch * n_outputs;
      if (WEIGHT_OFFSET)
        for (int y = 0; y < layer->window; y++)
          for (int i = 0; i < segment; i++) excess[p] += WEIGHT_OFFSET * source[p][y * row_values + i];
    }
    for (int first = 0; first < n_outputs; first += LANES * n_vectors) {
      const int8_t *weights = layer->weights + 4 * first;
      INTEGERS sums[MAX_PATCHES][MAX_VECTORS];
#pragma GCC unroll 10
      for (int p = 0; p < n_patches; p++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++) sums[p][v] = ZERO();
      for (int y = 0; y < layer->window; y++)
        for (int i = 0; i < segment; i += 4, weights += 4 * n_outputs) {
          INTEGERS w[MAX_VECTORS];
#pragma GCC unroll 4
          for (int v = 0; v < n_vectors; v++) w[v] = LOAD(weights + 4 * LANES * v);
#pragma GCC unroll 10
          for (int p = 0; p < n_patches; p++) {
            const INTEGERS bytes = BROADCAST(*(const word *)(source[p] + y * row_values + i));
#pragma GCC unroll 4
            for (int v = 0; v < n_vectors; v++) sums[p][v] = DOT(sums[p][v], bytes, w[v]);
          }
        }
#pragma GCC unroll 10
      for (int p = 0; p < n_patches; p++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++)
          STORE(target[p] + first + LANES * v, (INTEGERS)((unsigned_integers)sums[p][v] - excess[p]));
    }
  }
}

/* max(0, sums × scales × scale + bias), a vector of them. */
static inline floats NAME(dequantised)(const int32_t *sums, const float *scales, float scale, const float *bias) {
  const floats x = __builtin_convertvector(*(const integers *)sums, floats);
  return NAME(positive)(x * (*(const floats *)scales * scale) + *(const floats *)bias);
}

/* Return the largest of a patch's n values. */
static inline float NAME(largest_value)(const int32_t *sums, int n, const float *scales, float scale, const float *bias) {
  floats largest = {};
  for (int j = 0; j < n; j += LANES) {
    const floats value = NAME(dequantised)(sums + j, scales + j, scale, bias + j);
    const integers larger = value > largest;
    largest = (floats)(((integers)value & larger) | ((integers)largest & ~larger));
  }
  return float_of(LARGEST((INTEGERS)largest)); /* of numbers that are not negative, as in largest_of */
}

/* Write a patch's n values as bytes; returns whether one of these has changed. */
static inline int NAME(quantise)(uint8_t *target, const int32_t *sums, int n, const float *scales, float scale,
                                 const float *bias, float steps) {
  bytes_of differing = {};
  for (int j = 0; j < n; j += LANES) {
    const floats value = NAME(dequantised)(sums + j, scales + j, scale, bias + j);
    const bytes_of bytes = LOW_BYTES(__builtin_convertvector(value * steps + 0.5f, integers));
    differing |= bytes ^ *(const bytes_of *)(target + j);
    *(bytes_of *)(target + j) = bytes;
  }
  enum { N = (LANES + 7) / 8 };
  uint64_t words[N] = {}, any = 0;
  memcpy(words, &differing, LANES);
  for (int k = 0; k < N; k++) any |= words[k];
  return any != 0;
}

/* Compute a layer, whose source's values are multiples of `scale`; returns the scale of the target's. What has changed
   neither its sums nor a scale keeps its bytes. */
float NAME(convolve_bytes)(Layer *layer, float scale, int fresh, int32_t *list) {
  const int n_outputs = layer->n_outputs, n_patches = layer->rows * layer->columns;
  int n = changed_patches(layer, list);
  if (LANES == 4)
    NAME(convolve_byte_tiles)(layer, list, n, 5, 4);
  else if (LANES == 8)
    NAME(convolve_byte_tiles)(layer, list, n, 6, 2);
  else if (n_outputs == 2 * LANES)
    NAME(convolve_byte_tiles)(layer, list, n, 10, 2);
  else
    NAME(convolve_byte_tiles)(layer, list, n, 6, 4);
  if (scale != layer->source_scale) n = all_patches(layer, list);
  layer->source_scale = scale;
  const float *bias = layer->parameters + layer->window * layer->window * layer->n_inputs * n_outputs;
  for (int i = 0; i < n; i++)
    layer->largest[list[i]] =
        NAME(largest_value)(layer->sums + list[i] * n_outputs, n_outputs, layer->scales, scale, bias);
  const float full = rounded_up(largest_of(layer->largest, n_patches));
  if (full != layer->target_full) n = all_patches(layer, list);
  layer->target_full = full;
  const float steps = full > 0 ? 255 / full : 0;
  for (int i = 0; i < n; i++) {
    const int at = list[i] / layer->columns * layer->target_columns + list[i] % layer->columns;
    const int differing = NAME(quantise)((uint8_t *)layer->target + at * n_outputs, layer->sums + list[i] * n_outputs,
                                         n_outputs, layer->scales, scale, bias, steps);
    layer->target_changed[at] = fresh | differing;
  }
  return full / 255;
}

/* dense_sums += sign × Σ (more[i] - less[i]) dense_weights[i] over the listed features, four rows at a time, from the
   first of the list to its last or backwards. */
static void NAME(add_rows)(const Network *net, int n_list, const uint8_t *more, const uint8_t *less, int sign) {
  const int n_hidden = net->n_hidden, next = net->backwards ? -1 : 1;
  if (!n_list) return;
  int32_t *list = net->backwards ? net->list + n_list - 1 : net->list;
  for (int i = n_list; i < n_list + 4 + 4 * AHEAD_GROUPS; i++) list[next * i] = list[next * (n_list - 1)];
  int32_t sums[n_hidden] __attribute__((aligned(64)));
  memset(sums, 0, 4 * n_hidden);
  uint32_t excess = 0; /* that WEIGHT_OFFSET makes */
  for (int at = 0; at < n_list; at += 4, list += 4 * next) {
    uint32_t inputs = 0;
    const int8_t *rows[4], *ahead[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const int feature = list[next * i];
      if (at + i < n_list) {
        inputs |= (uint32_t)(more[feature] - less[feature]) << 8 * i;
        excess += WEIGHT_OFFSET * (more[feature] - less[feature]);
      }
      rows[i] = net->dense_weights + feature * n_hidden;
      ahead[i] = net->dense_weights + list[next * (i + 4 * AHEAD_GROUPS)] * n_hidden;
    }
    const INTEGERS bytes = BROADCAST(inputs);
    for (int j = 0; j < n_hidden; j += 4 * LANES) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; i++) __builtin_prefetch(ahead[i] + j);
      const INTEGERS a = LOAD(rows[0] + j), b = LOAD(rows[1] + j), c = LOAD(rows[2] + j), d = LOAD(rows[3] + j);
      const INTEGERS ab = LOW8(a, b), AB = HIGH8(a, b), cd = LOW8(c, d), CD = HIGH8(c, d);
      STORE(sums + j, DOT(LOAD(sums + j), bytes, LOW16(ab, cd)));
      STORE(sums + j + LANES, DOT(LOAD(sums + j + LANES), bytes, HIGH16(ab, cd)));
      STORE(sums + j + 2 * LANES, DOT(LOAD(sums + j + 2 * LANES), bytes, LOW16(AB, CD)));
      STORE(sums + j + 3 * LANES, DOT(LOAD(sums + j + 3 * LANES), bytes, HIGH16(AB, CD)));
    }
  }
  for (int j = 0; j < n_hidden; j += LANES)
    *(integers *)(net->dense_sums + j) += sign * (integers)(*(const unsigned_integers *)(sums + j) - excess);
}

/* List the places where a is larger than b; returns their number. */
static int NAME(list_larger)(const uint8_t *a, const uint8_t *b, int n, int32_t *list) {
  int n_list = 0;
  for (int i = 0; i < n; i += LANES) n_list = NAME(append_places)(list, n_list, i, LARGER(a + i, b + i));
  return n_list;
}

/* Bring dense_sums from the features that were seen last to those of now, multiples of `scale`, or begin anew where that is
   less to read; in turn forwards and backwards, as `dense` does. Makes hidden of them. */
void NAME(dense_bytes)(Network *net, float scale) {
  const uint8_t *features = net->features;
  uint8_t *seen = net->seen;
  const int n = net->n_features;
  int n_differing = 0, n_positive = 0;
  for (int i = 0; i < n; i++) {
    n_differing += features[i] != seen[i];
    n_positive += features[i] != 0;
  }
  const int anew = n_differing > n_positive;
  if (anew) {
    memset(seen, 0, n);
    memset(net->dense_sums, 0, 4 * net->n_hidden);
  }
  for (int turn = 0; turn < 2; turn++)
    if (turn == net->backwards)
      NAME(add_rows)(net, NAME(list_larger)(features, seen, n, net->list), features, seen, 1);
    else if (!anew)
      NAME(add_rows)(net, NAME(list_larger)(seen, features, n, net->list), seen, features, -1);
  net->backwards = !net->backwards;
  memcpy(seen, features, n);
  const float *bias = net->dense + n * net->n_hidden;
  for (int j = 0; j < net->n_hidden; j += LANES)
    *(floats *)(net->hidden + j) = NAME(dequantised)(net->dense_sums + j, net->dense_scales + j, scale, bias + j);
}

/* Weights as whole numbers, rounded to the nearest; 127 stands for the largest of an output. */
static inline integers NAME(whole)(const float *weights, const float *steps) {
  const floats x = *(const floats *)weights * *(const floats *)steps;
  const floats half = (floats)(((integers)x & INT32_MIN) | (integers)(0.5f - (floats){}));
  return __builtin_convertvector(x + half, integers);
}

/* Make the bytes of new parameters. Where an instruction set multiplies only numbers of one kind, signed or unsigned, its
   WEIGHT_OFFSET is 128: weights are stored as unsigned bytes, larger by that, and 128 times the inputs' sum is subtracted. */
void NAME(pack_bytes)(Network *net) {
  float *steps = net->hidden; /* long enough, and free between two observations */
  for (int l = 0; l < 3; l++) {
    Layer *layer = &net->layers[l];
    const int n_rows = layer->window * layer->window * layer->n_inputs, n = layer->n_outputs;
    NAME(measure)(layer->parameters, n_rows, n, layer->scales);
    NAME(divide)(layer->scales, n, 127, steps);
    for (int i = 0; i < n_rows; i += 4)
      for (int j = 0; j < n; j += LANES) {
        integers word = {};
        for (int k = 0; k < 4; k++) {
          const integers weights = NAME(whole)(layer->parameters + (i + k) * n + j, steps + j) + WEIGHT_OFFSET;
          word |= (weights & 255) << 8 * k;
        }
        *(integers *)(layer->weights + i * n + 4 * j) = word;
      }
    layer->source_scale = layer->target_full = -1;
  }
  NAME(scale_dense)(net, 127, steps);
  for (int i = 0; i < net->n_features; i++)
    for (int j = 0; j < net->n_hidden; j += LANES) {
      const float *weights = net->dense + i * net->n_hidden + j;
      __builtin_prefetch(weights + AHEAD_WEIGHTS);
      const bytes_of bytes = LOW_BYTES(NAME(whole)(weights, steps + j) + WEIGHT_OFFSET);
      /* Four of every sixteen, so that add_rows, which interleaves rows by sixteens, gets its sums in order. */
      const int group = j / (4 * LANES) * 4 * LANES, number = j % (4 * LANES) / LANES;
      int8_t *out = net->dense_weights + i * net->n_hidden + group + 4 * number;
      for (int k = 0; k < LANES / 4; k++) memcpy(out + 16 * k, (const char *)&bytes + 4 * k, 4);
    }
  memset(net->seen, 0, net->n_features);
  memset(net->dense_sums, 0, 4 * net->n_hidden);
}

void NAME(forward_bytes)(Network *net) {
  if (net->fresh) NAME(pack_bytes)(net);
  take_image(net);
  float scale = 1.0f / 255;
  for (int i = 0; i < 3; i++) scale = NAME(convolve_bytes)(&net->layers[i], scale, net->fresh, net->list);
  net->fresh = 0;
  NAME(dense_bytes)(net, scale);
  NAME(output)(net);
}

#ifdef MULTIPLY_ADD
#undef DOT
#endif
