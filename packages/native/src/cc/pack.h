// Operands of a product, packed into panels of units along K in the order in which tiles read them; and where a frozen matrix has its numbers.
#pragma once
#include "pool.h"
#include "tile.h"

namespace plumb {
namespace {
#if defined(__AVX512F__)
INLINE void transposeTile(vf* v) {
  __m512* r = (__m512*)v;
  __m512 t[16];
  for (int i = 0; i < 8; i++) {
    t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 4; i++) {
    r[4 * i + 0] = (__m512)_mm512_unpacklo_pd((__m512d)t[4 * i], (__m512d)t[4 * i + 2]);
    r[4 * i + 1] = (__m512)_mm512_unpackhi_pd((__m512d)t[4 * i], (__m512d)t[4 * i + 2]);
    r[4 * i + 2] = (__m512)_mm512_unpacklo_pd((__m512d)t[4 * i + 1], (__m512d)t[4 * i + 3]);
    r[4 * i + 3] = (__m512)_mm512_unpackhi_pd((__m512d)t[4 * i + 1], (__m512d)t[4 * i + 3]);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; i++) {
    r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
    r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
  }
}
#elif defined(__AVX2__)
INLINE void transposeTile(vf* v) {
  __m256* r = (__m256*)v;
  __m256 t[8];
  for (int i = 0; i < 4; i++) {
    t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
    t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
  }
  for (int i = 0; i < 2; i++) {
    r[4 * i + 0] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
    r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
    r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
    r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
  }
  for (int i = 0; i < 4; i++) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  for (int i = 0; i < 8; i++) r[i] = t[i];
}
#else
INLINE void transposeTile(vf* r) {
  for (int i = 0; i < W; i++)
    for (int j = 0; j < i; j++) {
      float x = r[i][j];
      r[i][j] = r[j][i];
      r[j][i] = x;
    }
}
#endif

// dst[u·stride + r] = unit u of row r, for r < rows <= W, where `row(r, u)` gives W units from u on (zeros beyond the end). The lanes
// rows..W of each unit are zeroed if `whole`, which writes whole vectors in ascending order of u.
template <class Row>
INLINE void packRows(int rows, int64_t units, float* dst, int64_t stride, bool whole, const Row& row) {
  for (int64_t u = 0; u < units; u += W) {
    const int n = (int)imin(W, units - u);
    vf r[W];
    for (int i = 0; i < W; i++) r[i] = i < rows ? row(i, u) : (vf){};
    transposeTile(r);
    if (whole)
      for (int i = 0; i < n; i++) store(dst + (u + i) * stride, r[i]);
    else
      for (int i = 0; i < n; i++) storen(dst + (u + i) * stride, r[i], rows);
  }
}

// One unit of `rows` rows that lie side by side at s.
INLINE void packAcross(const Gemm& g, const float* s, int rows, bool two, bool round, float* dst) {
  for (int r = 0; r < rows; r += W) {
    const int n = rows - r < W ? rows - r : W;
    vf x = loadn(s + r, n);
    if (kPairs) x = zipped(x, two ? loadn(s + g.lda + r, n) : (vf){});
    else if (round) x = rounded(x);
    storen(dst + r, x, n);
  }
}
// A panel of `rows` rows from row m0: dst[u·rows + r].
void packA(const Gemm& g, int64_t m0, int rows, int64_t k0, int64_t kc, float* dst) {
  const bool round = rounds(g);
  const int64_t units = cdiv(kc, U);
  if (!g.transA) {
    for (int r = 0; r < rows; r += W) {
      const int n = rows - r < W ? rows - r : W;
      const float* s = g.A + (m0 + r) * g.lda + k0;
      packRows(n, units, dst + r, rows, rows <= W, [&](int i, int64_t u) {
        return unitsAt(s + i * g.lda + u * U, kc - u * U, round);
      });
    }
    return;
  }
  const float* s = g.A + k0 * g.lda + m0;
  for (int64_t u = 0; u < units; u++) packAcross(g, s + u * U * g.lda, rows, u * U + 1 < kc, round, dst + u * rows);
}

// Of a frozen matrix, used as it is meant (columns are its outputs): where number k of column n lies, and the panel's rows.
INLINE const char* frozenAt(const Frozen& f, int64_t n, int64_t k) {
  const int64_t row = f.storage == kBf16 ? k / 2 : k, entry = f.storage == kInt8 ? 1 : 4;
  return f.data + n / kPanel * f.panelBytes() + (row * kPanel + n % kPanel) * entry;
}
// W outputs from n on, of input k.
INLINE vf frozenVector(const Frozen& f, int64_t n, int64_t k) {
  const char* p = frozenAt(f, n, k);
  if (f.storage == kF32) return load((const float*)p);
  if (f.storage == kInt8) return fromInt8((const int8_t*)p);
  vf x = load((const float*)p);
  return k & 1 ? secondOf(x) : firstOf(x);
}
// dst[u·width + j] from a frozen matrix: of outputs n0.. along inputs (forward), or of inputs n0.. along outputs (backward).
void packFrozen(const Gemm& g, int64_t n0, int columns, int width, int64_t k0, int64_t kc, float* dst) {
  const Frozen& f = *g.frozen;
  const bool round = rounds(g) && f.storage != kBf16;
  const int64_t units = cdiv(kc, U);
  for (int j = 0; j < width; j += W) {
    if (g.transB) {
      const bool r = round && f.storage == kF32;
      for (int64_t u = 0; u < units; u++) {
        vf x = frozenVector(f, n0 + j, k0 + u * U);
        if (kPairs) x = zipped(x, u * U + 1 < kc ? frozenVector(f, n0 + j, k0 + u * U + 1) : (vf){});
        store(dst + u * width + j, r ? rounded(x) : x);
      }
    } else {
      const int n = columns - j < W ? columns - j : W;
      packRows(n < 0 ? 0 : n, units, dst + j, width, true, [&](int i, int64_t u) {
        const int64_t out = k0 + u * U, in = n0 + j + i;
        vf x = frozenVector(f, out, in);
        if (f.scales) x = x * load(f.scales + out);
        if (!kPairs) return round ? rounded(x) : x;
        vf y = frozenVector(f, out + W, in);
        if (f.scales) y = y * load(f.scales + out + W);
        return joined(x, y);
      });
    }
  }
}

// A panel of `columns` <= NR columns from n0, padded with zeros to `width` (W or NR): dst[u·width + j].
void packB(const Gemm& g, int64_t n0, int columns, int width, int64_t k0, int64_t kc, float* dst) {
  if (g.frozen) return packFrozen(g, n0, columns, width, k0, kc, dst);
  const bool round = rounds(g);
  const int64_t units = cdiv(kc, U);
  if (g.transB) {
    for (int j = 0; j < width; j += W) {
      const int n = columns - j < W ? columns - j : W;
      const float* s = g.B + (n0 + j) * g.ldb + k0;
      packRows(n < 0 ? 0 : n, units, dst + j, width, true, [&](int i, int64_t u) { return unitsAt(s + i * g.ldb + u * U, kc - u * U, round); });
    }
    return;
  }
  const float* s = g.B + k0 * g.ldb + n0;
  if (!kPairs && !round && columns == NR && width == NR) {
    for (int64_t k = 0; k < kc; k++) {
      store(dst + k * NR, load(s + k * g.ldb));
      store(dst + k * NR + W, load(s + k * g.ldb + W));
    }
    return;
  }
  for (int64_t u = 0; u < units; u++)
    for (int j = 0; j < width; j += W) {
      const float* p = s + u * U * g.ldb + j;
      vf x = some(p, columns - j);
      if (kPairs) x = zipped(x, u * U + 1 < kc ? some(p + g.ldb, columns - j) : (vf){});
      else if (round) x = rounded(x);
      store(dst + u * width + j, x);
    }
}

}  // namespace
}  // namespace plumb
