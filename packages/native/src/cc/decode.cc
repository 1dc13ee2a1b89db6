// Generation: attention over a paged cache, and a whole step of a decoder in one call. Each token's numbers are worked out as if it were
// alone: attention takes a query's keys in their order, products are chains in the order of K, whatever else is in the step.
#include "kernels.h"
#include "pool.h"
#include "simd.h"

using namespace plumb;

namespace {
constexpr float kInf = __builtin_inff();
constexpr int NV = W == 16 ? 4 : 2;  // vectors of a value row that are summed at once
constexpr int kTile = 6;             // queries that read the same keys at once
constexpr int64_t kSmall = 16384;    // entries below which waking other threads costs more than it saves

INLINE float rsum(vf x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#else
  return hsum(x);
#endif
}
template <class F>
INLINE void vectors(int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + W <= n; i += W) f(i, W);
  if (i < n) f(i, (int)(n - i));
}
INLINE vf ld(const float* p, int k) { return k == W ? load(p) : loadn(p, k); }
INLINE void st(float* p, vf x, int k) {
  if (k == W) store(p, x);
  else storen(p, x, k);
}

// --- attention ------------------------------------------------------------------------------------------------------------------
struct Query {
  const float* q;
  float* y;
  int64_t from, to;  // sees tokens [from, to)
  float* scores;     // of tokens from `begin` on
};

// Dot products of Q queries with tokens [begin, end), begin a multiple of 16; a token's is one chain over the head's dimensions.
template <int Q>
void scoresOf(const Paged& p, const int32_t* table, int head, const Query* t, int64_t begin, int64_t end) {
  const int d = p.headDim;
  constexpr int P = 16 / W;  // vectors of 16 tokens
  const int64_t b = p.blockTokens;
  for (int64_t at = begin; at < end;) {
    const float* k = p.k + ((int64_t)table[at / b] * p.kvHeads + head) * d * b + at % b;
    const bool two = W == 16 && at + 16 < end && at % b + 16 < b;
    // The values of these tokens are read next: as many of their lines at each of the head's dimensions.
    const char* values = (const char*)(p.v + (((int64_t)table[at / b] * p.kvHeads + head) * b + at % b) * d);
    if (two) {
      vf s[Q][2];
#pragma GCC unroll 6
      for (int i = 0; i < Q; i++) s[i][0] = s[i][1] = (vf){};
      for (int j = 0; j < d; j++) {
        prefetch(values + j * 128);
        prefetch(values + j * 128 + 64);
        const vf x = load(k + j * b), y = load(k + j * b + W);
#pragma GCC unroll 6
        for (int i = 0; i < Q; i++) {
          const vf a = set1(t[i].q[j]);
          s[i][0] = fma(a, x, s[i][0]);
          s[i][1] = fma(a, y, s[i][1]);
        }
      }
#pragma GCC unroll 6
      for (int i = 0; i < Q; i++) {
        store(t[i].scores + at - begin, s[i][0]);
        store(t[i].scores + at - begin + W, s[i][1]);
      }
      at += 32;
      continue;
    }
    for (int v = 0; v < P; v++) {
      vf s[Q];
#pragma GCC unroll 6
      for (int i = 0; i < Q; i++) s[i] = (vf){};
      for (int j = 0; j < d; j++) {
        if (v == 0) prefetch(values + j * 64);
        const vf x = load(k + j * b + v * W);
#pragma GCC unroll 6
        for (int i = 0; i < Q; i++) s[i] = fma(set1(t[i].q[j]), x, s[i]);
      }
#pragma GCC unroll 6
      for (int i = 0; i < Q; i++) store(t[i].scores + at - begin + v * W, s[i]);
    }
    at += 16;
  }
}

// Values weighted by what are probabilities by now, over [begin, end); a query's weight is 0 outside what it sees.
template <int Q>
void mixOf(const Paged& p, const int32_t* table, int head, const Query* t, const float* inverse, int64_t begin, int64_t first, int64_t end, const float* next) {
  const int d = p.headDim;
  const int64_t b = p.blockTokens;
  int j = 0;
  for (; j + NV * W <= d; j += NV * W) {
    vf o[Q][NV];
#pragma GCC unroll 6
    for (int i = 0; i < Q; i++)
#pragma GCC unroll 4
      for (int n = 0; n < NV; n++) o[i][n] = (vf){};
    for (int64_t at = first; at < end;) {
      const int64_t stop = imin(end, (at / b + 1) * b);
      const float* v = p.v + (((int64_t)table[at / b] * p.kvHeads + head) * b + at % b) * d + j;
      // Meanwhile the keys of the next head are fetched: they are as many.
      const char* keys = (const char*)(next ? next + (int64_t)table[at / b] * p.kvHeads * d * b + at % b * d : v);
      for (; at < stop; at++, v += d) {
        if (next && j == 0)
          for (int n = 0; n < d; n += 16, keys += 64) prefetch(keys);
        vf x[NV];
#pragma GCC unroll 4
        for (int n = 0; n < NV; n++) x[n] = load(v + n * W);
#pragma GCC unroll 6
        for (int i = 0; i < Q; i++) {
          const vf a = set1(t[i].scores[at - begin]);
#pragma GCC unroll 4
          for (int n = 0; n < NV; n++) o[i][n] = fma(a, x[n], o[i][n]);
        }
      }
    }
#pragma GCC unroll 6
    for (int i = 0; i < Q; i++)
#pragma GCC unroll 4
      for (int n = 0; n < NV; n++) store(t[i].y + j + n * W, o[i][n] * inverse[i]);
  }
  for (; j < d; j += W) {
    const int k = (int)imin(W, d - j);
    vf o[Q];
    for (int i = 0; i < Q; i++) o[i] = (vf){};
    for (int64_t at = first; at < end; at++) {
      const vf x = ld(p.v + (((int64_t)table[at / b] * p.kvHeads + head) * b + at % b) * d + j, k);
      for (int i = 0; i < Q; i++) o[i] = fma(set1(t[i].scores[at - begin]), x, o[i]);
    }
    for (int i = 0; i < Q; i++) st(t[i].y + j, o[i] * inverse[i], k);
  }
}

template <int Q>
void tileOf(const Paged& p, const int32_t* table, int head, Query* t) {
  const int64_t d = p.headDim;
  int64_t first = t[0].from, end = t[0].to;
  for (int i = 1; i < Q; i++) {
    first = imin(first, t[i].from);
    end = imax(end, t[i].to);
  }
  const int64_t begin = first / 16 * 16, width = (end - begin + 31) / 16 * 16;
  float* s = (float*)scratch(4, (size_t)(Q * width + W) * 4);
  for (int i = 0; i < Q; i++) t[i].scores = s + i * width;
  scoresOf<Q>(p, table, head, t, begin, end);
  float inverse[Q];
  for (int i = 0; i < Q; i++) {
    float* own = t[i].scores + (t[i].from - begin);
    const int64_t n = t[i].to - t[i].from;
    vf top = set1(-kInf);
    vectors(n, [&](int64_t j, int k) {
      vf x = ld(own + j, k) * p.scale;
      if (p.softcap > 0) x = p.softcap * vtanh(x / p.softcap);
      st(own + j, x, k);
      top = fastmax(top, k < W ? keep(x, k, -kInf) : x);
    });
    const float m = rmax(top);
    vf total = {};
    vectors(n, [&](int64_t j, int k) {
      vf e = vexp(ld(own + j, k) - m);
      if (k < W) e = keep(e, k, 0);
      st(own + j, e, k);
      total = total + e;
    });
    inverse[i] = 1.f / rsum(total);
    for (int64_t a = first; a < t[i].from; a++) t[i].scores[a - begin] = 0;
    for (int64_t a = t[i].to; a < end; a++) t[i].scores[a - begin] = 0;
  }
  mixOf<Q>(p, table, head, t, inverse, begin, first, end, head + 1 < p.kvHeads ? p.k + (int64_t)(head + 1) * d * p.blockTokens : nullptr);
}

// New keys and values of tokens that are to go to the cache, [n, kvHeads, headDim].
struct Fresh {
  const int32_t* slots = nullptr;
  const float *k = nullptr, *v = nullptr;
  float *keys = nullptr, *values = nullptr;
};
INLINE void append(const Paged& p, const Fresh& f, int64_t i, int head) {
  const int64_t b = p.blockTokens, d = p.headDim, part = f.slots[i] / b * p.kvHeads + head, inside = f.slots[i] % b;
  const float* from = f.k + (i * p.kvHeads + head) * d;
  float* to = f.keys + part * d * b + inside;
  for (int64_t j = 0; j < d; j++) to[j * b] = from[j];
  memcpy(f.values + (part * b + inside) * d, f.v + (i * p.kvHeads + head) * d, (size_t)d * 4);
}

void attend(const Paged& p, const Fresh* fresh, const float* q, float* y) {
  const int group = p.heads / p.kvHeads, d = p.headDim;
  const int most = group >= kTile ? 1 : kTile / group;  // tokens of a tile
  // Tiles of tokens that follow one another in one row.
  int32_t* starts = (int32_t*)scratch(6, (size_t)(p.n + 1) * 4);
  int64_t tiles = 0, work = 0;
  for (int64_t i = 0; i < p.n;) {
    starts[tiles++] = (int32_t)i;
    int64_t e = i + 1;
    while (e < p.n && e - i < most && p.rows[e] == p.rows[i]) e++;
    for (; i < e; i++) work += (int64_t)p.lengths[i] * p.heads * d;
  }
  starts[tiles] = (int32_t)p.n;
  // A token's keys go to the cache in the task that reads them next, unless tokens of other tasks read them too.
  bool apart = fresh != nullptr;
  for (int64_t t = 0; apart && t < tiles; t++)
    for (int64_t u = 0; apart && u < t && tiles <= 64; u++) apart = p.rows[starts[t]] != p.rows[starts[u]];
  if (tiles > 64) apart = false;
  if (fresh && !apart)
    parallelIf(p.n * p.kvHeads * d >= 4 * kSmall, cdiv(p.n, 16), [&](int64_t task) {
      // Sixteen tokens together: neighbours share the lines of the cache that their keys go to.
      for (int h = 0; h < p.kvHeads; h++)
        for (int64_t i = task * 16; i < imin(p.n, task * 16 + 16); i++) append(p, *fresh, i, h);
    });
  const auto one = [&](int64_t tile, int head) {
    const int64_t a = starts[tile], e = starts[tile + 1];
    const int32_t* table = p.tables + p.rows[a] * p.blocksPerRow;
    if (apart)
      for (int64_t i = a; i < e; i++) append(p, *fresh, i, head);
    Query t[kTile];
    int count = 0;
    auto flush = [&] {
      switch (count) {
        case 1: tileOf<1>(p, table, head, t); break;
        case 2: tileOf<2>(p, table, head, t); break;
        case 3: tileOf<3>(p, table, head, t); break;
        case 4: tileOf<4>(p, table, head, t); break;
        case 5: tileOf<5>(p, table, head, t); break;
        case 6: tileOf<6>(p, table, head, t); break;
      }
      count = 0;
    };
    for (int64_t i = a; i < e; i++)
      for (int h = head * group; h < (head + 1) * group; h++) {
        const int64_t at = (i * p.heads + h) * d, to = p.lengths[i], from = p.window && to > p.window ? to - p.window : 0;
        t[count++] = {q + at, y + at, from, to, nullptr};
        if (count == kTile) flush();
      }
    flush();
  };
  // All heads of a tile in one task, whose keys and values lie side by side, unless there are too few tiles for that.
  const int64_t heads = tiles >= 2 * threadCount() ? p.kvHeads : 1;
  parallelIf(work >= 4 * kSmall, tiles * (p.kvHeads / heads), [&](int64_t task) {
    const int64_t tile = task / (p.kvHeads / heads), first = heads == 1 ? task % p.kvHeads : 0;
    for (int64_t h = first; h < first + heads; h++) one(tile, (int)h);
  });
}
void pagedAttention(const Paged& p, const float* q, float* y) { attend(p, nullptr, q, y); }

// --- a step -----------------------------------------------------------------------------------------------------------------------
// Several products of the same input, in one go: each task takes a share of the columns of all of them, and then `after(task's share)`.
struct Product {
  Gemm g;
  const StepMatrix* m;
};
constexpr int64_t kFewRows = 64;
template <class F>
void products(const Kernels& K, const Product* list, int count, const F& after) {
  const Gemm& g0 = list[0].g;
  const FewRows& few = fewRows[g0.bf16 ? 1 : 0];
  double work = 0;
  int64_t ranks = 0;
  bool sliced = true, fits = few.product != nullptr && g0.M <= kFewRows;
  for (int i = 0; i < count; i++) {
    const Gemm& g = list[i].g;
    work += (double)g.M * g.N * g.K;
    sliced = sliced && g.transB;
    fits = fits && g.frozen != nullptr;
    if (list[i].m->a) ranks += list[i].m->rank;
  }
  // What an adapter's first factors make of the input, which all columns read.
  float* inner = ranks ? (float*)scratch(3, (size_t)(g0.M * ranks) * 4) : nullptr;
  const auto innerOf = [&](int i) {
    float* u = inner;
    for (int j = 0; j < i; j++)
      if (list[j].m->a) u += g0.M * list[j].m->rank;
    return u;
  };
  if (inner)
    parallelIf(count > 1 && (double)g0.M * ranks * g0.K >= 1e5, count, [&](int64_t i) {
      const StepMatrix& m = *list[i].m;
      if (!m.a) return;
      float* u = innerOf((int)i);
      K.gemm(Gemm{g0.M, m.rank, g0.K, g0.A, g0.lda, false, m.a, g0.K, true, u, m.rank});
      vectors(g0.M * m.rank, [&](int64_t j, int k) { st(u + j, ld(u + j, k) * m.scale, k); });
    });
  const auto update = [&](int i, int64_t from, int64_t to) {
    const StepMatrix& m = *list[i].m;
    if (!m.a) return;
    const Gemm& g = list[i].g;
    const int64_t n = to - from;
    float* v = (float*)scratch(5, (size_t)(g.M * n) * 4);
    K.gemm(Gemm{g.M, n, m.rank, innerOf(i), m.rank, false, m.b + from * m.rank, m.rank, true, v, n});
    for (int64_t r = 0; r < g.M; r++) {
      float* y = g.C + r * g.ldc + from;
      vectors(n, [&](int64_t j, int k) { st(y + j, ld(y + j, k) + ld(v + r * n + j, k), k); });
    }
  };
  const int threads = threadCount();
  const int64_t panels = cdiv(g0.N, kPanel);
  if (!fits && (!sliced || g0.M > 12 || threads == 1 || work < 1e5)) {
    for (int i = 0; i < count; i++) {
      K.gemm(list[i].g);
      update(i, 0, list[i].g.N);
    }
    after(0, g0.N);
    return;
  }
  const float* packed = nullptr;
  if (fits) {
    float* to = (float*)scratch(7, (size_t)(g0.M * (g0.K + 32)) * 4);
    few.pack(g0.A, g0.lda, g0.M, g0.K, to);
    packed = to;
  }
  // Shares are even in the panels of each product; with one thread less to wait for, the last ones are smaller.
  const int64_t tasks = threads == 1 || work < 1e5 ? 1 : imin(panels, threads * 4);
  parallel(tasks, [&](int64_t t) {
    for (int i = 0; i < count; i++) {
      const Gemm& g = list[i].g;
      const int64_t all = cdiv(g.N, kPanel), first = all * t / tasks, end = all * (t + 1) / tasks, from = first * kPanel, to = imin(g.N, end * kPanel);
      if (from >= to) continue;
      if (fits) {
        few.product(g, packed, first, end);
      } else {
        Gemm part = g;
        Frozen share;
        part.N = to - from;
        if (part.frozen) {
          share = *part.frozen;
          share.data += first * share.panelBytes();
          if (share.scales) share.scales += from;
          share.out = part.N;
          part.frozen = &share;
        } else {
          part.B += from * part.ldb;
        }
        part.C += from;
        if (part.bias) part.bias += from;
        K.gemm(part);
      }
      update(i, from, to);
    }
    const int64_t from = panels * t / tasks * kPanel, to = imin(g0.N, panels * (t + 1) / tasks * kPanel);
    if (from < to) after(from, to);
  });
}
const auto nothing = [](int64_t, int64_t) {};

void decoderStep(const Kernels& K, const Step& s, float* x, float* logits) {
  const int64_t n = s.n, width = s.width, d = s.headDim, q = s.heads * d, kv = s.kvHeads * d, mlp = s.mlpWidth;
  // One piece of memory for all that lives during a step.
  const int64_t most = imax(imax(q + 2 * kv, q), imax(2 * mlp, width));
  float* memory = (float*)scratch(1, (size_t)(n * (2 * width + q + most + s.heads + 2) + width + 64) * 4);
  float *h = memory, *o = h + n * width, *mixed = o + n * width, *wide = mixed + n * q, *r = wide + n * most, *plus = r + n * (s.heads + 2);
  auto gemmOf = [&](const StepMatrix& m, const float* a, float* c, int64_t rows) {
    Gemm g{rows, m.out, m.in, a, m.in, false, m.weight, m.transposed ? m.out : m.in, !m.transposed, c, m.out};
    g.bias = m.bias;
    g.bf16 = s.bf16;
    if (m.isFrozen) g.frozen = &m.frozen;
    return Product{g, &m};
  };
  auto norm = [&](const StepNorm& w, const float* from, float* to, int64_t rows, int64_t n2) {
    if (w.bias) return K.layerNorm(from, w.weight, w.bias, to, r, r + rows, rows, n2, s.eps);
    const float* scale = w.weight;
    if (s.gemma) {
      vectors(n2, [&](int64_t j, int k) { st(plus + j, ld(w.weight + j, k) + 1.f, k); });
      scale = plus;
    }
    K.rmsNorm(from, scale, to, r, rows, n2, s.eps);
  };
  auto add = [&](float* to, const float* a) {
    parallelIf(n * width >= 4 * kSmall, cdiv(n * width, kSmall), [&](int64_t t) {
      const int64_t from = t * kSmall;
      vectors(imin(kSmall, n * width - from), [&](int64_t j, int k) { st(to + from + j, ld(to + from + j, k) + ld(a + from + j, k), k); });
    });
  };
  for (int64_t layer = 0; layer < s.layers; layer++) {
    const StepLayer& l = s.layer[layer];
    norm(l.attentionNorm, x, h, n, width);
    float *qs, *ks, *vs;
    if (s.qkvParts == 3) {
      qs = wide, ks = qs + n * q, vs = ks + n * kv;
      const Product g[3] = {gemmOf(l.qkv[0], h, qs, n), gemmOf(l.qkv[1], h, ks, n), gemmOf(l.qkv[2], h, vs, n)};
      products(K, g, 3, nothing);
    } else {  // one matrix: its parts are brought apart
      float* all = wide;
      const Product g = gemmOf(l.qkv[0], h, all, n);
      products(K, &g, 1, nothing);
      float* apart = (float*)scratch(5, (size_t)(n * (q + 2 * kv)) * 4);
      qs = apart, ks = qs + n * q, vs = ks + n * kv;
      for (int64_t i = 0; i < n; i++) {
        memcpy(qs + i * q, all + i * (q + 2 * kv), (size_t)q * 4);
        memcpy(ks + i * kv, all + i * (q + 2 * kv) + q, (size_t)kv * 4);
        memcpy(vs + i * kv, all + i * (q + 2 * kv) + q + kv, (size_t)kv * 4);
      }
    }
    if (l.qNorm.weight) norm(l.qNorm, qs, qs, n * s.heads, d);
    if (l.kNorm.weight) norm(l.kNorm, ks, ks, n * s.kvHeads, d);
    if (s.cos) {
      K.rotary(qs, s.cos, s.sin, qs, n, s.heads, d, false);
      K.rotary(ks, s.cos, s.sin, ks, n, s.kvHeads, d, false);
    }
    Paged p = s.paged;
    p.k = l.keys;
    p.v = l.values;
    p.window = l.window;
    const Fresh fresh{s.slots, ks, vs, l.keys, l.values};
    attend(p, &fresh, qs, mixed);
    const Product out = gemmOf(l.o, mixed, o, n);
    products(K, &out, 1, nothing);
    if (l.afterAttention.weight) norm(l.afterAttention, o, o, n, width);
    add(x, o);
    norm(l.mlpNorm, x, h, n, width);
    float *gate = wide, *up = wide + n * mlp;
    if (s.upParts == 2) {
      const Product g[2] = {gemmOf(l.up[0], h, gate, n), gemmOf(l.up[1], h, up, n)};
      products(K, g, 2, [&](int64_t from, int64_t to) {
        for (int64_t i = 0; i < n; i++) {
          float *a = gate + i * mlp + from, *b = up + i * mlp + from;
          if (s.gelu) {
            K.unary(kGeluTanh, a, a, to - from, 0, 0);
            vectors(to - from, [&](int64_t j, int k) { st(a + j, ld(a + j, k) * ld(b + j, k), k); });
          } else {
            K.swiGlu(a, b, a, to - from);
          }
        }
      });
    } else if (s.fusedUp) {  // gate and up in one matrix
      const Product g = gemmOf(l.up[0], h, wide, n);
      products(K, &g, 1, nothing);
      for (int64_t i = 0; i < n; i++) K.swiGlu(wide + i * 2 * mlp, wide + i * 2 * mlp + mlp, wide + i * mlp, mlp);
    } else {
      const Product g = gemmOf(l.up[0], h, gate, n);
      products(K, &g, 1, [&](int64_t from, int64_t to) {
        for (int64_t i = 0; i < n; i++) K.unary(kGeluTanh, gate + i * mlp + from, gate + i * mlp + from, to - from, 0, 0);
      });
    }
    const Product down = gemmOf(l.down, gate, o, n);
    products(K, &down, 1, nothing);
    if (l.afterMlp.weight) norm(l.afterMlp, o, o, n, width);
    add(x, o);
  }
  if (s.wantedCount == 0) return;
  float* last = h;
  for (int64_t i = 0; i < s.wantedCount; i++) memcpy(o + i * width, x + s.wanted[i] * width, (size_t)width * 4);
  norm(s.finalNorm, o, last, s.wantedCount, width);
  const Product head = gemmOf(s.head, last, logits, s.wantedCount);
  products(K, &head, 1, nothing);
  if (s.logitSoftcap > 0)
    parallelIf(true, s.wantedCount, [&](int64_t i) {
      float* y = logits + i * s.head.out;
      vectors(s.head.out, [&](int64_t j, int k) { st(y + j, vtanh(ld(y + j, k) / s.logitSoftcap) * s.logitSoftcap, k); });
    });
}
}  // namespace

namespace plumb {
void PLUMB_NAME(fillDecode)(Kernels& k) {
  k.pagedAttention = pagedAttention;
  k.decoderStep = decoderStep;
}
}  // namespace plumb
