// Products. B is packed into panels of two vectors, A into panels of up to MR rows; skinny operands are used where they lie.
// Panels of A are cut as evenly as possible, so that 128 rows are ten panels of 13 and 12 rows and not nine of 14 and one of 2.
#include "kernels.h"
#include "pool.h"
#include "simd.h"

using namespace plumb;

namespace {
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

struct Tile {
  int64_t kc;
  const float* a;
  int64_t sa;  // ROWS: from row to row (k is contiguous); else from k to k (rows are contiguous)
  const float* b;
  int64_t sb;
  float* c;
  int64_t ldc;
  int columns;  // 1..NV·W
  const float* bias;
  bool load, relu;
};

template <int M, int NV, bool ROWS>
void tile(const Tile& t) {
  vf acc[M][NV];
  const int tail = t.columns - (NV - 1) * W;  // lanes of the last vector, 1..W
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
  for (int64_t k = t.kc; k > 0; k--) {
    vf bv[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) bv[j] = load(b + j * W);
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vf av = set1(ROWS ? a[i * sa] : a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[i][j] = fma(av, bv[j], acc[i][j]);
    }
    a += ROWS ? 1 : sa;
    b += sb;
  }
  if (t.bias) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; j++) {
      vf bias = j < NV - 1 ? load(t.bias + j * W) : loadn(t.bias + j * W, tail);
#pragma GCC unroll 16
      for (int i = 0; i < M; i++) acc[i][j] = acc[i][j] + bias;
    }
  }
  if (t.relu) {
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 4
      for (int j = 0; j < NV; j++) acc[i][j] = sel(acc[i][j] < 0.f, (vf){}, acc[i][j]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
#pragma GCC unroll 4
    for (int j = 0; j < NV - 1; j++) store(t.c + i * t.ldc + j * W, acc[i][j]);
    if (tail == W) store(t.c + i * t.ldc + (NV - 1) * W, acc[i][NV - 1]);
    else storen(t.c + i * t.ldc + (NV - 1) * W, acc[i][NV - 1], tail);
  }
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
    Fill<1, true, MR>::into(f[0][1]);
    Fill<2, false, MR>::into(f[1][0]);
    Fill<2, true, MR>::into(f[1][1]);
  }
};
const Tiles& tiles() {
  static const Tiles* t = new Tiles();
  return *t;
}

#if defined(__AVX512F__)
INLINE void transposeTile(__m512* r) {
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
INLINE void transposeTile(__m256* r) {
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
#endif

// dst[k·stride + r] = src[r·ld + k] for r < rows <= W; lanes rows..width of each k are zeroed or overwritten by the next k.
// `width` is what may be written for one k: W writes whole vectors in ascending order of k.
void packTransposed(const float* src, int64_t ld, int rows, int64_t kc, float* dst, int64_t stride, bool whole) {
  int64_t k = 0;
#if defined(__AVX512F__) || defined(__AVX2__)
  for (; k + W <= kc; k += W) {
    vf r[W];
    for (int i = 0; i < W; i++) r[i] = i < rows ? load(src + i * ld + k) : (vf){};
#if defined(__AVX512F__)
    transposeTile((__m512*)r);
#else
    transposeTile((__m256*)r);
#endif
    if (whole)
      for (int i = 0; i < W; i++) store(dst + (k + i) * stride, r[i]);
    else
      for (int i = 0; i < W; i++) storen(dst + (k + i) * stride, r[i], rows);
  }
#endif
  for (; k < kc; k++) {
    float* d = dst + k * stride;
    for (int r = 0; r < rows; r++) d[r] = src[r * ld + k];
    if (whole && stride >= W)
      for (int r = rows; r < W; r++) d[r] = 0;
  }
}

// A panel of `rows` rows from row m0: dst[k·rows + r].
void packA(const Gemm& g, int64_t m0, int rows, int64_t k0, int64_t kc, float* dst) {
  if (!g.transA) {
    for (int r = 0; r < rows; r += W) {
      int n = rows - r < W ? rows - r : W;
      packTransposed(g.A + (m0 + r) * g.lda + k0, g.lda, n, kc, dst + r, rows, rows <= W);
    }
    return;
  }
  const float* s = g.A + k0 * g.lda + m0;
  if (rows <= W) {
    for (int64_t k = 0; k < kc; k++) storen(dst + k * rows, loadn(s + k * g.lda, rows), rows);
  } else {
    for (int64_t k = 0; k < kc; k++) memcpy(dst + k * rows, s + k * g.lda, (size_t)rows * 4);
  }
}

// A panel of `columns` <= NR columns from n0, padded with zeros to `width` (W or NR): dst[k·width + j].
void packB(const Gemm& g, int64_t n0, int columns, int width, int64_t k0, int64_t kc, float* dst) {
  if (g.transB) {
    for (int j = 0; j < width; j += W) {
      int n = columns - j < W ? columns - j : W;
      packTransposed(g.B + (n0 + j) * g.ldb + k0, g.ldb, n < 0 ? 0 : n, kc, dst + j, width, true);
    }
    return;
  }
  const float* s = g.B + k0 * g.ldb + n0;
  if (columns == NR && width == NR) {
    for (int64_t k = 0; k < kc; k++) {
      store(dst + k * NR, load(s + k * g.ldb));
      store(dst + k * NR + W, load(s + k * g.ldb + W));
    }
    return;
  }
  for (int64_t k = 0; k < kc; k++)
    for (int j = 0; j < width; j += W) {
      int n = columns - j < W ? columns - j : W;
      store(dst + k * width + j, loadn(s + k * g.ldb + j, n < 0 ? 0 : n));
    }
}

struct Cut {  // n things in parts of at most `most`, as even as possible
  int64_t n, parts;
  Cut(int64_t n, int64_t most) : n(n), parts(n ? cdiv(n, most) : 0) {}
  int64_t at(int64_t i) const { return n * i / parts; }
};

struct Panel {  // columns of B ready for the tiles
  const float* b;
  int64_t sb;
};

// Rows [0, panels) of packed or plain A against one panel of B.
INLINE void againstPanel(const Gemm& g, const Cut& rows, int64_t p0, int64_t p1, const float* packedA, int64_t packedBase, int64_t k0, int64_t kc, Panel panel, int64_t n0, int columns) {
  Tile t;
  t.kc = kc;
  t.b = panel.b;
  t.sb = panel.sb;
  t.ldc = g.ldc;
  t.columns = columns;
  const bool last = k0 + kc == g.K;
  t.bias = last && g.bias ? g.bias + n0 : nullptr;
  t.relu = last && g.relu;
  t.load = k0 > 0 || g.accumulate;
  const bool plainRows = !packedA && !g.transA;
  TileFn const* f = tiles().f[columns > W ? 1 : 0][plainRows ? 1 : 0];
  for (int64_t p = p0; p < p1; p++) {
    int64_t m0 = rows.at(p);
    int m = (int)(rows.at(p + 1) - m0);
    if (packedA) {
      t.a = packedA + (m0 - packedBase) * kc + (p - p0) * W;
      t.sa = m;
    } else if (g.transA) {
      t.a = g.A + k0 * g.lda + m0;
      t.sa = g.lda;
    } else {
      t.a = g.A + m0 * g.lda + k0;
      t.sa = g.lda;
    }
    t.c = g.C + m0 * g.ldc + n0;
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

void gemm(const Gemm& g) {
  if (g.M <= 0 || g.N <= 0) return;
  if (g.K <= 0) return clear(g);
  const double work = (double)g.M * g.N * g.K;
  const int threads = work < 1.5e6 ? 1 : threadCount();
  const Cut ks(g.K, g.K <= 512 ? 512 : 384);
  const int64_t kMax = cdiv(g.K, ks.parts);
  const int64_t panels = cdiv(g.N, NR);
  const Cut rows(g.M, MR);

  if (g.M <= 12 * MR) {
    // Few rows: A is packed once (or used as it lies), and each task packs its panels of B one by one into its first-level cache.
    const bool useA = rows.parts == 1 ? g.transA || g.N <= 4 * NR || g.M <= 2 : panels <= 1;
    float* packed = nullptr;
    const int64_t perK = g.M + 0, pad = rows.parts * W;
    if (!useA) {
      packed = (float*)scratch(0, (size_t)(perK * g.K + pad * ks.parts + 64) * 4);
      auto block = [&](int64_t i) {
        int64_t kb = i / rows.parts, p = i % rows.parts;
        int64_t k0 = ks.at(kb), kc = ks.at(kb + 1) - k0, m0 = rows.at(p);
        packA(g, m0, (int)(rows.at(p + 1) - m0), k0, kc, packed + k0 * perK + kb * pad + m0 * kc + p * W);
      };
      if (threads > 1 && (double)g.M * g.K > 1e5) parallel(ks.parts * rows.parts, block);
      else
        for (int64_t i = 0; i < ks.parts * rows.parts; i++) block(i);
    }
    const int64_t groups = threads == 1 ? 1 : imin(panels, threads * 4);
    auto group = [&](int64_t i) {
      const int64_t first = panels * i / groups, end = panels * (i + 1) / groups;
      float* local = (float*)scratch(2, (size_t)(NR * kMax + 64) * 4);
      for (int64_t kb = 0; kb < ks.parts; kb++) {
        int64_t k0 = ks.at(kb), kc = ks.at(kb + 1) - k0;
        for (int64_t p = first; p < end; p++) {
          int64_t n0 = p * NR;
          int columns = (int)imin(NR, g.N - n0), width = columns > W ? NR : W;
          Panel panel{local, width};
          if (!g.transB && columns == width && rows.parts <= 2 && (g.ldb & 255) != 0) panel = {g.B + k0 * g.ldb + n0, g.ldb};
          else packB(g, n0, columns, width, k0, kc, local);
          againstPanel(g, rows, 0, rows.parts, packed ? packed + k0 * perK + kb * pad : nullptr, 0, k0, kc, panel, n0, columns);
        }
      }
    };
    parallel(groups, group);
    return;
  }

  // Many rows: a block of B is packed once and shared; each task packs a block of A into its second-level cache.
  const int64_t ncPanels = imax(1, imin(panels, (int64_t)(4 << 20) / (4 * NR * kMax)));
  const Cut columnsCut(panels, ncPanels);
  const int64_t most = imax(1, 144 * 256 / (MR * imax(kMax, 128)));  // panels of A in one block
  int64_t blocks = cdiv(rows.parts, most);
  if (threads > 1) {
    blocks = imax(blocks, imin(rows.parts, threads * 4));
    blocks = cdiv(blocks, threads) * threads;
    blocks = imin(blocks, rows.parts);
  }
  const bool useA = !g.transA && g.N <= 2 * NR && (g.lda & 255) != 0;
  for (int64_t jc = 0; jc < columnsCut.parts; jc++) {
    const int64_t firstPanel = columnsCut.at(jc), endPanel = columnsCut.at(jc + 1), count = endPanel - firstPanel;
    for (int64_t kb = 0; kb < ks.parts; kb++) {
      const int64_t k0 = ks.at(kb), kc = ks.at(kb + 1) - k0;
      float* shared = (float*)scratch(0, (size_t)(count * NR * kc + 64) * 4);
      auto pack = [&](int64_t i) {
        int64_t n0 = (firstPanel + i) * NR;
        int columns = (int)imin(NR, g.N - n0);
        packB(g, n0, columns, columns > W ? NR : W, k0, kc, shared + i * NR * kc);
      };
      if (threads > 1 && (double)count * NR * kc > 6e4) parallel(count, pack);
      else
        for (int64_t i = 0; i < count; i++) pack(i);
      auto block = [&](int64_t i) {
        const int64_t p0 = rows.parts * i / blocks, p1 = rows.parts * (i + 1) / blocks, m0 = rows.at(p0);
        float* local = nullptr;
        if (!useA) {
          local = (float*)scratch(2, (size_t)((rows.at(p1) - m0) * kc + (p1 - p0) * W + 64) * 4);
          for (int64_t p = p0; p < p1; p++) packA(g, rows.at(p), (int)(rows.at(p + 1) - rows.at(p)), k0, kc, local + (rows.at(p) - m0) * kc + (p - p0) * W);
        }
        for (int64_t j = 0; j < count; j++) {
          int64_t n0 = (firstPanel + j) * NR;
          int columns = (int)imin(NR, g.N - n0);
          againstPanel(g, rows, p0, p1, local, m0, k0, kc, {shared + j * NR * kc, columns > W ? NR : W}, n0, columns);
        }
      };
      if (threads > 1) parallel(blocks, block);
      else
        for (int64_t i = 0; i < blocks; i++) block(i);
    }
  }
}

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
}  // namespace

namespace plumb {
void PLUMB_NAME(gemm)(const Gemm& g) { gemm(g); }
void PLUMB_NAME(fillGemm)(Kernels& k) {
  k.gemm = gemm;
  k.gemmBatch = gemmBatch;
}
}  // namespace plumb
