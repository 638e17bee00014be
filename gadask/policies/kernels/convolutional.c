/* A step of the convolutional networks, for one observation: see network.py, which fills the structures below.

   An image is a grid of cells, each with the same number of values; a layer's patch is window × window cells, and
   patches begin every `step` cells. For the first layer a cell is a block of 4 × 4 pixels of all channels, for the
   others a pixel of the layer before. Grids include their border of zeros.

   Between two steps of a game most of the screen stays as it was. A flag tells of every cell whether it has changed, and
   a patch without a changed cell keeps its sums, so that the result is the same, bit for bit, as if all were computed, as
   long as parameters are finite.
   Every sum is taken in one order with fused multiply-adds, whatever the width of the vectors: in that of its inputs, and
   in the dense layer first over each pixel of the last convolution. So results do not depend on the processor. */

#if !defined(__x86_64__) && !defined(__AARCH64EL__)
#error "there are kernels for x86-64 and for ARM in 64 bits"
#endif

#include <stdint.h>
#include <string.h>

/* The library holds the text of its sources, so that compiled.py can tell whether it is compiled from those that lie there;
   each header adds its own. */
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
  int8_t *weights;                        /* inputs of a patch / 4 × outputs × 4, plus WEIGHT_OFFSET */
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
  int8_t *dense_weights;              /* n_features × n_hidden, plus WEIGHT_OFFSET */
  int32_t *dense_sums;                /* n_hidden */
  uint8_t *seen;                      /* the features that dense_sums is of */
} Network;

enum { MAX_PATCHES = 10, MAX_VECTORS = 4, AHEAD_ROWS = 4, AHEAD_GROUPS = 3, AHEAD_INPUTS = 8, AHEAD_WEIGHTS = 1024 };

static const float FULL_WORD = (1u << 31) - (1 << 13); /* leaves room for rounding */

typedef uint32_t word __attribute__((aligned(1), may_alias));

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

/* The functions of the library, for each instruction set; the header of the other architecture is empty. */
#include "x86.h"
#include "neon.h"
