// Products. B is packed into panels of two vectors, A into panels of up to MR rows; skinny operands and frozen weights are used where
// they lie. Panels of A are cut as evenly as possible, so that 128 rows are ten panels of 13 and 12 rows and not nine of 14 and one of 2.
//
// Packed operands are made of 32-bit units along K. Compiled as it is, a unit is a float. Compiled with PLUMB_PAIRS, for processors that
// have such an instruction, a unit is two neighbouring numbers of K in bfloat16, which one instruction multiplies and adds; the rest of
// the file is the same for both.
#include "kernels.h"
#include "pool.h"
#include "simd.h"

using namespace plumb;

namespace {
#if defined(PLUMB_PAIRS)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
#endif
constexpr int U = kPairs ? 2 : 1;  // numbers of K in a unit
#if defined(__AVX512F__)
constexpr int MR = 14;
#elif defined(__AVX2__)
constexpr int MR = 6;
#elif defined(__aarch64__)
constexpr int MR = 12;
#else
constexpr int MR = 4;
#endif
constexpr int NR = 2 * W;
static_assert(kPanel % NR == 0 && kPanel % (U * W) == 0, "a panel of a frozen matrix holds whole tiles");

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
INLINE bool rounds(const Gemm& g) { return !kPairs && g.bf16; }

struct Tile {
  int64_t units;
  const float* a;
  int64_t sa;  // ROWS: from row to row (k is contiguous); else from unit to unit (rows are contiguous)
  const float* b;
  int64_t sb;
  float* c;
  int64_t ldc;
  int columns;  // 1..NV·W
  const float *scale, *bias;
  bool load, relu;
  const char* ahead;  // what the next tiles read, fetched meanwhile; or null
};

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

template <int M, int NV, bool ROWS>
void tile(const Tile& t) {
  vf acc[M][NV];
  const int tail = t.columns - (NV - 1) * W;
  if (t.load) {
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
      for (int j = 0; j < NV - 1; j++) acc[i][j] = load(t.c + i * t.ldc + j * W);
      acc[i][NV - 1] = tail == W ? load(t.c + i * t.ldc + (NV - 1) * W) : loadn(t.c + i * t.ldc + (NV - 1) * W, tail);
    }
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[i][j] = (vf){};
  }
  const float *a = t.a, *b = t.b;
  const int64_t sa = t.sa, sb = t.sb;
  const char* ahead = t.ahead;
  for (int64_t k = t.units; k > 0; k--) {
    if (ahead) {
      __builtin_prefetch(ahead);
      __builtin_prefetch(ahead + 64);
      ahead += kPanel * 4;
    }
    vf bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) bv[j] = load(b + j * W);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vf av = spread(ROWS ? a + i * sa : a + i);
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[i][j] = dot(av, bv[j], acc[i][j]);
    }
    a += ROWS ? 1 : sa;
    b += sb;
  }
  finish(acc, t.c, t.ldc, t.columns, t.scale, t.bias, t.relu);
}

typedef void (*TileFn)(const Tile&);
template <int NV, bool ROWS, int M>
struct Fill {
  static void into(TileFn* t) {
    t[M] = tile<M, NV, ROWS>;
    Fill<NV, ROWS, M - 1>::into(t);
  }
};
template <int NV, bool ROWS>
struct Fill<NV, ROWS, 0> {
  static void into(TileFn*) {}
};
struct Tiles {
  TileFn f[2][2][MR + 1];  // [vectors - 1][rows contiguous in k][rows]
  Tiles() {
    Fill<1, false, MR>::into(f[0][0]);
    Fill<2, false, MR>::into(f[1][0]);
    if (!kPairs) {
      Fill<1, !kPairs, MR>::into(f[0][1]);
      Fill<2, !kPairs, MR>::into(f[1][1]);
    }
  }
};
const Tiles& tiles() {
  static const Tiles* t = new Tiles();
  return *t;
}

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
INLINE vf some(const float* p, int64_t n) { return n >= W ? load(p) : n <= 0 ? (vf){} : loadn(p, (int)n); }
// W units from the `left` numbers at p.
INLINE vf unitsAt(const float* p, int64_t left, bool round) {
  if (kPairs) return joined(some(p, left), some(p + W, left - W));
  vf x = some(p, left);
  return round ? rounded(x) : x;
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

struct Cut {  // n things in parts of at most `most`, as even as possible
  int64_t n, parts;
  Cut(int64_t n, int64_t most) : n(n), parts(n ? cdiv(n, most) : 0) {}
  int64_t at(int64_t i) const { return n * i / parts; }
};
// K in blocks of whole panels and so of whole units. Where it is cut does not matter to a sum.
struct Blocks {
  int64_t n, size, parts;
  explicit Blocks(int64_t n) : n(n) {
    const int64_t most = n <= 512 * U ? 512 * U : 384 * U;
    size = cdiv(cdiv(n, cdiv(n, most)), kPanel) * kPanel;
    parts = cdiv(n, size);
  }
  int64_t at(int64_t i) const { return imin(n, i * size); }
};

// The panels [p0, p1) of A, one after the other, with room for a vector behind each. Where rows lie side by side, along K: a line of
// memory then serves all the panels that it reaches into.
void packPanels(const Gemm& g, const Cut& rows, int64_t p0, int64_t p1, int64_t k0, int64_t kc, float* dst) {
  const int64_t units = cdiv(kc, U), m0 = rows.at(p0), end = rows.at(p1);
  const bool round = rounds(g);
  if (!g.transA) {
    for (int64_t p = p0; p < p1; p++) packA(g, rows.at(p), (int)(rows.at(p + 1) - rows.at(p)), k0, kc, dst + (rows.at(p) - m0) * units + (p - p0) * W);
    return;
  }
  for (int64_t u = 0; u < units; u++) {
    const float* s = g.A + (k0 + u * U) * g.lda;
    const int64_t ahead = u * U + 24 < kc ? 24 * g.lda : 0;  // rows of A lie far apart: nothing but this fetches them in time
    for (int64_t m = m0; m < end; m += 16)
      for (int i = 0; i < U; i++) __builtin_prefetch(s + m + ahead + i * g.lda);
    for (int64_t p = p0; p < p1; p++) {
      const int64_t m = rows.at(p);
      const int n = (int)(rows.at(p + 1) - m);
      packAcross(g, s + m, n, u * U + 1 < kc, round, dst + (m - m0) * units + (p - p0) * W + u * n);
    }
  }
}

struct Panel {  // columns of B ready for the tiles
  const float* b;
  int64_t sb;
};

// A frozen matrix whose units are those of the tiles already.
INLINE bool inPlace(const Gemm& g) { return g.frozen && g.transB && !rounds(g) && g.frozen->storage == (kPairs ? kBf16 : kF32); }
INLINE Panel placed(const Gemm& g, int64_t n0, int64_t k0) { return {(const float*)frozenAt(*g.frozen, n0, k0), kPanel}; }

// Rows [0, panels) of packed or plain A against one panel of B.
INLINE void againstPanel(const Gemm& g, const Cut& rows, int64_t p0, int64_t p1, const float* packedA, int64_t packedBase, int64_t k0, int64_t kc, Panel panel, int64_t n0, int columns, const char* ahead = nullptr) {
  const int64_t units = cdiv(kc, U);
  Tile t;
  t.units = units;
  t.b = panel.b;
  t.sb = panel.sb;
  t.ldc = g.ldc;
  t.columns = columns;
  const bool last = k0 + kc == g.K;
  t.bias = last && g.bias ? g.bias + n0 : nullptr;
  t.scale = last && g.frozen && g.frozen->scales && g.transB ? g.frozen->scales + n0 : nullptr;
  t.relu = last && g.relu;
  t.load = k0 > 0 || g.accumulate;
  const bool plainRows = !packedA && !g.transA;
  TileFn const* f = tiles().f[columns > W ? 1 : 0][plainRows ? 1 : 0];
  for (int64_t p = p0; p < p1; p++) {
    int64_t m0 = rows.at(p);
    int m = (int)(rows.at(p + 1) - m0);
    if (packedA) {
      t.a = packedA + (m0 - packedBase) * units + (p - p0) * W;
      t.sa = m;
    } else if (g.transA) {
      t.a = g.A + k0 * g.lda + m0;
      t.sa = g.lda;
    } else {
      t.a = g.A + m0 * g.lda + k0;
      t.sa = g.lda;
    }
    t.c = g.C + m0 * g.ldc + n0;
    t.ahead = p == p1 - 1 ? ahead : nullptr;
    f[m](t);
  }
}

void clear(const Gemm& g) {  // K = 0
  for (int64_t m = 0; m < g.M; m++)
    for (int64_t n = 0; n < g.N; n++) {
      float x = g.accumulate ? g.C[m * g.ldc + n] : 0;
      if (g.bias) x += g.bias[n];
      g.C[m * g.ldc + n] = g.relu && x < 0 ? 0 : x;
    }
}

// --- a few rows against a frozen matrix: bound by the bytes of the matrix, which are read once and widened in registers ---
constexpr int kThin = MR < 12 ? MR : 12;
struct Thin {
  const Frozen* f;
  int64_t K, n0, N;  // the first of the columns at hand; all of them
  const float* a;
  int64_t sa;  // from row to row; with pairs, rows are contiguous and packed
  float* c;
  int64_t ldc;
  const float* bias;
  bool relu, load;
};
// M rows against P tiles of NR columns.
constexpr int64_t kAhead = 2048;
template <int M, int P, int S>
void thin(const Thin& t) {
  constexpr int V = 2;
  vf acc[P][M][V];
  const char* b[P];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    b[p] = frozenAt(*t.f, t.n0 + p * NR, 0);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 2
      for (int j = 0; j < V; j++) acc[p][i][j] = (vf){};
  }
  if (t.load)
    for (int p = 0; p < P; p++)
      for (int i = 0; i < M; i++)
        for (int j = 0; j < V; j++) acc[p][i][j] = some(t.c + i * t.ldc + t.n0 + p * NR + j * W, t.N - t.n0 - p * NR - j * W);
  const float* a = t.a;
  const auto at = [&](int i) { return kPairs ? a + i : a + i * t.sa; };
  const auto add = [&](int p, int j, vf x, int64_t next) {
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) acc[p][i][j] = dot(spread(at(i) + next), x, acc[p][i][j]);
  };
  constexpr int64_t row = kPanel * (S == kInt8 ? 1 : 4);
  const int64_t step = kPairs ? M : 1;
  constexpr bool two = kPairs ? S != kBf16 : S == kBf16;  // an iteration takes two of the matrix's rows, or half of two
  constexpr int64_t each = kPairs || two ? 2 : 1;          // numbers of K an iteration
  int64_t k = 0;
  for (; k + each <= t.K; k += each) {
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) {
      // The machine's own prefetching stops at each page.
      __builtin_prefetch(b[p] + kAhead);
      if (each * row > 64) __builtin_prefetch(b[p] + kAhead + 64);
#pragma GCC unroll 2
      for (int j = 0; j < V; j++) {
        const char* q = b[p] + j * W * (S == kInt8 ? 1 : 4);
        if (S == kInt8) {
          vf x = fromInt8((const int8_t*)q);
          if (kPairs) x = zipped(x, fromInt8((const int8_t*)q + kPanel));
          add(p, j, x, 0);
        } else if (S == kBf16 && !kPairs) {
          vf x = load((const float*)q);
          add(p, j, firstOf(x), 0);
          add(p, j, secondOf(x), 1);
        } else {
          vf x = load((const float*)q);
          if (kPairs && S == kF32) x = zipped(x, load((const float*)q + kPanel));
          add(p, j, x, 0);
        }
      }
      b[p] += S == kBf16 ? row : each * row;
    }
    a += kPairs ? step : each;
  }
  if (k < t.K)  // one number is left of two
    for (int p = 0; p < P; p++)
      for (int j = 0; j < V; j++) {
        const char* q = b[p] + j * W * (S == kInt8 ? 1 : 4);
        vf x = S == kInt8 ? fromInt8((const int8_t*)q) : load((const float*)q);
        if (kPairs) add(p, j, S == kBf16 ? x : zipped(x, (vf){}), 0);
        else add(p, j, S == kBf16 ? firstOf(x) : x, 0);
      }
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    const int64_t n = t.n0 + p * NR;
    const int columns = (int)imin(NR, t.N - n);
    const float *scale = t.f->scales ? t.f->scales + n : nullptr, *bias = t.bias ? t.bias + n : nullptr;
    if (columns > W) {
      finish(acc[p], t.c + n, t.ldc, columns, scale, bias, t.relu);
    } else {
      vf half[M][1];
      for (int i = 0; i < M; i++) half[i][0] = acc[p][i][0];
      finish(half, t.c + n, t.ldc, columns, scale, bias, t.relu);
    }
  }
}
typedef void (*ThinFn)(const Thin&);
constexpr int thinTiles(int m) { return m == 1 ? 4 : m <= 3 ? 2 : 1; }
struct Thins {
  ThinFn f[3][2][kThin + 1];  // [storage][as many tiles as fit, or one][rows]
  template <int M>
  void fill() {
    f[kF32][0][M] = thin<M, thinTiles(M), kF32>;
    f[kBf16][0][M] = thin<M, thinTiles(M), kBf16>;
    f[kInt8][0][M] = thin<M, thinTiles(M), kInt8>;
    f[kF32][1][M] = thin<M, 1, kF32>;
    f[kBf16][1][M] = thin<M, 1, kBf16>;
    f[kInt8][1][M] = thin<M, 1, kInt8>;
    if constexpr (M > 1) fill<M - 1>();
  }
  Thins() { fill<kThin>(); }
};
const Thins& thins() {
  static const Thins* t = new Thins();
  return *t;
}
void thinProduct(const Gemm& g, int threads) {
  const int m = (int)g.M, most = thinTiles(m);
  Thin t{g.frozen, g.K, 0, g.N, g.A, g.lda, g.C, g.ldc, g.bias, g.relu, g.accumulate};
  if (kPairs) {
    float* packed = (float*)scratch(0, (size_t)(g.M * cdiv(g.K, U) + W + 64) * 4);
    packA(g, 0, m, 0, g.K, packed);
    t.a = packed;
    t.sa = 0;
  }
  const int64_t tilesInAll = cdiv(g.N, NR);
  const int64_t groups = threads == 1 ? 1 : imin(cdiv(tilesInAll, most), threads * 4);
  ThinFn const(*f)[kThin + 1] = thins().f[g.frozen->storage];
  parallel(groups, [&](int64_t i) {
    const int64_t end = tilesInAll * (i + 1) / groups;
    Thin own = t;
    for (int64_t p = tilesInAll * i / groups; p < end;) {
      own.n0 = p * NR;
      const bool many = p + most <= end;
      f[many ? 0 : 1][m](own);
      p += many ? most : 1;
    }
  });
}

void gemm(const Gemm& g) {
#if !defined(PLUMB_PAIRS)
  if (g.bf16 && bf16Products) return bf16Products(g);
#endif
  if (g.M <= 0 || g.N <= 0) return;
  if (g.K <= 0) return clear(g);
  const double work = (double)g.M * g.N * g.K;
  const int threads = work < 1.5e6 && (double)g.N * g.K < 1e5 ? 1 : threadCount();
  const bool round = rounds(g);
  if (g.frozen && g.transB && !g.transA && !round && g.M <= kThin) return thinProduct(g, threads);
  const Blocks ks(g.K);
  const int64_t unitsMax = cdiv(ks.size, U);
  const int64_t panels = cdiv(g.N, NR);
  const Cut rows(g.M, MR);
  const bool plainA = !kPairs && !round;  // A may be used as it lies
  const bool direct = inPlace(g);

  if (g.M <= 12 * MR) {
    // Few rows: A is packed once (or used as it lies), and each task packs its panels of B one by one into its first-level cache.
    const bool useA = plainA && (rows.parts == 1 ? g.transA || g.N <= 4 * NR || g.M <= 2 : panels <= 1);
    float* packed = nullptr;
    const int64_t pad = rows.parts * W;
    const auto blockOfA = [&](int64_t kb) { return packed + ks.at(kb) / U * g.M + kb * pad; };
    if (!useA) {
      packed = (float*)scratch(0, (size_t)(g.M * cdiv(g.K, U) + pad * ks.parts + 64) * 4);
      auto block = [&](int64_t i) {
        int64_t kb = i / rows.parts, p = i % rows.parts;
        int64_t k0 = ks.at(kb), kc = ks.at(kb + 1) - k0, m0 = rows.at(p);
        packA(g, m0, (int)(rows.at(p + 1) - m0), k0, kc, blockOfA(kb) + m0 * cdiv(kc, U) + p * W);
      };
      if (threads > 1 && (double)g.M * g.K > 1e5) parallel(ks.parts * rows.parts, block);
      else
        for (int64_t i = 0; i < ks.parts * rows.parts; i++) block(i);
    }
    const int64_t groups = threads == 1 ? 1 : imin(panels, threads * 4);
    auto group = [&](int64_t i) {
      const int64_t first = panels * i / groups, end = panels * (i + 1) / groups;
      float* local = (float*)scratch(2, (size_t)(NR * unitsMax + 64) * 4);
      for (int64_t kb = 0; kb < ks.parts; kb++) {
        int64_t k0 = ks.at(kb), kc = ks.at(kb + 1) - k0;
        for (int64_t p = first; p < end; p++) {
          int64_t n0 = p * NR;
          int columns = (int)imin(NR, g.N - n0), width = columns > W ? NR : W;
          Panel panel{local, width};
          if (direct) panel = placed(g, n0, k0);
          else if (plainA && !g.frozen && !g.transB && columns == width && rows.parts <= 2 && (g.ldb & 255) != 0) panel = {g.B + k0 * g.ldb + n0, g.ldb};
          else packB(g, n0, columns, width, k0, kc, local);
          const char* next = direct && p + 1 < end ? (const char*)placed(g, n0 + NR, k0).b : nullptr;
          againstPanel(g, rows, 0, rows.parts, packed ? blockOfA(kb) : nullptr, 0, k0, kc, panel, n0, columns, next);
        }
      }
    };
    parallel(groups, group);
    return;
  }

  // Many rows: a block of B is packed once and shared; each task packs a block of A into its second-level cache.
  const int64_t ncPanels = imax(1, imin(panels, (int64_t)(4 << 20) / (4 * NR * unitsMax)));
  const Cut columnsCut(panels, ncPanels);
  const int64_t most = imax(1, 144 * 256 / (MR * imax(unitsMax, 128)));  // panels of A in one block
  int64_t blocks = cdiv(rows.parts, most);
  if (threads > 1) {
    blocks = imax(blocks, imin(rows.parts, threads * 4));
    blocks = cdiv(blocks, threads) * threads;
    blocks = imin(blocks, rows.parts);
  }
  const bool useA = plainA && !g.transA && g.N <= 2 * NR && (g.lda & 255) != 0;
  for (int64_t jc = 0; jc < columnsCut.parts; jc++) {
    const int64_t firstPanel = columnsCut.at(jc), endPanel = columnsCut.at(jc + 1), count = endPanel - firstPanel;
    for (int64_t kb = 0; kb < ks.parts; kb++) {
      const int64_t k0 = ks.at(kb), kc = ks.at(kb + 1) - k0, units = cdiv(kc, U);
      float* shared = direct ? nullptr : (float*)scratch(0, (size_t)(count * NR * units + 64) * 4);
      auto pack = [&](int64_t i) {
        int64_t n0 = (firstPanel + i) * NR;
        int columns = (int)imin(NR, g.N - n0);
        packB(g, n0, columns, columns > W ? NR : W, k0, kc, shared + i * NR * units);
      };
      if (!direct) parallelIf(threads > 1 && (double)count * NR * kc > 6e4, count, pack);
      auto block = [&](int64_t i) {
        const int64_t p0 = rows.parts * i / blocks, p1 = rows.parts * (i + 1) / blocks, m0 = rows.at(p0);
        float* local = nullptr;
        if (!useA) {
          local = (float*)scratch(2, (size_t)((rows.at(p1) - m0) * units + (p1 - p0) * W + 64) * 4);
          packPanels(g, rows, p0, p1, k0, kc, local);
        }
        for (int64_t j = 0; j < count; j++) {
          int64_t n0 = (firstPanel + j) * NR;
          int columns = (int)imin(NR, g.N - n0);
          const Panel panel = direct ? placed(g, n0, k0) : Panel{shared + j * NR * units, columns > W ? NR : W};
          againstPanel(g, rows, p0, p1, local, m0, k0, kc, panel, n0, columns);
        }
      };
      parallelIf(threads > 1, blocks, block);
    }
  }
}

#if !defined(PLUMB_PAIRS)
void gemmBatch(const Gemm& g, int64_t batch, const int64_t* offsetA, const int64_t* offsetB, int64_t strideC) {
  auto one = [&](int64_t i) {
    Gemm h = g;
    h.A += offsetA[i];
    h.B += offsetB[i];
    h.C += i * strideC;
    gemm(h);
  };
  const double work = (double)g.M * g.N * g.K;
  if (batch > 1 && work < 1.6e7 && work * batch > 1e6) {
    const int64_t per = imax(1, (int64_t)(2e5 / (work + 1)));
    parallel(cdiv(batch, per), [&](int64_t t) {
      for (int64_t i = t * per; i < imin(batch, (t + 1) * per); i++) one(i);
    });
  } else {
    for (int64_t i = 0; i < batch; i++) one(i);
  }
}
#endif
}  // namespace

namespace plumb {
#if defined(PLUMB_PAIRS)
void PLUMB_NAME(bf16Gemm)(const Gemm& g) { gemm(g); }
#else
void PLUMB_NAME(gemm)(const Gemm& g) { gemm(g); }
void PLUMB_NAME(fillGemm)(Kernels& k) {
  k.gemm = gemm;
  k.gemmBatch = gemmBatch;
}
#endif
}  // namespace plumb
