// Products. B is packed into panels of two vectors, A into panels of up to MR rows; skinny operands and frozen weights are used where
// they lie. Panels of A are cut as evenly as possible, so that 128 rows are ten panels of 13 and 12 rows and not nine of 14 and one of 2.
// A few rows against a frozen matrix are left to rows.cc.
#include "pack.h"
#include "pool.h"
#include "tile.h"

using namespace plumb;

namespace {
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
struct Tiles {
  TileFn f[2][2][MR + 1] = {};  // [vectors - 1][rows contiguous in k][rows]
  constexpr Tiles() { fill<MR>(); }
  template <int M>
  constexpr void fill() {
    f[0][0][M] = tile<M, 1, false>;
    f[1][0][M] = tile<M, 2, false>;
    if constexpr (!kPairs) {
      f[0][1][M] = tile<M, 1, true>;
      f[1][1][M] = tile<M, 2, true>;
    }
    if constexpr (M > 1) fill<M - 1>();
  }
};
constexpr Tiles kTiles;

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
  TileFn const* f = kTiles.f[columns > W ? 1 : 0][plainRows ? 1 : 0];
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

// A few rows against a frozen matrix, whose panels the threads share.
void fewRowsProduct(const Gemm& g, int threads) {
  const FewRows& few = fewRows[kPairs];
  const float* packed = g.A;
  if (kPairs || g.M > 1) {
    float* to = (float*)scratch(0, (size_t)(g.M * (g.K + 32)) * 4);
    few.pack(g.A, g.lda, g.M, g.K, to);
    packed = to;
  }
  const int64_t panels = cdiv(g.N, kPanel), groups = threads == 1 ? 1 : imin(panels, threads * 4);
  parallel(groups, [&](int64_t i) { few.product(g, packed, panels * i / groups, panels * (i + 1) / groups); });
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
  if (g.frozen && g.transB && !g.transA && !round && g.M <= fewRows[kPairs].most) return fewRowsProduct(g, threads);
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
