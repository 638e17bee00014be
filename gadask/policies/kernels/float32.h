/* The layers of a network of precision float32, included by vectors.h. */

#ifndef FLOAT32_H
#define FLOAT32_H
KEEP_TEXT("text_of_float32_h");
#endif

/* Compute listed patches, n_patches at a time: as many sums as the registers hold. Inputs that are 0 in all of these are left
   out, as are many behind a ReLU, and the dark of a screen; all are found before a sum is taken, since a loop over a few at a
   time ends where the processor cannot guess. */
static inline __attribute__((always_inline)) void NAME(convolve_tiles)(
    const Layer *layer, const int32_t *list, int n, const int n_patches, const int n_vectors) {
  const int n_outputs = layer->n_outputs, window = layer->window, segment = window * layer->n_inputs;
  const int row_values = layer->source_columns * layer->n_inputs;
  const float *bias = layer->parameters + window * segment * n_outputs;
  int32_t used[window * segment + AHEAD_INPUTS];
  int ends[window]; /* of the rows' parts of this list */
  for (int at = 0; at < n; at += n_patches) {
    const float *source[MAX_PATCHES];
    int target[MAX_PATCHES];
    for (int p = 0; p < n_patches; p++) {
      const int patch = list[at + p < n ? at + p : n - 1];
      const int row = patch / layer->columns, column = patch % layer->columns;
      source[p] = (const float *)layer->source + layer->step * (row * row_values + column * layer->n_inputs);
      target[p] = row * layer->target_columns + column;
    }
    int n_used = 0;
    for (int y = 0; y < window; ends[y++] = n_used)
      for (int i = 0; i < segment; i += LANES) {
        integers any = {};
#pragma GCC unroll 10
        for (int p = 0; p < n_patches; p++) any |= *(const integers *)(source[p] + y * row_values + i);
        n_used = NAME(append_places)(used, n_used, y * segment + i, NONZERO((INTEGERS)any));
      }
    for (int k = 0; k < AHEAD_INPUTS; k++) used[n_used + k] = k; /* the first of the next outputs, or of the next tile */
    for (int first = 0; first < n_outputs; first += LANES * n_vectors) {
      const float *weights = layer->parameters + first;
      floats sums[MAX_PATCHES][MAX_VECTORS];
#pragma GCC unroll 10
      for (int p = 0; p < n_patches; p++)
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++) sums[p][v] = *(const floats *)(bias + first + LANES * v);
      for (int y = 0, k = 0; y < window; y++) {
        const float *values[MAX_PATCHES];
#pragma GCC unroll 10
        for (int p = 0; p < n_patches; p++) values[p] = source[p] + y * (row_values - segment);
        for (; k < ends[y]; k++) {
          const int64_t i = used[k], ahead = used[k + AHEAD_INPUTS];
#pragma GCC unroll 4
          for (int v = 0; v < n_vectors; v++) {
            __builtin_prefetch(weights + ahead * n_outputs + LANES * v); /* which the processor cannot guess */
            const floats w = *(const floats *)(weights + i * n_outputs + LANES * v);
#pragma GCC unroll 10
            for (int p = 0; p < n_patches; p++) sums[p][v] += values[p][i] * w;
          }
        }
      }
#pragma GCC unroll 10
      for (int p = 0; p < n_patches; p++) {
        float *out = (float *)layer->target + target[p] * n_outputs + first;
        integers differing = {};
#pragma GCC unroll 4
        for (int v = 0; v < n_vectors; v++) {
          const floats sum = layer->relu ? NAME(positive)(sums[p][v]) : sums[p][v];
          differing |= sum != *(const floats *)(out + LANES * v);
          *(floats *)(out + LANES * v) = sum;
        }
        int any = 0;
        for (int k = 0; k < LANES; k++) any |= differing[k];
        layer->target_changed[target[p]] |= any != 0;
      }
    }
  }
}

void NAME(convolve)(const Layer *layer, int32_t *list) {
  const int n = changed_patches(layer, list);
  if (LANES == 4)
    NAME(convolve_tiles)(layer, list, n, 5, 4);
  else if (LANES == 8)
    NAME(convolve_tiles)(layer, list, n, 6, 2);
  else if (layer->n_outputs == 2 * LANES)
    NAME(convolve_tiles)(layer, list, n, 10, 2);
  else
    NAME(convolve_tiles)(layer, list, n, 6, 4);
}

/* sums += Σ features[i] dense_words[i] over the first n of the list; see pack_words. The rows that come later are fetched
   meanwhile, a line here and a line there: in one go the layer took a sixth longer. */
static inline __attribute__((always_inline)) void NAME(add_products)(
    const Network *net, const int32_t *list, const int n, float *sums) {
  const int part = net->n_hidden / 8, row_words = 5 * part;
  const int32_t *rows[4], *ahead[4];
  float inputs[4];
  for (int i = 0; i < n; i++) {
    inputs[i] = ((const float *)net->features)[list[i]];
    rows[i] = net->dense_words + list[i] * row_words;
    ahead[i] = net->dense_words + list[i + AHEAD_ROWS] * row_words;
  }
  for (int j = 0; j < part; j += LANES) {
    floats sum[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) sum[k] = *(const floats *)(sums + k * part + j);
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) {
      integers w[8];
#pragma GCC unroll 5
      for (int k = 0; k < 5; k++) {
        __builtin_prefetch(ahead[i] + k * part + j);
        w[k] = *(const integers *)(rows[i] + k * part + j);
        IN_REGISTER(w[k]); /* or GCC reads it again for every use, and the layer takes a tenth longer */
      }
      w[5] = w[0] << 20 | (w[1] << 12 & 0xff000);
      w[6] = w[2] << 20 | (w[3] << 12 & 0xff000);
      w[7] = w[4] << 20 | (w[1] << 8 & 0xf0000) | (w[3] << 4 & 0xf000);
#pragma GCC unroll 8
      for (int k = 0; k < 8; k++) sum[k] += inputs[i] * __builtin_convertvector(w[k], floats);
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) *(floats *)(sums + k * part + j) = sum[k];
  }
}

/* hidden = max(0, bias + Σ partial), where a cell's partial = Σ features[i] dense[i] over those of its features that are
   not 0. This layer reads the most, and reads only what cells with a changed feature need. Every other step takes the
   cells backwards, and so begins with the rows that the last one has left in the cache. */
void NAME(dense)(Network *net) {
  const Layer *last = &net->layers[2];
  const float *features = net->features, *bias = net->dense + net->n_features * net->n_hidden;
  const int n_hidden = net->n_hidden, n_cells = last->rows * last->columns, size = last->n_outputs;
  int32_t ends[n_cells]; /* of the cells' parts of the list */
  int n_list = 0;
  for (int k = 0; k < n_cells; k++) {
    const int cell = net->backwards ? n_cells - 1 - k : k;
    if (last->target_changed[cell])
      for (int i = cell * size; i < (cell + 1) * size; i += LANES)
        n_list = NAME(append_places)(net->list, n_list, i, NONZERO(LOAD(features + i)));
    ends[k] = n_list;
  }
  for (int i = 0; i < AHEAD_ROWS; i++) net->list[n_list + i] = net->n_features;
  for (int k = 0, at = 0; k < n_cells; k++) {
    const int cell = net->backwards ? n_cells - 1 - k : k;
    float *sums = net->partials + cell * n_hidden;
    if (last->target_changed[cell]) memset(sums, 0, 4 * n_hidden);
    for (; at + 4 <= ends[k]; at += 4) NAME(add_products)(net, net->list + at, 4, sums);
    for (; at < ends[k]; at++) NAME(add_products)(net, net->list + at, 1, sums);
  }
  net->backwards = !net->backwards;
  for (int first = 0; first < n_hidden; first += 8 * LANES) {
    floats sums[8] = {};
    for (int cell = 0; cell < n_cells; cell++)
#pragma GCC unroll 8
      for (int v = 0; v < 8; v++) sums[v] += *(const floats *)(net->partials + cell * n_hidden + first + LANES * v);
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
      const int j = first + LANES * v;
      *(floats *)(net->hidden + j) =
          NAME(positive)(sums[v] * *(const floats *)(net->dense_scales + j) + *(const floats *)(bias + j));
    }
  }
}
/* Make the words of new parameters, in which a weight is a multiple of 1 / FULL_WORD of its column's largest. Eight weights
   are five words: each the nearest number to one weight whose lowest 12 bits are such of the other three, which are
   rounded to their highest 20 bits. As a number a word is used as it is. */
void NAME(pack_words)(Network *net) {
  float *steps = net->hidden; /* long enough, and free between two observations */
  const int part = net->n_hidden / 8;
  NAME(scale_dense)(net, FULL_WORD, steps);
  const float *weights = net->dense;
  int32_t *words = net->dense_words;
  for (int i = 0; i < net->n_features; i++, weights += net->n_hidden, words += 5 * part)
    for (int j = 0; j < part; j += LANES) {
      integers w[8];
      for (int k = 0; k < 8; k++) {
        const int at = k * part + j;
        __builtin_prefetch(weights + at + AHEAD_WEIGHTS);
        w[k] = __builtin_convertvector(*(const floats *)(weights + at) * *(const floats *)(steps + at), integers);
      }
      for (int k = 5; k < 8; k++) w[k] = (w[k] + (1 << 11)) >> 12 & 0xfffff;
      const integers lowest[5] = {
          w[5] >> 8,
          (w[5] & 0xff) | (w[7] >> 4 & 0xf) << 8,
          w[6] >> 8,
          (w[6] & 0xff) | (w[7] & 0xf) << 8,
          w[7] >> 8,
      };
      for (int k = 0; k < 5; k++) {
        const integers step = (lowest[k] - w[k]) << 20 >> 20; /* to the nearest: -2048 … 2047 */
        *(integers *)(words + k * part + j) = w[k] + step;
      }
    }
}

void NAME(forward_float)(Network *net) {
  if (net->fresh) NAME(pack_words)(net);
  take_image(net);
  for (int i = 0; i < 3; i++) NAME(convolve)(&net->layers[i], net->list);
  net->fresh = 0;
  NAME(dense)(net);
  NAME(output)(net);
}
