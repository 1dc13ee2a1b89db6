// What products are made of: units along K, the rows whose sums fit into registers, and how a sum ends.
//
// Compiled as it is, a unit is a float. Compiled with PLUMB_PAIRS, for processors that have such an instruction, a unit is two neighbouring
// numbers of K in bfloat16, which one instruction multiplies and adds. gemm.cc and rows.cc are written in units and compiled for both.
#pragma once
#include "kernels.h"
#include "simd.h"

namespace plumb {
namespace {
#if defined(PLUMB_PAIRS)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
#endif
constexpr int U = kPairs ? 2 : 1;  // numbers of K in a unit
constexpr int NR = 2 * W;          // columns of a tile
static_assert(kPanel % NR == 0 && kPanel % (U * W) == 0, "a panel of a frozen matrix holds whole tiles");
// Rows whose sums, of two vectors each, fit into registers beside what is multiplied.
#if defined(__AVX512F__)
constexpr int MR = 14;
#elif defined(__AVX2__)
constexpr int MR = 6;
#elif defined(__aarch64__)
constexpr int MR = 12;
#else
constexpr int MR = 4;
#endif
constexpr int kFew = MR < 12 ? MR : 12;  // of those of a frozen matrix, which are widened there too

typedef int32_t bits32 __attribute__((may_alias));
INLINE vf spread(const float* p) { return kPairs ? bits(set1i(*(const bits32*)p)) : set1(*p); }
// c plus the product, or the two products, of each unit.
INLINE vf dot(vf a, vf b, vf c) {
#if !defined(PLUMB_PAIRS)
  return fma(a, b, c);
#elif defined(__AVX512BF16__)
  return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  return (vf)vbfdotq_f32((float32x4_t)c, (bfloat16x8_t)a, (bfloat16x8_t)b);
#else
#error "PLUMB_PAIRS needs a bfloat16 dot product"
#endif
}
// Units of 2W numbers that follow one another.
INLINE vf joined(vf low, vf high) {
#if !defined(PLUMB_PAIRS)
  (void)high;
  return low;
#elif defined(__AVX512BF16__)
  return (vf)_mm512_cvtne2ps_pbh((__m512)high, (__m512)low);
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  return (vf)vcvtq_high_bf16_f32(vcvtq_low_bf16_f32((float32x4_t)low), (float32x4_t)high);
#endif
}
// Units whose first numbers are in x and whose second ones are in y.
INLINE vf zipped(vf x, vf y) {
#if !defined(PLUMB_PAIRS)
  (void)y;
  return x;
#elif defined(__AVX512BF16__)
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return (vf)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x));
#elif defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  const uint16x8_t both = (uint16x8_t)vcvtq_high_bf16_f32(vcvtq_low_bf16_f32((float32x4_t)x), (float32x4_t)y);
  return (vf)vzip1q_u16(both, vextq_u16(both, both, 4));
#endif
}
// The nearest bfloat16 as a float, halves to even: what stands in for bfloat16 products where no instruction has them.
INLINE vf rounded(vf x) {
  vi b = bits(x);
  vi r = (b + set1i(0x7fff) + ((b >> 16) & 1)) & set1i((int32_t)0xffff0000);
  return sel(x != x, x, bits(r));
}
INLINE vf firstOf(vf pairs) { return bits(bits(pairs) << 16); }
INLINE vf secondOf(vf pairs) { return bits(bits(pairs) & set1i((int32_t)0xffff0000)); }
INLINE vf fromInt8(const int8_t* p) {
#if defined(__AVX512F__)
  return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
#elif defined(__AVX2__)
  return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#else
  vf r;
  for (int i = 0; i < W; i++) r[i] = (float)p[i];
  return r;
#endif
}
// W numbers of which only n, or none, may be there; then zeros.
INLINE vf some(const float* p, int64_t n) { return n >= W ? load(p) : n <= 0 ? (vf){} : loadn(p, (int)n); }
// W units from the `left` numbers at p.
INLINE vf unitsAt(const float* p, int64_t left, bool round) {
  if (kPairs) return joined(some(p, left), some(p + W, left - W));
  vf x = some(p, left);
  return round ? rounded(x) : x;
}
INLINE bool rounds(const Gemm& g) { return !kPairs && g.bf16; }

// The end of a sum: scale, bias, relu, and into C. Columns beyond the last stay as they are there.
template <int M, int NV>
INLINE void finish(vf (&acc)[M][NV], float* c, int64_t ldc, int columns, const float* scale, const float* bias, bool relu) {
  const int tail = columns - (NV - 1) * W;  // lanes of the last vector, 1..W
  if (scale) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      vf s = load(scale + j * W);
#pragma GCC unroll 16
      for (int i = 0; i < M; i++) acc[i][j] = acc[i][j] * s;
    }
  }
  if (bias) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      vf b = j < NV - 1 ? load(bias + j * W) : loadn(bias + j * W, tail);
#pragma GCC unroll 16
      for (int i = 0; i < M; i++) acc[i][j] = acc[i][j] + b;
    }
  }
  if (relu) {
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[i][j] = sel(acc[i][j] < 0.f, (vf){}, acc[i][j]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV - 1; j++) store(c + i * ldc + j * W, acc[i][j]);
    if (tail == W) store(c + i * ldc + (NV - 1) * W, acc[i][NV - 1]);
    else storen(c + i * ldc + (NV - 1) * W, acc[i][NV - 1], tail);
  }
}
}  // namespace
}  // namespace plumb
