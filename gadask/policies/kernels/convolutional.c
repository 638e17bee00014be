/* A step of the convolutional networks, for one observation: see network.py, which fills the structures below.

   An image is a grid of cells, each with the same number of values; a layer's patch is window × window cells, and
   patches begin every `step` cells. For the first layer a cell is a block of 4 × 4 pixels of all channels, for the
   others a pixel of the layer before. Grids include their border of zeros.

   Between two steps of a game most of the screen stays as it was. A flag tells of every cell whether it has changed, and
   a patch without a changed cell keeps its sums, so that the result is the same, bit for bit, as if all were computed.
   Every sum is taken in the order of its inputs with fused multiply-adds, whatever the width of the vectors: results do
   not depend on the processor. */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  int32_t rows, columns;                  /* of patches */
  int32_t window, step;                   /* cells */
  int32_t n_inputs;                       /* values of a cell of the source */
  int32_t n_outputs;                      /* values of a cell of the target: 32 or a multiple of 64 */
  int32_t source_columns, target_columns; /* cells in a row of the grids */
  int32_t relu;
  const void *source;                     /* the source's first cell: float32, or uint8 of a network of bytes */
  void *target;                           /* the target's first cell that is not border */
  const uint8_t *source_changed;          /* a flag a cell, in grids as those of source and target */
  uint8_t *target_changed;
  const float *parameters;                /* (inputs of a patch + 1) × outputs, the last row the bias */
  /* Of a network of bytes: */
  int8_t *weights;                        /* inputs of a patch / 4 × outputs × 4 */
  float *scales;                          /* what a weight of 1 stands for, by output */
  int32_t *sums;                          /* patches × outputs */
  float *values;                          /* patches × outputs */
} Layer;

typedef struct {
  const uint8_t *image; /* channels × height × width */
  int32_t channels, height, width;
  int32_t top, left;                  /* width of the border of zeros, pixels */
  int32_t block_rows, block_columns;
  int32_t fresh;                      /* nothing is known of the step before, nor of these weights */
  uint8_t *padded;                    /* channels × 4 block_rows × 4 block_columns */
  uint8_t *blocks;                    /* block_rows × block_columns × channels × 4 × 4 */
  float *scaled;                      /* the same, divided by 255; null in a network of bytes */
  uint8_t *changed;                   /* block_rows × block_columns */
  Layer layers[3];
  int32_t n_features, n_hidden, n_outputs; /* n_hidden is a multiple of 256 */
  const void *features;               /* the last layer's target */
  const float *dense;                 /* (n_features + 1) × n_hidden, the last row the bias */
  const float *output;                /* (n_hidden + 1) × n_outputs */
  float *hidden;                      /* n_hidden */
  float *result;                      /* n_outputs */
  int32_t *list;                      /* scratch: as many as patches of a layer, or n_features, and 64 more */
  /* Of a network of bytes: */
  int8_t *dense_weights;              /* n_hidden / 256 × n_features × 256 */
  float *dense_scales;                /* n_hidden */
  int32_t *dense_sums;                /* n_hidden */
} Network;

enum { MAX_PATCHES = 12, MAX_VECTORS = 4, AHEAD_ROWS = 4, AHEAD_GROUPS = 3, PART = 256 };

typedef uint32_t word __attribute__((aligned(1), may_alias));

/* Cut the image into blocks, note which have changed, and clear the flags of what the layers will compute. */
void take_image(Network *net) {
  const int width = 4 * net->block_columns, height = 4 * net->block_rows;
  const int rows = net->height < height - net->top ? net->height : height - net->top; /* no patch reaches the rest */
  const int columns = net->width < width - net->left ? net->width : width - net->left;
  for (int c = 0; c < net->channels; c++)
    for (int y = 0; y < rows; y++)
      memcpy(net->padded + (c * height + net->top + y) * width + net->left,
             net->image + (c * net->height + y) * net->width, columns);
  const int n_words = 4 * net->channels, size = 16 * net->channels;
  for (int r = 0; r < net->block_rows; r++)
    for (int b = 0; b < net->block_columns; b++) {
      const int at = r * net->block_columns + b;
      const word *pixels = (const word *)(net->padded + 4 * (r * width + b));
      word *block = (word *)(net->blocks + at * size);
      uint32_t differing = net->fresh;
      for (int i = 0; i < n_words; i++) {
        const uint32_t row = pixels[(i / 4 * height + i % 4) * width / 4];
        differing |= block[i] ^ row;
        block[i] = row;
      }
      net->changed[at] = differing != 0;
      if (differing && net->scaled)
        for (int i = 0; i < size; i++) net->scaled[at * size + i] = net->blocks[at * size + i] * (1.0f / 255);
    }
  for (int i = 0; i < 2; i++) {
    const Layer *layer = &net->layers[i];
    for (int r = 0; r < layer->rows; r++)
      memset(layer->target_changed + r * layer->target_columns, net->fresh, layer->columns);
  }
}

/* List the patches that hold a changed cell; returns their number. */
static int changed_patches(const Layer *layer, int32_t *list) {
  int n = 0;
  for (int r = 0; r < layer->rows; r++)
    for (int c = 0; c < layer->columns; c++) {
      const uint8_t *flags = layer->source_changed + layer->step * (r * layer->source_columns + c);
      int any = 0;
      for (int y = 0; y < layer->window; y++)
        for (int x = 0; x < layer->window; x++) any |= flags[y * layer->source_columns + x];
      list[n] = r * layer->columns + c;
      n += any;
    }
  return n;
}

/* Round to the nearest; 127 stands for the largest weight of an output. */
static inline int8_t rounded(float x) { return (int8_t)(int)(x + (x < 0 ? -0.5f : 0.5f)); }

#define JOIN_(name, suffix) name##_##suffix
#define JOIN(name, suffix) JOIN_(name, suffix)
#define NAME(name) JOIN(name, INSTRUCTION_SET)

#define LANES 16 /* floats in a vector */
#define INTEGERS __m512i
#define ZERO _mm512_setzero_si512
#define LOAD(from) _mm512_loadu_si512((const void *)(from))
#define STORE(to, vector) _mm512_storeu_si512((void *)(to), vector)
#define BROADCAST(bytes) _mm512_set1_epi32((int)(bytes))
#define LOW8 _mm512_unpacklo_epi8
#define HIGH8 _mm512_unpackhi_epi8
#define LOW16 _mm512_unpacklo_epi16
#define HIGH16 _mm512_unpackhi_epi16

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,prefer-vector-width=512")
#define INSTRUCTION_SET avx512vnni
#define DOT _mm512_dpbusd_epi32
#include "vectors.h"
#undef DOT
#undef INSTRUCTION_SET
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,fma,prefer-vector-width=512")
#define INSTRUCTION_SET avx512
#define MULTIPLY_ADD _mm512_madd_epi16
#include "vectors.h"
#undef MULTIPLY_ADD
#undef INSTRUCTION_SET
#pragma GCC pop_options

#undef LANES
#undef INTEGERS
#undef ZERO
#undef LOAD
#undef STORE
#undef BROADCAST
#undef LOW8
#undef HIGH8
#undef LOW16
#undef HIGH16
#define LANES 8
#define INTEGERS __m256i
#define ZERO _mm256_setzero_si256
#define LOAD(from) _mm256_loadu_si256((const __m256i *)(from))
#define STORE(to, vector) _mm256_storeu_si256((__m256i *)(to), vector)
#define BROADCAST(bytes) _mm256_set1_epi32((int)(bytes))
#define LOW8 _mm256_unpacklo_epi8
#define HIGH8 _mm256_unpackhi_epi8
#define LOW16 _mm256_unpacklo_epi16
#define HIGH16 _mm256_unpackhi_epi16

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define INSTRUCTION_SET avx2
#define MULTIPLY_ADD _mm256_madd_epi16
#include "vectors.h"
#pragma GCC pop_options

/* Return the suffix of the functions to call here, or null. */
const char *instruction_set(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return __builtin_cpu_supports("avx512vnni") ? "avx512vnni" : "avx512";
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "avx2" : 0;
}
