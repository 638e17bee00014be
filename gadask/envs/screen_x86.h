/* Screens for x86-64: AVX2, and AVX-512 with VBMI for the greys. Included by screen.c. */

KEEP_TEXT("text_of_screen_x86_h");

#ifdef __x86_64__
#include <immintrin.h>

__attribute__((target("avx512vbmi,avx512bw"))) TO_GREY(avx512vbmi) {
  const __m512i dark = _mm512_loadu_si512(greys), bright = _mm512_loadu_si512(greys + 64);
  const __m512i one = _mm512_set1_epi8(1), unknown = _mm512_set1_epi8((char)UNKNOWN);
  __mmask64 any_odd = 0, any_new = 0;
  for (int i = 0; i < n; i += 64) {
    const __mmask64 there = n - i < 64 ? (1ull << 32) - 1 : ~0ull;
    const __m512i colour = _mm512_maskz_loadu_epi8(there, colours + i);
    /* Of a place in the tables 7 bits count, so that the bit that comes from the next byte does not matter. */
    const __m512i grey = _mm512_permutex2var_epi8(dark, _mm512_srli_epi16(colour, 1), bright);
    const __mmask64 odd = there & _mm512_test_epi8_mask(colour, one);
    any_odd |= odd;
    any_new |= there & ~odd & _mm512_cmpeq_epi8_mask(grey, unknown);
    _mm512_mask_storeu_epi8(out + i, there, grey);
  }
  return (any_odd ? ODD : 0) + (any_new ? NEW : 0);
}

/* The same with eight tables of 16, each of which gives 0 for what is not in it: pshufb does where the highest bit is set. */
__attribute__((target("avx2"))) TO_GREY(avx2) {
  __m256i tables[8];
  for (int k = 0; k < 8; k++)
    tables[k] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(greys + 16 * k)));
  const __m256i beyond = _mm256_set1_epi8(0x70), seven_bits = _mm256_set1_epi8(0x7f);
  const __m256i unknown = _mm256_set1_epi8((char)UNKNOWN);
  __m256i any_odd = _mm256_setzero_si256(), any_new = any_odd; /* in the highest bits */
  for (int i = 0; i < n; i += 32) {
    const __m256i colour = _mm256_loadu_si256((const __m256i *)(colours + i));
    const __m256i place = _mm256_and_si256(_mm256_srli_epi16(colour, 1), seven_bits);
    __m256i grey = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
      const __m256i in_table = _mm256_sub_epi8(place, _mm256_set1_epi8(16 * k)); /* 0 … 15, or more without a sign */
      grey = _mm256_or_si256(grey, _mm256_shuffle_epi8(tables[k], _mm256_adds_epu8(in_table, beyond)));
    }
    const __m256i odd = _mm256_slli_epi16(colour, 7);
    any_odd = _mm256_or_si256(any_odd, odd);
    any_new = _mm256_or_si256(any_new, _mm256_andnot_si256(odd, _mm256_cmpeq_epi8(grey, unknown)));
    _mm256_storeu_si256((__m256i *)(out + i), grey);
  }
  return (_mm256_movemask_epi8(any_odd) ? ODD : 0) + (_mm256_movemask_epi8(any_new) ? NEW : 0);
}

__attribute__((target("avx2"))) void grey_of_larger(
    const uint8_t *colours, const uint8_t *others, int n, const uint8_t *pairs, uint8_t *greys) {
  for (int i = 0; i < n; i += 32) {
    const __m256i first = _mm256_loadu_si256((const __m256i *)(colours + i));
    const __m256i second = _mm256_loadu_si256((const __m256i *)(others + i));
    uint32_t differing = ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(first, second));
    for (; differing; differing &= differing - 1) {
      const int at = i + __builtin_ctz(differing);
      greys[at] = pairs[64 * (colours[at] & 254) + (others[at] >> 1)];
    }
  }
}

__attribute__((target("avx2"))) void interpolate(
    const Interpolating *how, const uint8_t *picture, const uint8_t *other, float *out) {
  const Between *rows = &how->rows, *columns = &how->columns;
  for (int r = 0; r < SIZE; r++, out += SIZE) {
    float both[2][PADDED];
    for (int k = 0; k < 2; k++) {
      const int at = WIDTH * (k ? rows->seconds[r] : rows->firsts[r]);
      float values[WIDTH];
      for (int j = 0; j < WIDTH; j += 16) {
        const __m128i ranks = _mm_max_epu8(_mm_loadu_si128((const __m128i *)(picture + at + j)),
                                           _mm_loadu_si128((const __m128i *)(other + at + j)));
        _mm256_storeu_ps(values + j, _mm256_i32gather_ps(how->values, _mm256_cvtepu8_epi32(ranks), 4));
        const __m128i high = _mm_unpackhi_epi64(ranks, ranks);
        _mm256_storeu_ps(values + j + 8, _mm256_i32gather_ps(how->values, _mm256_cvtepu8_epi32(high), 4));
      }
      for (int j = 0; j < PADDED; j += 8) {
        const __m256i firsts = _mm256_loadu_si256((const __m256i *)(columns->firsts + j));
        const __m256i seconds = _mm256_loadu_si256((const __m256i *)(columns->seconds + j));
        const __m256 first = _mm256_i32gather_ps(values, firsts, 4), second = _mm256_i32gather_ps(values, seconds, 4);
        const __m256 share = _mm256_loadu_ps(columns->shares + j);
        const __m256 way = _mm256_mul_ps(_mm256_sub_ps(second, first), share);
        _mm256_storeu_ps(both[k] + j, _mm256_add_ps(first, way));
      }
    }
    const __m256 share = _mm256_set1_ps(rows->shares[r]);
    float row[PADDED];
    for (int j = 0; j < PADDED; j += 8) {
      const __m256 first = _mm256_loadu_ps(both[0] + j), second = _mm256_loadu_ps(both[1] + j);
      _mm256_storeu_ps(row + j, _mm256_add_ps(first, _mm256_mul_ps(_mm256_sub_ps(second, first), share)));
    }
    memcpy(out, row, sizeof(float) * SIZE);
  }
}

__attribute__((target("avx2,fma"))) void shrink(
    const Shrinking *how, const uint8_t *picture, const uint8_t *other, uint8_t *out) {
  uint16_t narrow[how->height][PITCH]; /* as narrow as the result; what lies beyond it is computed for nothing */
  for (int k = 0; k < WINDOWS; k++) {
    const Window *window = &how->windows[k];
    const __m128i pairs0 = _mm_loadu_si128((const __m128i *)window->pairs[0]);
    const __m128i pairs1 = _mm_loadu_si128((const __m128i *)window->pairs[1]);
    const __m128i weights0 = _mm_loadu_si128((const __m128i *)window->weights[0]);
    const __m128i weights1 = _mm_loadu_si128((const __m128i *)window->weights[1]);
    for (int r = 0, at = window->first; r < how->height; r++, at += WIDTH) {
      const __m128i pixels = _mm_max_epu8(_mm_loadu_si128((const __m128i *)(picture + at)),
                                          _mm_loadu_si128((const __m128i *)(other + at)));
      const __m128i sums = _mm_add_epi16(_mm_maddubs_epi16(_mm_shuffle_epi8(pixels, pairs0), weights0),
                                         _mm_maddubs_epi16(_mm_shuffle_epi8(pixels, pairs1), weights1));
      _mm_storeu_si128((__m128i *)(narrow[r] + PER_WINDOW * k), sums); /* the eighth is the next window's */
    }
  }
  const __m256 total = _mm256_set1_ps(how->total);
  for (int r = 0; r < SIZE; r++, out += SIZE) {
    const float *weights = how->row_weights + r * how->n_rows;
    uint8_t row[PITCH];
    for (int j = 0; j < PITCH; j += 16) {
      __m256 low = _mm256_setzero_ps(), high = low;
      for (int k = 0; k < how->n_rows; k++) {
        const __m128i *from = (const __m128i *)(narrow[how->first_rows[r] + k] + j);
        const __m256 weight = _mm256_set1_ps(weights[k]);
        low = _mm256_fmadd_ps(weight, _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(from))), low);
        high = _mm256_fmadd_ps(weight, _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(from + 1))), high);
      }
      const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_div_ps(low, total)),
                                               _mm256_cvtps_epi32(_mm256_div_ps(high, total)));
      const __m256i in_order = _mm256_permute4x64_epi64(words, _MM_SHUFFLE(3, 1, 2, 0));
      _mm_storeu_si128((__m128i *)(row + j),
                       _mm_packus_epi16(_mm256_castsi256_si128(in_order), _mm256_extracti128_si256(in_order, 1)));
    }
    memcpy(out, row, SIZE);
  }
}

const char *instruction_set(void) {
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
  return __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512bw") ? "avx512vbmi" : "avx2";
}
#endif
