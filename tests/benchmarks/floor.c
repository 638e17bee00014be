/* What bench_floor.py times: the least that a step must do, and nothing else. */

#include <immintrin.h>
#include <stdint.h>

typedef int32_t words __attribute__((vector_size(64)));
typedef float floats __attribute__((vector_size(64)));

/* Read n listed rows, with about as many bytes ahead fetched as the kernels do. */
int32_t read_rows(const char *rows, const int32_t *list, int n, int row_bytes) {
  const int ahead = (8192 + row_bytes - 1) / row_bytes;
  words all = {};
  for (int i = 0; i < n; i++) {
    const char *row = rows + (int64_t)list[i] * row_bytes;
    const char *later = rows + (int64_t)list[i + ahead < n ? i + ahead : n - 1] * row_bytes;
    for (int j = 0; j < row_bytes; j += 64) {
      __builtin_prefetch(later + j);
      all ^= *(const words *)(row + j);
    }
  }
  int32_t result = 0;
  for (int k = 0; k < 16; k++) result ^= all[k];
  return result;
}

enum { SUMS = 12 }; /* enough for the instruction's latency, and all in registers */

#define MULTIPLY(kind, instruction, products, x)                                              \
  kind sums[SUMS];                                                                            \
  const kind a = (x) - (kind){}, b = a + 1;                                                   \
  _Pragma("GCC unroll 12") for (int k = 0; k < SUMS; k++) sums[k] = (kind){};                 \
  for (int64_t i = 0; i < n; i += products * SUMS)                                            \
    _Pragma("GCC unroll 12") for (int k = 0; k < SUMS; k++)                                   \
        __asm__ volatile(instruction " %1, %2, %0" : "+v"(sums[k]) : "v"(a), "v"(b));         \
  kind all = {};                                                                              \
  _Pragma("GCC unroll 12") for (int k = 0; k < SUMS; k++) all += sums[k];                     \
  return all[0];

/* Take n products of floats, with operands that are in registers. */
float multiply_floats(int64_t n, float x) { MULTIPLY(floats, "vfmadd231ps", 16, x) }

/* The same of bytes. */
int32_t multiply_bytes(int64_t n, int32_t x) { MULTIPLY(words, "vpdpbusd", 64, x) }
