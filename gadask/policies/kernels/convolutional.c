/* A step of the convolutional networks, for one observation: see network.py, which fills the structures below.

   An image is a grid of cells, each with the same number of values; a layer's patch is window × window cells, and
   patches begin every `step` cells. For the first layer a cell is a block of 4 × 4 pixels of all channels, for the
   others a pixel of the layer before. Grids include their border of zeros.

   Between two steps of a game most of the screen stays as it was. A flag tells of every cell whether it has changed, and
   a patch without a changed cell keeps its sums, so that the result is the same, bit for bit, as if all were computed, as
   long as parameters are finite.
   Every sum is taken in one order with fused multiply-adds, whatever the width of the vectors: in that of its inputs, and
   in the dense layer first over each pixel of the last convolution. So results do not depend on the processor. */

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

/* The library holds the text of its sources, so that compiled.py can tell whether it is compiled from those that lie there;
   the headers add theirs where they are first included. */
#define KEEP_TEXT(name) \
  asm(".pushsection .rodata\n.globl " name "\n" name ": .incbin \"" __FILE__ "\"\n.byte 0\n.popsection")
KEEP_TEXT("text_of_convolutional_c");

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
  float *largest;                         /* of a patch's values */
  float source_scale, target_full;        /* what 1 stood for in the source, and 255 in the target, at the last step */
} Layer;

typedef struct {
  const void *image; /* channels × height × width: bytes, or float32 from 0 to 1 */
  int32_t channels, height, width;
  int32_t is_float; /* the image's numbers are */
  int32_t top, left;                  /* width of the border of zeros, pixels */
  int32_t block_rows, block_columns;
  int32_t fresh;                      /* nothing is known of the step before, nor of these weights */
  int32_t measured;                   /* but that dense_scales has the largest |weight| of every column of dense */
  uint8_t *blocks;                    /* block_rows × block_columns × channels × 4 × 4 */
  float *scaled;                      /* the same, divided by 255, or of an image of floats; null in a network of bytes */
  uint8_t *changed;                   /* block_rows × block_columns */
  Layer layers[3];
  int32_t n_features, n_hidden, n_outputs; /* n_hidden is a multiple of 128 */
  const void *features;               /* the last layer's target */
  const float *dense;                 /* (n_features + 1) × n_hidden, the last row the bias */
  const float *output;                /* (n_hidden + 1) × n_outputs */
  int32_t *dense_words;               /* n_features × n_hidden × 5/8; this and partials null in a network of bytes */
  float *partials;                    /* the last layer's patches × n_hidden */
  float *dense_scales;                /* what 1 stands for in dense_words or dense_weights: n_hidden */
  float *hidden;                      /* n_hidden */
  float *result;                      /* n_outputs */
  int32_t *list;                      /* scratch: as many as patches of a layer, or n_features, and 64 before and after */
  int32_t backwards;                  /* it is the dense layer's turn to take its rows from the last to the first */
  /* Of a network of bytes: */
  int8_t *dense_weights;              /* n_features × n_hidden */
  int32_t *dense_sums;                /* n_hidden */
  uint8_t *seen;                      /* the features that dense_sums is of */
} Network;

enum { MAX_PATCHES = 10, MAX_VECTORS = 4, AHEAD_ROWS = 4, AHEAD_GROUPS = 3, AHEAD_INPUTS = 8, AHEAD_WEIGHTS = 1024 };

static const float FULL_WORD = (1u << 31) - (1 << 13); /* leaves room for rounding */

typedef uint32_t word __attribute__((aligned(1), may_alias));

/* Cut an image of floats into blocks, as take_bytes does, with no bytes in between. */
static void take_floats(Network *net) {
  const int width = 4 * net->block_columns;
  const int columns = net->width < width - net->left ? net->width : width - net->left; /* no patch reaches the rest */
  float strip[width];
  memset(strip, 0, sizeof strip);
  const int size = 16 * net->channels;
  for (int r = 0; r < net->block_rows; r++) {
    uint8_t *changed = net->changed + r * net->block_columns;
    for (int c = 0; c < net->channels; c++)
      for (int i = 0; i < 4; i++) {
        const int y = 4 * r + i - net->top;
        if (y >= 0 && y < net->height)
          memcpy(strip + net->left, (const float *)net->image + (c * net->height + y) * net->width, 4 * columns);
        else
          memset(strip + net->left, 0, 4 * columns);
        float *part = net->scaled + r * net->block_columns * size + 16 * c + 4 * i;
        for (int b = 0; b < net->block_columns; b++, part += size) {
          const __m128i found = _mm_loadu_si128((const __m128i *)(strip + 4 * b));
          const __m128i before = _mm_loadu_si128((const __m128i *)part);
          changed[b] |= _mm_movemask_epi8(_mm_cmpeq_epi8(before, found)) != 0xffff;
          _mm_storeu_si128((__m128i *)part, found);
        }
      }
  }
}

/* Write n pixels of the image from the given one on as bytes; floats to the nearest, halves up. */
static inline void copy_bytes(const Network *net, uint8_t *to, int from, int n) {
  if (net->is_float)
    for (int k = 0; k < n; k++) to[k] = (uint8_t)(((const float *)net->image)[from + k] * 255 + 0.5f);
  else
    memcpy(to, (const uint8_t *)net->image + from, n);
}

/* Cut an image into blocks of bytes. */
static void take_bytes(Network *net) {
  const int width = 4 * net->block_columns;
  const int columns = net->width < width - net->left ? net->width : width - net->left; /* no patch reaches the rest */
  uint8_t strip[4][width + 16]; /* four rows with their border */
  memset(strip, 0, sizeof strip);
  const int size = 16 * net->channels;
  for (int r = 0; r < net->block_rows; r++) {
    uint8_t *changed = net->changed + r * net->block_columns;
    for (int c = 0; c < net->channels; c++) {
      for (int i = 0; i < 4; i++) {
        const int y = 4 * r + i - net->top;
        if (y >= 0 && y < net->height)
          copy_bytes(net, strip[i] + net->left, (c * net->height + y) * net->width, columns);
        else
          memset(strip[i] + net->left, 0, columns);
      }
      uint8_t *part = net->blocks + r * net->block_columns * size + 16 * c;
      for (int b = 0; b < net->block_columns; b += 4) { /* four rows of four blocks, a word each */
        const __m128i y0 = _mm_loadu_si128((const __m128i *)(strip[0] + 4 * b));
        const __m128i y1 = _mm_loadu_si128((const __m128i *)(strip[1] + 4 * b));
        const __m128i y2 = _mm_loadu_si128((const __m128i *)(strip[2] + 4 * b));
        const __m128i y3 = _mm_loadu_si128((const __m128i *)(strip[3] + 4 * b));
        const __m128i low01 = _mm_unpacklo_epi32(y0, y1), low23 = _mm_unpacklo_epi32(y2, y3);
        const __m128i high01 = _mm_unpackhi_epi32(y0, y1), high23 = _mm_unpackhi_epi32(y2, y3);
        const __m128i found[4] = {_mm_unpacklo_epi64(low01, low23), _mm_unpackhi_epi64(low01, low23),
                                  _mm_unpacklo_epi64(high01, high23), _mm_unpackhi_epi64(high01, high23)};
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++, part += size) {
          if (b + i >= net->block_columns) break;
          const __m128i before = _mm_loadu_si128((const __m128i *)part);
          changed[b + i] |= _mm_movemask_epi8(_mm_cmpeq_epi8(before, found[i])) != 0xffff;
          _mm_storeu_si128((__m128i *)part, found[i]);
        }
      }
    }
    if (net->scaled)
      for (int b = 0; b < net->block_columns; b++)
        if (changed[b])
          for (int i = 0, at = (r * net->block_columns + b) * size; i < size; i++, at++)
            net->scaled[at] = net->blocks[at] * (1.0f / 255);
  }
}

/* Cut the image into blocks, note which have changed, and clear the flags of what the layers will compute. */
void take_image(Network *net) {
  memset(net->changed, net->fresh, net->block_rows * net->block_columns);
  if (net->is_float && net->scaled)
    take_floats(net);
  else
    take_bytes(net);
  for (int i = 0; i < 3; i++) {
    const Layer *layer = &net->layers[i];
    for (int r = 0; r < layer->rows; r++)
      memset(layer->target_changed + r * layer->target_columns, net->fresh, layer->columns);
  }
}

/* List the patches that hold a changed cell; returns their number. */
static int changed_patches(const Layer *layer, int32_t *list) {
  const int columns = layer->source_columns, window = layer->window, step = layer->step;
  const int n_cells = (step * (layer->rows - 1) + window) * columns; /* from the first to the last that a patch holds */
  const uint8_t *changed = layer->source_changed;
  uint8_t below[n_cells], around[n_cells]; /* whether there is one in this cell's column of a window, in its window */
  memcpy(below, changed, n_cells);
  for (int y = 1; y < window; y++)
    for (int k = 0; k < n_cells - y * columns; k++) below[k] |= changed[k + y * columns];
  memcpy(around, below, n_cells);
  for (int x = 1; x < window; x++)
    for (int k = 0; k < n_cells - x; k++) around[k] |= below[k + x];
  int n = 0;
  for (int r = 0, patch = 0; r < layer->rows; r++)
    for (int c = 0; c < layer->columns; c++) {
      list[n] = patch++;
      n += around[step * (r * columns + c)] != 0;
    }
  return n;
}

static int all_patches(const Layer *layer, int32_t *list) {
  const int n = layer->rows * layer->columns;
  for (int p = 0; p < n; p++) list[p] = p;
  return n;
}

static inline float float_of(int32_t bits) {
  float result;
  memcpy(&result, &bits, 4);
  return result;
}

/* Return the largest of n numbers that are not negative: these are in the order of their bits. */
static inline float largest_of(const float *values, int n) {
  typedef int32_t __attribute__((may_alias)) bits;
  int32_t largest = 0;
  for (int i = 0; i < n; i++) {
    const int32_t value = ((const bits *)values)[i];
    largest = value > largest ? value : largest;
  }
  return float_of(largest);
}

/* Round up to a power of two, so that a layer's scale stays for many steps, and with it the bytes of what has not changed. */
static inline float rounded_up(float x) {
  enum { FRACTION = (1 << 23) - 1 };
  int32_t bits;
  memcpy(&bits, &x, 4);
  return float_of((bits + FRACTION) & ~FRACTION);
}

#define JOIN_(name, suffix) name##_##suffix
#define JOIN(name, suffix) JOIN_(name, suffix)
#define NAME(name) JOIN(name, INSTRUCTION_SET)

#define LANES 16 /* floats in a vector */
#define INTEGERS __m512i
#define ZERO _mm512_setzero_si512
#define LOAD(from) _mm512_loadu_si512((const void *)(from))
#define STORE(to, vector) _mm512_storeu_si512((void *)(to), vector)
#define STREAM(to, vector) _mm512_stream_si512((void *)(to), vector)
#define BROADCAST(bytes) _mm512_set1_epi32((int)(bytes))
#define LARGEST _mm512_reduce_max_epi32
#define NONZERO(vector) _mm512_test_epi32_mask(vector, vector)
#define LOW8 _mm512_unpacklo_epi8
#define HIGH8 _mm512_unpackhi_epi8
#define LOW16 _mm512_unpacklo_epi16
#define HIGH16 _mm512_unpackhi_epi16
#define LARGER(a, b) _mm_cmpgt_epu8_mask(_mm_loadu_si128((const __m128i *)(a)), _mm_loadu_si128((const __m128i *)(b)))
#define COUNTING _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define STORE_PLACES(to, first, mask) \
  STORE(to, _mm512_maskz_compress_epi32(mask, _mm512_add_epi32(_mm512_set1_epi32(first), COUNTING)))

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,fma,prefer-vector-width=512")
#define INSTRUCTION_SET avx512vnni
#define DOT _mm512_dpbusd_epi32
#include "vectors.h"
#undef KEEP_TEXT
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
#undef STREAM
#undef BROADCAST
#undef LARGEST
#undef NONZERO
#undef LOW8
#undef HIGH8
#undef LOW16
#undef HIGH16
#undef LARGER
#undef COUNTING
#undef STORE_PLACES
#define LANES 8
#define INTEGERS __m256i
#define ZERO _mm256_setzero_si256
#define LOAD(from) _mm256_loadu_si256((const __m256i *)(from))
#define STORE(to, vector) _mm256_storeu_si256((__m256i *)(to), vector)
#define STREAM(to, vector) _mm256_stream_si256((__m256i *)(to), vector)
#define BROADCAST(bytes) _mm256_set1_epi32((int)(bytes))
#define LARGEST largest_of_eight
#define NONZERO(vector) \
  (0xff ^ _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(vector, _mm256_setzero_si256()))))
#define LOW8 _mm256_unpacklo_epi8
#define HIGH8 _mm256_unpackhi_epi8
#define LOW16 _mm256_unpacklo_epi16
#define HIGH16 _mm256_unpackhi_epi16
#define LARGER larger_of_eight
#define STORE_PLACES store_places_of_eight

#pragma GCC push_options
#pragma GCC target("avx2,fma")
static inline int32_t largest_of_eight(__m256i x) {
  __m128i most = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  most = _mm_max_epi32(most, _mm_shuffle_epi32(most, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(most, _mm_shuffle_epi32(most, 0xb1)));
}
static inline uint32_t larger_of_eight(const uint8_t *a, const uint8_t *b) {
  const __m128i y = _mm_loadl_epi64((const __m128i *)b), most = _mm_max_epu8(_mm_loadl_epi64((const __m128i *)a), y);
  return 0xff & ~_mm_movemask_epi8(_mm_cmpeq_epi8(most, y));
}
static inline void store_places_of_eight(int32_t *to, int first, uint32_t mask) {
  for (int k = 0; k < 8; to += mask >> k++ & 1) *to = first + k;
}
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
