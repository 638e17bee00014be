/* The kernels for ARM in 64 bits: NEON with dot products of bytes (ARMv8.2-A and later), and without. Included by
   convolutional.c. */

KEEP_TEXT("text_of_neon_h");

#ifdef __AARCH64EL__
#include <arm_neon.h>
#include <sys/auxv.h>

#define PIXELS int32x4_t /* sixteen bytes, or four floats */
typedef int32_t pixels __attribute__((vector_size(16), aligned(1), may_alias));
#define LOAD_PIXELS(from) ((PIXELS) * (const pixels *)(from))
#define STORE_PIXELS(to, vector) (*(pixels *)(to) = (pixels)(vector))
#define SAME_PIXELS(a, b) (vminvq_u32(vceqq_s32(a, b)) != 0)
#define LOW32 vzip1q_s32
#define HIGH32 vzip2q_s32
#define LOW64(a, b) (PIXELS) vzip1q_s64((int64x2_t)(a), (int64x2_t)(b))
#define HIGH64(a, b) (PIXELS) vzip2q_s64((int64x2_t)(a), (int64x2_t)(b))

#include "image.h"

/* The lowest byte of each number. */
static inline uint32_t low_bytes(uint32x4_t numbers) {
  const uint16x4_t halves = vmovn_u32(numbers);
  return vget_lane_u32((uint32x2_t)vmovn_u16(vcombine_u16(halves, halves)), 0);
}

static inline uint32_t mask_of_four(uint32x4_t whether) {
  static const uint32_t bits[4] = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(whether, vld1q_u32(bits)));
}

static inline uint32_t larger_of_four(const uint8_t *a, const uint8_t *b) {
  static const uint8_t bits[8] = {1, 2, 4, 8}; /* each number is there twice */
  const uint8x8_t x = (uint8x8_t)vdup_n_u32(*(const word *)a), y = (uint8x8_t)vdup_n_u32(*(const word *)b);
  return vaddv_u8(vand_u8(vcgt_u8(x, y), vld1_u8(bits)));
}

static inline int32x4_t places_of_four(int first, uint32_t mask) {
  static const int32_t places[16][4] = {
      {0},    {0},    {1},    {0, 1},    {2},    {0, 2},    {1, 2},    {0, 1, 2},
      {3},    {0, 3}, {1, 3}, {0, 1, 3}, {2, 3}, {0, 2, 3}, {1, 2, 3}, {0, 1, 2, 3},
  };
  return vaddq_s32(vdupq_n_s32(first), vld1q_s32(places[mask]));
}

#define IN_REGISTER(vector) asm("" : "+w"(vector))
#define LOW_BYTES(vector) (bytes_of) low_bytes((uint32x4_t)(vector))
#define WEIGHT_OFFSET 128 /* of a signed and an unsigned byte ARMv8.2-A has no products */
#define LANES 4           /* floats in a vector */
#define INTEGERS int32x4_t
#define ZERO() vdupq_n_s32(0)
#define LOAD(from) ((INTEGERS) * (const integers *)(from))
#define STORE(to, vector) (*(integers *)(to) = (integers)(vector))
#define STREAM STORE /* a processor that sees whole lines written does not read them before */
#define STREAMED()
#define BROADCAST(bytes) vdupq_n_s32((int32_t)(bytes))
#define LARGEST vmaxvq_s32
#define NONZERO(vector) mask_of_four(vtstq_s32(vector, vector))
#define LOW8(a, b) (INTEGERS) vzip1q_s8((int8x16_t)(a), (int8x16_t)(b))
#define HIGH8(a, b) (INTEGERS) vzip2q_s8((int8x16_t)(a), (int8x16_t)(b))
#define LOW16(a, b) (INTEGERS) vzip1q_s16((int16x8_t)(a), (int16x8_t)(b))
#define HIGH16(a, b) (INTEGERS) vzip2q_s16((int16x8_t)(a), (int16x8_t)(b))
#define LARGER larger_of_four
#define STORE_PLACES(to, first, mask) STORE(to, places_of_four(first, mask))

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#define INSTRUCTION_SET neon_dotprod
#define DOT(sums, bytes, weights) (INTEGERS) vdotq_u32((uint32x4_t)(sums), (uint8x16_t)(bytes), (uint8x16_t)(weights))
#include "vectors.h"
#undef DOT
#undef INSTRUCTION_SET
#pragma GCC pop_options

static inline int32x4_t dot_of_products(int32x4_t sums, uint8x16_t bytes, uint8x16_t weights) {
  const uint16x8_t low = vmull_u8(vget_low_u8(bytes), vget_low_u8(weights)), high = vmull_high_u8(bytes, weights);
  return (int32x4_t)vaddq_u32((uint32x4_t)sums, vpaddq_u32(vpaddlq_u16(low), vpaddlq_u16(high)));
}
#define INSTRUCTION_SET neon
#define DOT(sums, bytes, weights) dot_of_products(sums, (uint8x16_t)(bytes), (uint8x16_t)(weights))
#include "vectors.h"

/* Return the suffix of the functions to call here. */
const char *instruction_set(void) { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP ? "neon_dotprod" : "neon"; }
#endif
