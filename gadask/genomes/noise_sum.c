/* Weighted sums of rows of the noise table: see noise_sum.py. */

#include <stdint.h>

/* The library holds its own text, for compiled.py. */
asm(".pushsection .rodata\n.globl text_of_noise_sum_c\ntext_of_noise_sum_c: .incbin \"" __FILE__ "\"\n.byte 0\n.popsection");

enum { COLUMNS = 2048 }; /* whose sums stay in the first-level cache */

/* sums[j] = weights[i] × noise[genes[i] + j], added up over i in order, for n_columns columns. A product of two floats is exact
   in float64: each addition rounds once, whether or not product and sum are one instruction. */
#define SUM(suffix, instructions)                                                                                        \
  __attribute__((target(instructions))) void sum_##suffix(                                                               \
      const float *noise, const int64_t *genes, const float *weights, int64_t n, int64_t n_columns, double *sums) {      \
    for (int64_t first = 0; first < n_columns; first += COLUMNS) {                                                       \
      const int64_t width = n_columns - first < COLUMNS ? n_columns - first : COLUMNS;                                   \
      double *out = sums + first;                                                                                        \
      for (int64_t j = 0; j < width; j++) out[j] = 0;                                                                    \
      for (int64_t i = 0; i < n; i++) {                                                                                  \
        const float *row = noise + genes[i] + first;                                                                     \
        const double weight = weights[i];                                                                                \
        for (int64_t j = 0; j < width; j++) out[j] += weight * (double)row[j];                                           \
      }                                                                                                                  \
    }                                                                                                                    \
  }

SUM(avx512, "avx512f,avx512vl,avx512dq,prefer-vector-width=512")
SUM(avx2, "avx2,fma")

/* Return the suffix of the function to call here, or null. */
const char *instruction_set(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return "avx512";
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "avx2" : 0;
}
