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
// A store past the caches, to an address that is a multiple of the vector's size; what it saves is the read of the old line.
INLINE void stream(float* p, vf x) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, (__m512)x);
#elif defined(__AVX2__)
  _mm256_stream_ps(p, (__m256)x);
#elif defined(__SSE2__)
  _mm_stream_ps(p, (__m128)x);
#else
  store(p, x);
#endif
}
INLINE void streamed() {  // after the last of them, before another thread may look
#if defined(__SSE2__)
  _mm_sfence();
#endif
}
// Brings a line nearer; any address is allowed.
INLINE void prefetch(const void* p) { __builtin_prefetch(p); }
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
// a > b ? a : b and a < b ? a : b, in one instruction: b where either is NaN.
INLINE vf fastmax(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
  return sel(a > b, a, b);
#endif
}
INLINE vf fastmin(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
  return sel(a < b, a, b);
#endif
}
// a where it is NaN, else b
INLINE vf nanOr(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_mask_mov_ps((__m512)b, _mm512_cmp_ps_mask((__m512)a, (__m512)a, _CMP_UNORD_Q), (__m512)a);
#else
  return sel(a != a, a, b);
#endif
}
// Math.max and Math.min: NaN where either is NaN.
INLINE vf vmax(vf a, vf b) { return nanOr(a, fastmax(a, b)); }
INLINE vf vmin(vf a, vf b) { return nanOr(a, fastmin(a, b)); }
INLINE bool any(vi m) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)m, (__m512i)m) != 0;
#elif defined(__AVX2__)
  return !_mm256_testz_si256((__m256i)m, (__m256i)m);
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)m) != 0;
#else
  for (int i = 0; i < W; i++)
    if (m[i]) return true;
  return false;
#endif
}
// Nearest even, for |x| < 2^22.
INLINE vf nearest(vf x) {
  vf magic = set1(12582912.f);
  return (x + magic) - magic;
}
// The largest lane, where NaN need not survive; lanes are joined in halves, as in hsum.
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
INLINE float hsum(vf x) {  // a fixed tree: halves are added until one is left
#if defined(__AVX2__)
#if defined(__AVX512F__)
  __m256 h = _mm256_add_ps(_mm512_castps512_ps256((__m512)x), _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd((__m512)x), 1)));
#else
  __m256 h = (__m256)x;
#endif
  __m128 q = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
  q = _mm_add_ps(q, _mm_movehl_ps(q, q));
  return _mm_cvtss_f32(_mm_add_ss(q, _mm_shuffle_ps(q, q, 1)));
#else
  float t[W];
  store(t, x);
  for (int s = W / 2; s > 0; s >>= 1)
    for (int i = 0; i < s; i++) t[i] += t[i + s];
  return t[0];
#endif
}
INLINE float hmax(vf x) { return any(x != x) ? __builtin_nanf("") : rmax(x); }
INLINE float hmin(vf x) { return any(x != x) ? __builtin_nanf("") : -rmax(-x); }

INLINE vi iota() {
  vi r = {};
  for (int i = 0; i < W; i++) r[i] = i;
  return r;
}
// The first n lanes of x, `fill` in the rest.
INLINE vf keep(vf x, int n, float fill) { return sel(iota() < n, x, set1(fill)); }
// r and n with x = n·ln 2 + r, and e^r − 1; 1 ulp after Cephes' expf.
INLINE vf expm1Reduced(vf x, vf& n) {
  n = nearest(x * set1(1.44269504088896341f));
  vf r = fma(n, set1(-0.693359375f), x);
  r = fma(n, set1(2.12194440e-4f), r);
  // By pairs of coefficients, not one after the other: what a vector waits for is then half as long.
  const vf z = r * r;
  const vf high = fma(set1(1.9875691500e-4f), r, set1(1.3981999507e-3f)), middle = fma(set1(8.3334519073e-3f), r, set1(4.1665795894e-2f));
  const vf low = fma(set1(1.6666665459e-1f), r, set1(5.0000001201e-1f));
  return fma(fma(fma(high, z, middle), z, low), z, r);
}
INLINE vf pow2(vi n) { return bits((n + 127) << 23); }
// x·2^n for whole n, |n| below 200: in two factors, so that subnormal results and 2^128 come out right.
INLINE vf scale2(vf x, vf n) {
#if defined(__AVX512F__)
  return (vf)_mm512_scalef_ps((__m512)x, (__m512)n);
#else
  vi k = toInt(n), h = k >> 1;
  return (x * pow2(h)) * pow2(k - h);
#endif
}
INLINE vf vexp(vf x) {
  x = fastmax(set1(-106.f), fastmin(set1(89.f), x));
  vf n;
  vf q = expm1Reduced(x, n);
  return scale2(q + 1.f, n);
}
// e^x − 1 for x of at most 0
INLINE vf expm1Below(vf x) {
  vf n;
  vf q = expm1Reduced(fastmax(set1(-40.f), x), n);
  vf e = pow2(toInt(n));
  return fma(e, q, e - 1.f);
}
INLINE vf vexpm1(vf x) {
  vf c = fastmax(set1(-40.f), fastmin(set1(89.f), x));
  vf n;
  vf q = expm1Reduced(c, n);
  vf e = pow2(toInt(n) - 1);  // half of 2^n, which may be 2^128
  vf y = fma(e, q, e - 0.5f);
  return sel(x == 0.f, x, y + y);
}
// log((1 + m)·2^e), 1 + m in [√½, √2], after Cephes' logf
INLINE vf logReduced(vf m, vf e) {
  const vf z = m * m, z2 = z * z;
  const vf p1 = fma(set1(-1.1514610310e-1f), m, set1(1.1676998740e-1f)), p2 = fma(set1(-1.2420140846e-1f), m, set1(1.4249322787e-1f));
  const vf p3 = fma(set1(-1.6668057665e-1f), m, set1(2.0000714765e-1f)), p4 = fma(set1(-2.4999993993e-1f), m, set1(3.3333331174e-1f));
  const vf high = fma(set1(7.0376836292e-2f), z2, fma(p1, z, p2)), p = fma(high, z2, fma(p3, z, p4));
  const vf y = fma(p, m * z, fma(z, set1(-0.5f), e * -2.12194440e-4f));
  return fma(e, set1(0.693359375f), m + y);
}
INLINE vf vlog(vf x) {
#if defined(__AVX512F__)
  __m512 m = _mm512_getmant_ps((__m512)x, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_src), e = _mm512_getexp_ps((__m512)x);
  const __mmask16 high = _mm512_cmp_ps_mask(m, _mm512_set1_ps(1.414213562373095f), _CMP_GE_OQ);
  m = _mm512_mask_mul_ps(m, high, m, _mm512_set1_ps(0.5f));
  e = _mm512_mask_add_ps(e, high, e, _mm512_set1_ps(1.f));
  // By class of x: NaN as it is; 0 to -infinity; infinity to itself; what is below 0 to NaN (1 is computed like the rest).
  constexpr int quiet = 2, signaling = 2 << 4, zero = 4 << 8, negativeInfinity = 3 << 16, positiveInfinity = 5 << 20, negative = 3 << 24;
  const vf r = logReduced((vf)m - 1.f, (vf)e);
  return (vf)_mm512_fixupimm_ps((__m512)r, (__m512)x, _mm512_set1_epi32(quiet | signaling | zero | negativeInfinity | positiveInfinity | negative), 0);
#else
  vf inf = set1(__builtin_inff());
  vi sub = x < set1(1.17549435e-38f);
  vf s = sel(sub, x * 8388608.f, x);
  vi b = bits(s);
  vf e = toFloat(((b >> 23) & 255) - 126) - sel(sub, set1(23.f), set1(0.f));
  vf m = bits((b & set1i(0x7fffff)) | set1i(0x3f000000));
  vi low = m < set1(0.707106781186547524f);
  e = e - sel(low, set1(1.f), set1(0.f));
  vf r = logReduced(sel(low, m + m, m) - 1.f, e);
  vi odd = ~((x > 0.f) & (x < inf));
  if (any(odd)) r = sel(odd, sel(x == 0.f, -inf, sel(x == inf, inf, set1(__builtin_nanf("")))), r);
  return r;
#endif
}
// log(1 + z) for z in [0, 1]: z times a polynomial through Chebyshev's points, 1.6 ulp
INLINE vf log1pUnit(vf z) {
  const vf z2 = z * z, z4 = z2 * z2;
  const vf p0 = fma(set1(-0.499998927f), z, set1(1.f)), p1 = fma(set1(-0.249516159f), z, set1(0.333297104f)), p2 = fma(set1(-0.152696669f), z, set1(0.196632743f));
  const vf p3 = fma(set1(-0.0563736111f), z, set1(0.105436236f)), p4 = fma(set1(-0.00317605701f), z, set1(0.0195425265f));
  return z * fma(fma(p4, z4, fma(p3, z2, p2)), z4, fma(p1, z2, p0));
}
INLINE vf vlog1p(vf x) {  // Kahan: the rounding of 1 + x cancels in the quotient
  vf u = 1.f + x, d = u - 1.f;
  vf y = vlog(u) * (x / d);
  return sel(d == 0.f, x, sel(u == set1(__builtin_inff()), u, y));
}
INLINE vf vsigmoid(vf x) { return 1.f / (1.f + vexp(-x)); }
INLINE vf vtanh(vf x) {
  vf t = expm1Below(-2.f * fastmin(set1(10.f), vabs(x)));
  vf y = -t / (2.f + t);
  return bits(bits(y) | (bits(x) & set1i((int32_t)0x80000000)));
}
INLINE vf vsoftplus(vf x) { return fastmax(set1(0.f), x) + log1pUnit(vexp(-vabs(x))); }
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
// sin, or cos where `quarter` is 1: three-part reduction by π/2 for |x| up to 8192, the library's beyond; after Cephes.
INLINE vf vsinus(vf x, int quarter) {
  vf n = nearest(x * 0.636619772367581343f);
  vf r = fma(n, set1(-1.5703125f), x);
  r = fma(n, set1(-4.837512969970703125e-4f), r);
  r = fma(n, set1(-7.54978995489188216e-8f), r);
  vf z = r * r;
  vf s = fma(fma(fma(set1(-1.9515295891e-4f), z, set1(8.3321608736e-3f)), z, set1(-1.6666654611e-1f)), z * r, r);
  vf c = fma(fma(fma(set1(2.443315711809948e-5f), z, set1(-1.388731625493765e-3f)), z, set1(4.166664568298827e-2f)), z * z, fma(z, set1(-0.5f), set1(1.f)));
  vi k = toInt(n) + quarter;
  vf y = sel((k & 1) == 0, s, c);
  y = bits(bits(y) ^ ((k & 2) << 30));
  vi far = ~(vabs(x) <= 8192.f);
  if (any(far))
    for (int i = 0; i < W; i++)
      if (far[i]) y[i] = quarter ? cosf(x[i]) : sinf(x[i]);
  return y;
}
// a^b: by logarithm and exponential in double precision for a finite positive a, by the library for the rest.
INLINE vf vpow(vf a, vf b) {
  vf inf = set1(__builtin_inff());
  vi odd = ~((a >= set1(1.17549435e-38f)) & (a < inf) & (vabs(b) < inf));
  vi ab = bits(a);
  vf mf = bits((ab & set1i(0x7fffff)) | set1i(0x3f800000));
  vi high = mf > 1.41421356f;
  vd e = __builtin_convertvector(((ab >> 23) - 127) - high, vd);
  vd m = __builtin_convertvector(sel(high, mf * 0.5f, mf), vd);
  vd s = (m - 1.) / (m + 1.), z = s * s;
  vd p = z * (1. / 15) + 1. / 13;
  p = p * z + 1. / 11;
  p = p * z + 1. / 9;
  p = p * z + 1. / 7;
  p = p * z + 1. / 5;
  p = p * z + 1. / 3;
  p = p * z + 1.;
  vd t = (p * s * 2.8853900817779268 + e) * __builtin_convertvector(b, vd);  // log2 of the result
  t = t > 200. ? t - t + 200. : t;
  t = t < -200. ? t - t - 200. : t;
  vd magic = t - t + 6755399441055744.;
  vd n = (t + magic) - magic, f = (t - n) * 0.69314718055994531;
  vd q = f * (1. / 40320) + 1. / 5040;
  q = q * f + 1. / 720;
  q = q * f + 1. / 120;
  q = q * f + 1. / 24;
  q = q * f + 1. / 6;
  q = q * f + 0.5;
  q = q * f + 1.;
  q = q * f + 1.;
  vf y = scale2(__builtin_convertvector(q, vf), __builtin_convertvector(n, vf));
  if (any(odd))
    for (int i = 0; i < W; i++)
      if (odd[i]) y[i] = (float)pow((double)a[i], (double)b[i]);
  return y;
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
