/* The kernels for x86-64: AVX-512 with and without VNNI, and AVX2. Included by convolutional.c. */

KEEP_TEXT("text_of_x86_h");

#ifdef __x86_64__
#include <immintrin.h>

#define PIXELS __m128i /* sixteen bytes, or four floats */
#define LOAD_PIXELS(from) _mm_loadu_si128((const __m128i *)(from))
#define STORE_PIXELS(to, pixels) _mm_storeu_si128((__m128i *)(to), pixels)
#define SAME_PIXELS(a, b) (_mm_movemask_epi8(_mm_cmpeq_epi8(a, b)) == 0xffff)
#define LOW32 _mm_unpacklo_epi32
#define HIGH32 _mm_unpackhi_epi32
#define LOW64 _mm_unpacklo_epi64
#define HIGH64 _mm_unpackhi_epi64
#include "image.h"

#define IN_REGISTER(vector) asm("" : "+v"(vector))
#define STREAMED() _mm_sfence()
#define LOW_BYTES(vector) __builtin_convertvector(vector, bytes_of)
#define WEIGHT_OFFSET 0

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
#endif
