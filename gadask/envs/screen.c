/* What the emulator shows in grey, and shrunk: see screen_compiled.py, which makes the tables. */

#if !defined(__x86_64__) && !defined(__AARCH64EL__)
#error "there are screens for x86-64 and for ARM in 64 bits"
#endif

#include <stdint.h>
#include <string.h>

/* The library holds the text of its sources, for compiled.py. */
#define KEEP_TEXT(name) \
  asm(".pushsection .rodata\n.globl " name "\n" name ": .incbin \"" __FILE__ "\"\n.byte 0\n.popsection")
KEEP_TEXT("text_of_screen_c");

enum { WIDTH = 160, SIZE = 84, PER_WINDOW = 7, WINDOWS = SIZE / PER_WINDOW, PITCH = 96, PADDED = 88, UNKNOWN = 255, ODD = 1, NEW = 2 };

/* Seven pixels in a row of the result, which lie above at most 16 of the source, each above at most four: two pairs of places
   among the 16, 0x80 for none, and of weights. */
typedef struct {
  int32_t first; /* of the 16 */
  uint8_t pairs[2][16], weights[2][16];
} Window;

typedef struct {
  int32_t height;            /* of the emulator's picture */
  int32_t n_rows;            /* that a row of the result may lie above */
  const int32_t *first_rows; /* SIZE */
  const float *row_weights;  /* SIZE × n_rows */
  const Window *windows;     /* WINDOWS */
  float total;               /* weight of all that a pixel of the result lies above */
} Shrinking;

/* Along one axis a point of the result lies between two places of the source, `share` of the way from the first. */
typedef struct {
  const int32_t *firsts, *seconds; /* rows: SIZE of each; columns: PADDED, as shares, whose last are not used */
  const float *shares;
} Between;

typedef struct {
  Between rows, columns;
  const float *values; /* what a byte of the pictures stands for, in ascending order: 256 */
} Interpolating;

/* What the library does, in the header of each architecture; that of the other is empty. The first has an instruction set's
   suffix. */

/* Look up the grey of n colours, a multiple of 32, which are even: greys[colour / 2]. `out` may be `colours`. Returns ODD if
   there is an odd colour, plus NEW if there is an even one with the grey that stands for an unknown one. */
#define TO_GREY(suffix) int to_grey_##suffix(const uint8_t *colours, int n, const uint8_t *greys, uint8_t *out)

/* Where two pictures of n even colours, n a multiple of 32, differ, replace the grey of the first's colour by that of the larger
   red, green and blue of both: pairs[128 × colour / 2 + other / 2]. */
void grey_of_larger(const uint8_t *colours, const uint8_t *others, int n, const uint8_t *pairs, uint8_t *greys);

/* Write the larger of two pictures between its pixels: along each row first, then along the columns. Without fused
   multiply-adds, as numpy computes it. */
void interpolate(const Interpolating *how, const uint8_t *picture, const uint8_t *other, float *out);

/* Write the mean of the larger of two pictures over each pixel of the result; halves are rounded to even. Of up to 1,600 rows
   all sums are whole numbers below 2^24, so that their order does not matter. */
void shrink(const Shrinking *how, const uint8_t *picture, const uint8_t *other, uint8_t *out);

/* Return the suffix of the `to_grey` to call here, or null. */
const char *instruction_set(void);

#include "screen_x86.h"
#include "screen_neon.h"
