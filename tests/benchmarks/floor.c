/* What bench_floor.py times: the least that a step must do, and nothing else. */

#include <immintrin.h>
#include <stdint.h>

typedef int32_t words __attribute__((vector_size(64)));
typedef float floats __attribute__((vector_size(64)));

/* Read n listed rows, with as many bytes ahead fetched as the kernels do. */
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

enum { SUMS = 16 }; /* enough for the instruction's latency */

/* Take n products of floats, with operands that are in registers. */
float multiply_floats(int64_t n, float x) {
  floats sums[SUMS] = {};
  const floats a = x - (floats){}, b = a + 1;
  for (int64_t i = 0; i < n; i += 16 * SUMS)
#pragma GCC unroll 16
    for (int k = 0; k < SUMS; k++) __asm__("vfmadd231ps %1, %2, %0" : "+v"(sums[k]) : "v"(a), "v"(b));
  float result = 0;
  for (int k = 0; k < SUMS; k++) result += sums[k][0];
  return result;
}

/* The same of bytes. */
int32_t multiply_bytes(int64_t n, int32_t x) {
  words sums[SUMS] = {};
  const words a = x - (words){}, b = a + 1;
  for (int64_t i = 0; i < n; i += 64 * SUMS)
#pragma GCC unroll 16
    for (int k = 0; k < SUMS; k++) __asm__("vpdpbusd %1, %2, %0" : "+v"(sums[k]) : "v"(a), "v"(b));
  int32_t result = 0;
  for (int k = 0; k < SUMS; k++) result += sums[k][0];
  return result;
}
