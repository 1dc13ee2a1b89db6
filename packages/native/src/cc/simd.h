// Portable vectors: the kernels are written once over `vf` (floats) and `vi` (ints and masks) and compiled once per instruction
// set. Only GCC/Clang vector extensions and a handful of intrinsics are used. Everything is in an anonymous namespace and no
// C++ standard template is included, so that no wide instruction can leak into a function shared with the portable object files.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <math.h>
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int W = 16;
#elif defined(__AVX2__)
constexpr int W = 8;
#else
constexpr int W = 4;
#endif
typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef double vd __attribute__((vector_size(W * 8)));
typedef float vfu __attribute__((vector_size(W * 4), aligned(4), may_alias));
typedef int32_t viu __attribute__((vector_size(W * 4), aligned(4), may_alias));
#define INLINE inline __attribute__((always_inline))

INLINE vf set1(float x) { return x - (vf){}; }
INLINE vi set1i(int32_t x) { return x - (vi){}; }
INLINE vf load(const float* p) { return *(const vfu*)p; }
INLINE void store(float* p, vf x) { *(vfu*)p = x; }
INLINE vf loadn(const float* p, int n) {  // the first n lanes, the rest zero
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
#else
  vf r = {};
  memcpy(&r, p, (size_t)n * 4);
  return r;
#endif
}
INLINE void storen(float* p, vf x, int n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)x);
#else
  memcpy(p, &x, (size_t)n * 4);
#endif
}
// One fused multiply-add where the machine has it; product and sum otherwise (the same on every path of one build).
INLINE vf fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
  return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__)
  return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON) && defined(__aarch64__)
  return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
  return a * b + c;
#endif
}
INLINE vf vsqrt(vf a) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)a);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
  return (vf)_mm_sqrt_ps((__m128)a);
#elif defined(__ARM_NEON) && defined(__aarch64__)
  return (vf)vsqrtq_f32((float32x4_t)a);
#else
  for (int i = 0; i < W; i++) a[i] = sqrtf(a[i]);
  return a;
#endif
}
INLINE vf sel(vi m, vf a, vf b) { return m ? a : b; }
INLINE vf bits(vi x) { return (vf)x; }
INLINE vi bits(vf x) { return (vi)x; }
INLINE vi toInt(vf x) { return __builtin_convertvector(x, vi); }
INLINE vf toFloat(vi x) { return __builtin_convertvector(x, vf); }
INLINE vf vabs(vf x) { return bits(bits(x) & set1i(0x7fffffff)); }
// Math.max and Math.min: NaN where either is NaN.
INLINE vf vmax(vf a, vf b) { return sel((a > b) | (a != a), a, b); }
INLINE vf vmin(vf a, vf b) { return sel((a < b) | (a != a), a, b); }
// maximum for running maxima, where NaN need not survive: one instruction.
INLINE vf fastmax(vf a, vf b) { return a > b ? a : b; }
// Nearest even, for |x| < 2^22.
INLINE vf nearest(vf x) {
  vf magic = set1(12582912.f);
  return (x + magic) - magic;
}
INLINE float hsum(vf x) {  // a fixed tree
  float t[W];
  store(t, x);
  for (int s = W / 2; s > 0; s >>= 1)
    for (int i = 0; i < s; i++) t[i] += t[i + s];
  return t[0];
}
INLINE float hmax(vf x) {
  float t[W];
  store(t, x);
  float m = t[0];
  for (int i = 1; i < W; i++) m = (t[i] > m || t[i] != t[i]) ? t[i] : m;
  return m;
}
INLINE float hmin(vf x) {
  float t[W];
  store(t, x);
  float m = t[0];
  for (int i = 1; i < W; i++) m = (t[i] < m || t[i] != t[i]) ? t[i] : m;
  return m;
}

INLINE vi iota() {
  vi r = {};
  for (int i = 0; i < W; i++) r[i] = i;
  return r;
}
// The first n lanes of x, `fill` in the rest.
INLINE vf keep(vf x, int n, float fill) { return sel(iota() < n, x, set1(fill)); }
// The largest lane, where NaN need not survive.
INLINE float rmax(vf x) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)x);
#else
  float t[W];
  store(t, x);
  for (int s = W / 2; s > 0; s >>= 1)
    for (int i = 0; i < s; i++) t[i] = t[i] > t[i + s] ? t[i] : t[i + s];
  return t[0];
#endif
}

// r and n with x = n·ln 2 + r, and e^r − 1; 1 ulp after Cephes' expf.
INLINE vf expm1Reduced(vf x, vf& n) {
  n = nearest(x * set1(1.44269504088896341f));
  vf r = fma(n, set1(-0.693359375f), x);
  r = fma(n, set1(2.12194440e-4f), r);
  vf p = set1(1.9875691500e-4f);
  p = fma(p, r, set1(1.3981999507e-3f));
  p = fma(p, r, set1(8.3334519073e-3f));
  p = fma(p, r, set1(4.1665795894e-2f));
  p = fma(p, r, set1(1.6666665459e-1f));
  p = fma(p, r, set1(5.0000001201e-1f));
  return fma(p, r * r, r);
}
INLINE vf pow2(vi n) { return bits((n + 127) << 23); }
INLINE vf vexp(vf x) {
  x = sel(x > 89.f, set1(89.f), x);
  x = sel(x < -106.f, set1(-106.f), x);
  vf n;
  vf q = expm1Reduced(x, n);
  vi k = toInt(n), h = k >> 1;  // in two factors, so that subnormal results and 2^128 come out right
  return ((q + 1.f) * pow2(h)) * pow2(k - h);
}
INLINE vf vexpm1(vf x) {
  vf c = sel(x > 87.f, set1(87.f), x);
  c = sel(c < -40.f, set1(-40.f), c);
  vf n;
  vf q = expm1Reduced(c, n);
  vf e = pow2(toInt(n));
  vf y = fma(e, q, e - 1.f);
  return sel(x > 87.f, vexp(x), sel(x == 0.f, x, y));
}
INLINE vf vlog(vf x) {
  vi sub = x < set1(1.17549435e-38f);
  vf s = sel(sub, x * 8388608.f, x);
  vi b = bits(s);
  vf e = toFloat(((b >> 23) & 255) - 126) - sel(sub, set1(23.f), set1(0.f));
  vf m = bits((b & set1i(0x7fffff)) | set1i(0x3f000000));
  vi low = m < set1(0.707106781186547524f);
  e = e - sel(low, set1(1.f), set1(0.f));
  m = sel(low, m + m, m) - 1.f;
  vf z = m * m;
  vf p = set1(7.0376836292e-2f);
  p = fma(p, m, set1(-1.1514610310e-1f));
  p = fma(p, m, set1(1.1676998740e-1f));
  p = fma(p, m, set1(-1.2420140846e-1f));
  p = fma(p, m, set1(1.4249322787e-1f));
  p = fma(p, m, set1(-1.6668057665e-1f));
  p = fma(p, m, set1(2.0000714765e-1f));
  p = fma(p, m, set1(-2.4999993993e-1f));
  p = fma(p, m, set1(3.3333331174e-1f));
  vf y = p * m * z;
  y = fma(e, set1(-2.12194440e-4f), y);
  y = fma(z, set1(-0.5f), y);
  vf r = fma(e, set1(0.693359375f), m + y);
  vf inf = set1(__builtin_inff());
  r = sel(x == inf, inf, r);
  r = sel(x == 0.f, -inf, r);
  return sel((x < 0.f) | (x != x), set1(__builtin_nanf("")), r);
}
INLINE vf vlog1p(vf x) {  // Kahan: the rounding of 1 + x cancels in the quotient
  vf u = 1.f + x, d = u - 1.f;
  vf y = vlog(u) * (x / d);
  return sel(d == 0.f, x, sel(u == set1(__builtin_inff()), u, y));
}
INLINE vf vsigmoid(vf x) { return 1.f / (1.f + vexp(-x)); }
INLINE vf vtanh(vf x) {
  vf a = vabs(x);
  a = sel(a > 10.f, set1(10.f), a);
  vf t = vexpm1(-2.f * a);
  vf y = -t / (2.f + t);
  return bits(bits(y) | (bits(x) & set1i((int32_t)0x80000000)));
}
INLINE vf vsoftplus(vf x) { return sel(x > 0.f, x, sel(x != x, x, set1(0.f))) + vlog1p(vexp(-vabs(x))); }
INLINE vf verf(vf x) {  // Abramowitz & Stegun 7.1.26, as in tfjs: absolute error 1.5e-7
  vf a = vabs(x), t = 1.f / fma(set1(0.3275911f), a, set1(1.f));
  vf p = set1(1.061405429f);
  p = fma(p, t, set1(-1.453152027f));
  p = fma(p, t, set1(1.421413741f));
  p = fma(p, t, set1(-0.284496736f));
  p = fma(p, t, set1(0.254829592f));
  vf y = 1.f - p * t * vexp(-a * a);
  return bits(bits(y) | (bits(x) & set1i((int32_t)0x80000000)));
}
INLINE vf vfloor(vf x) {
  vf r = nearest(x);
  r = r - sel(r > x, set1(1.f), set1(0.f));
  return sel(vabs(x) < 4194304.f, bits(bits(r) | (bits(x) & set1i((int32_t)0x80000000))), sel(vabs(x) < 8388608.f, toFloat(toInt(x)) - sel(toFloat(toInt(x)) > x, set1(1.f), set1(0.f)), x));
}
INLINE vf vround(vf x) {  // half to even
  vf a = vabs(x);
  vf r = (a + 8388608.f) - 8388608.f;
  return sel(a < 8388608.f, bits(bits(r) | (bits(x) & set1i((int32_t)0x80000000))), x);
}

}  // namespace
