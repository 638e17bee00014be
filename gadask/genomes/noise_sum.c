/* Weighted sums of rows of the noise table: see noise_sum.py. */

#include <stdint.h>

/* The library holds its own text, for compiled.py. */
asm(".pushsection .rodata\n.globl text_of_noise_sum_c\ntext_of_noise_sum_c: .incbin \"" __FILE__ "\"\n.byte 0\n.popsection");

enum { COLUMNS = 4096, ROWS = 8 }; /* sums that stay close to the core, and rows that are added in one pass over them */

/* sums[j] = weights[i] × noise[genes[i] + j], added up over i in order, for n_columns columns. A product of two floats is exact
   in float64: each addition rounds once, whether or not product and sum are one instruction. */
#define SUM(suffix, instructions)                                                                                        \
  __attribute__((target(instructions))) static inline void add_##suffix(                                                 \
      const float *const *rows, const double *weights, int n, int64_t width, double *restrict out) {                     \
    for (int64_t j = 0; j < width; j++) {                                                                                \
      double sum = out[j];                                                                                               \
      for (int k = 0; k < n; k++) sum += weights[k] * (double)rows[k][j];                                                \
      out[j] = sum;                                                                                                      \
    }                                                                                                                    \
  }                                                                                                                      \
  __attribute__((target(instructions))) void sum_##suffix(                                                               \
      const float *noise, const int64_t *genes, const float *weights, int64_t n, int64_t n_columns, double *sums) {      \
    for (int64_t first = 0; first < n_columns; first += COLUMNS) {                                                       \
      const int64_t width = n_columns - first < COLUMNS ? n_columns - first : COLUMNS;                                   \
      for (int64_t j = 0; j < width; j++) sums[first + j] = 0;                                                           \
      for (int64_t i = 0; i < n; i += ROWS) {                                                                            \
        const float *rows[ROWS];                                                                                         \
        double doubles[ROWS];                                                                                            \
        const int there = n - i < ROWS ? (int)(n - i) : ROWS;                                                            \
        for (int k = 0; k < there; k++) rows[k] = noise + genes[i + k] + first, doubles[k] = weights[i + k];             \
        if (there == ROWS)                                                                                               \
          add_##suffix(rows, doubles, ROWS, width, sums + first);                                                        \
        else                                                                                                             \
          for (int k = 0; k < there; k++) add_##suffix(rows + k, doubles + k, 1, width, sums + first);                   \
      }                                                                                                                  \
    }                                                                                                                    \
  }

#ifdef __x86_64__
SUM(avx512, "avx512f,avx512vl,avx512dq,prefer-vector-width=512")
SUM(avx2, "avx2,fma")

/* Return the suffix of the function to call here, or null. */
const char *instruction_set(void) {
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    return "avx512";
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? "avx2" : 0;
}
#elif defined(__AARCH64EL__)
SUM(neon, "arch=armv8-a")

const char *instruction_set(void) { return "neon"; }
#else
#error "there are sums for x86-64 and for ARM in 64 bits"
#endif
