/* Screens for ARM in 64 bits: NEON, which every such processor has. Included by screen.c. */

KEEP_TEXT("text_of_screen_neon_h");

#ifdef __AARCH64EL__
#include <arm_neon.h>

static inline uint8x16x4_t table_of_64(const uint8_t *from) {
  return (uint8x16x4_t){{vld1q_u8(from), vld1q_u8(from + 16), vld1q_u8(from + 32), vld1q_u8(from + 48)}};
}

TO_GREY(neon) {
  const uint8x16x4_t dark = table_of_64(greys), bright = table_of_64(greys + 64);
  const uint8x16_t unknown = vdupq_n_u8(UNKNOWN);
  uint8x16_t any_odd = vdupq_n_u8(0), any_new = any_odd;
  for (int i = 0; i < n; i += 16) {
    const uint8x16_t colour = vld1q_u8(colours + i), place = vshrq_n_u8(colour, 1);
    /* A place that is not among a table's 64 gives 0, or in the second what the first gave. */
    const uint8x16_t grey = vqtbx4q_u8(vqtbl4q_u8(dark, place), bright, vsubq_u8(place, vdupq_n_u8(64)));
    const uint8x16_t odd = vtstq_u8(colour, vdupq_n_u8(1));
    any_odd = vorrq_u8(any_odd, odd);
    any_new = vorrq_u8(any_new, vbicq_u8(vceqq_u8(grey, unknown), odd));
    vst1q_u8(out + i, grey);
  }
  return (vmaxvq_u8(any_odd) ? ODD : 0) + (vmaxvq_u8(any_new) ? NEW : 0);
}

void grey_of_larger(const uint8_t *colours, const uint8_t *others, int n, const uint8_t *pairs, uint8_t *greys) {
  for (int i = 0; i < n; i += 16) {
    if (vminvq_u8(vceqq_u8(vld1q_u8(colours + i), vld1q_u8(others + i)))) continue;
    for (int at = i; at < i + 16; at++)
      if (colours[at] != others[at]) greys[at] = pairs[64 * (colours[at] & 254) + (others[at] >> 1)];
  }
}

void interpolate(const Interpolating *how, const uint8_t *picture, const uint8_t *other, float *out) {
  const Between *rows = &how->rows, *columns = &how->columns;
  for (int r = 0; r < SIZE; r++, out += SIZE) {
    float both[2][SIZE];
    for (int k = 0; k < 2; k++) {
      const int at = WIDTH * (k ? rows->seconds[r] : rows->firsts[r]);
      uint8_t ranks[WIDTH];
      float values[WIDTH];
      for (int j = 0; j < WIDTH; j += 16) vst1q_u8(ranks + j, vmaxq_u8(vld1q_u8(picture + at + j), vld1q_u8(other + at + j)));
      for (int j = 0; j < WIDTH; j++) values[j] = how->values[ranks[j]];
      for (int j = 0; j < SIZE; j++) {
        const float first = values[columns->firsts[j]], second = values[columns->seconds[j]];
        both[k][j] = first + (second - first) * columns->shares[j];
      }
    }
    for (int j = 0; j < SIZE; j++) out[j] = both[0][j] + (both[1][j] - both[0][j]) * rows->shares[r];
  }
}

/* Sums of pairs of products, of which each fits into 16 bits. */
static inline uint16x8_t pairs_of_products(uint8x16_t pixels, uint8x16_t weights) {
  return vpaddq_u16(vmull_u8(vget_low_u8(pixels), vget_low_u8(weights)), vmull_high_u8(pixels, weights));
}

void shrink(const Shrinking *how, const uint8_t *picture, const uint8_t *other, uint8_t *out) {
  uint16_t narrow[how->height][PITCH]; /* as narrow as the result; what lies beyond it is computed for nothing */
  for (int k = 0; k < WINDOWS; k++) {
    const Window *window = &how->windows[k];
    const uint8x16_t pairs0 = vld1q_u8(window->pairs[0]), pairs1 = vld1q_u8(window->pairs[1]);
    const uint8x16_t weights0 = vld1q_u8(window->weights[0]), weights1 = vld1q_u8(window->weights[1]);
    for (int r = 0, at = window->first; r < how->height; r++, at += WIDTH) {
      const uint8x16_t pixels = vmaxq_u8(vld1q_u8(picture + at), vld1q_u8(other + at));
      const uint16x8_t sums = vaddq_u16(pairs_of_products(vqtbl1q_u8(pixels, pairs0), weights0),
                                        pairs_of_products(vqtbl1q_u8(pixels, pairs1), weights1));
      vst1q_u16(narrow[r] + PER_WINDOW * k, sums); /* the eighth is the next window's */
    }
  }
  const float32x4_t total = vdupq_n_f32(how->total);
  for (int r = 0; r < SIZE; r++, out += SIZE) {
    const float *weights = how->row_weights + r * how->n_rows;
    uint8_t row[PITCH];
    for (int j = 0; j < PITCH; j += 8) {
      float32x4_t low = vdupq_n_f32(0), high = low;
      for (int k = 0; k < how->n_rows; k++) {
        const uint16x8_t from = vld1q_u16(narrow[how->first_rows[r] + k] + j);
        low = vfmaq_n_f32(low, vcvtq_f32_u32(vmovl_u16(vget_low_u16(from))), weights[k]);
        high = vfmaq_n_f32(high, vcvtq_f32_u32(vmovl_high_u16(from)), weights[k]);
      }
      const uint16x4_t words = vmovn_u32(vcvtnq_u32_f32(vdivq_f32(low, total)));
      vst1_u8(row + j, vmovn_u16(vmovn_high_u32(words, vcvtnq_u32_f32(vdivq_f32(high, total)))));
    }
    memcpy(out, row, SIZE);
  }
}

const char *instruction_set(void) { return "neon"; }
#endif
