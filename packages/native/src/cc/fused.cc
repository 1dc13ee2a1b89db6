// The fused kernels of a decoder. Products inside them go through gemm, so that each element is one chain in a fixed order; sums
// over rows (gradients of norms) go through fixed blocks of rows.
#include "kernels.h"
#include "pool.h"
#include "simd.h"

using namespace plumb;

namespace {
const auto gemm = PLUMB_NAME(gemm);
constexpr int64_t kBlock = 16384;

// f(begin, end) over [0, n) in fixed blocks; `work` counts entries in all, if blocks are not about kBlock of them.
template <class F>
void blocks(int64_t n, int64_t size, const F& f, int64_t work = -1) {
  if (n <= 0) return;
  const int64_t tasks = cdiv(n, size);
  parallelIf(work < 0 ? tasks >= 4 : work >= 4 * kBlock, tasks, [&](int64_t t) { f(t * size, imin(n, (t + 1) * size)); });
}
INLINE int64_t rowsPerTask(int64_t n) { return imax(1, kBlock / imax(1, n)); }
INLINE vf head(vf x, int n) { return keep(x, n, 0); }
constexpr float kInf = __builtin_inff();
INLINE float rsum(vf x) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)x);
#else
  return hsum(x);
#endif
}
// f(offset, lanes) over [0, n) in vectors.
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

// Adds up what each block of rows left in part[blocks][n], in order.
void joinBlocks(const float* part, int64_t count, int64_t n, float* y) {
  blocks(n, 1024, [&](int64_t i, int64_t end) {
    for (; i < end; i += W) {
      int k = (int)imin(W, end - i);
      vf s = {};
      for (int64_t b = 0; b < count; b++) s = s + ld(part + b * n + i, k);
      st(y + i, s, k);
    }
  }, count * n);
}

// --- normalisation --------------------------------------------------------------------------------------------------------------
void rmsNorm(const float* x, const float* w, float* y, float* r, int64_t rows, int64_t n, float eps) {
  blocks(rows, rowsPerTask(n), [&](int64_t i, int64_t end) {
    for (; i < end; i++) {
      const float* p = x + i * n;
      float* q = y + i * n;
      vf s = {};
      vectors(n, [&](int64_t j, int k) { vf a = ld(p + j, k); s = fma(a, a, s); });
      float scale = 1.f / sqrtf(rsum(s) / (float)n + eps);
      r[i] = scale;
      vectors(n, [&](int64_t j, int k) { st(q + j, ld(p + j, k) * scale * ld(w + j, k), k); });
    }
  });
}
void rmsNormGrad(const float* dy, const float* x, const float* w, const float* r, float* dx, float* dw, int64_t rows, int64_t n) {
  const int64_t size = 64, count = cdiv(rows, size);
  float* part = dw ? (float*)scratch(3, (size_t)imax(1, count * n) * 4) : nullptr;
  blocks(rows, size, [&](int64_t i, int64_t end) {
    float* own = part ? part + i / size * n : nullptr;
    if (own) memset(own, 0, (size_t)n * 4);
    for (; i < end; i++) {
      const float *p = x + i * n, *g = dy + i * n;
      const float scale = r[i];
      if (dx) {
        vf s = {};
        vectors(n, [&](int64_t j, int k) { s = fma(ld(g + j, k) * ld(w + j, k), ld(p + j, k) * scale, s); });
        const float mean = rsum(s) / (float)n;
        vectors(n, [&](int64_t j, int k) { st(dx + i * n + j, scale * (ld(g + j, k) * ld(w + j, k) - ld(p + j, k) * scale * mean), k); });
      }
      if (own) vectors(n, [&](int64_t j, int k) { st(own + j, fma(ld(g + j, k), ld(p + j, k) * scale, ld(own + j, k)), k); });
    }
  }, rows * n);
  if (dw) joinBlocks(part, count, n, dw);
}
void layerNorm(const float* x, const float* w, const float* b, float* y, float* mean, float* r, int64_t rows, int64_t n, float eps) {
  blocks(rows, rowsPerTask(n), [&](int64_t i, int64_t end) {
    for (; i < end; i++) {
      const float* p = x + i * n;
      vf s = {};
      vectors(n, [&](int64_t j, int k) { s = s + ld(p + j, k); });
      const float m = rsum(s) / (float)n;
      vf t = {};
      vectors(n, [&](int64_t j, int k) {
        vf d = ld(p + j, k) - m;
        if (k < W) d = head(d, k);
        t = fma(d, d, t);
      });
      const float scale = 1.f / sqrtf(rsum(t) / (float)n + eps);
      mean[i] = m;
      r[i] = scale;
      vectors(n, [&](int64_t j, int k) { st(y + i * n + j, fma((ld(p + j, k) - m) * scale, ld(w + j, k), ld(b + j, k)), k); });
    }
  });
}
void layerNormGrad(const float* dy, const float* x, const float* w, const float* mean, const float* r, float* dx, float* dw, float* db, int64_t rows, int64_t n) {
  const int64_t size = 64, count = cdiv(rows, size);
  float* part = dw || db ? (float*)scratch(3, (size_t)imax(1, 2 * count * n) * 4) : nullptr;
  blocks(rows, size, [&](int64_t i, int64_t end) {
    float* ownW = part ? part + i / size * n : nullptr;
    float* ownB = part ? ownW + count * n : nullptr;
    if (part) {
      memset(ownW, 0, (size_t)n * 4);
      memset(ownB, 0, (size_t)n * 4);
    }
    for (; i < end; i++) {
      const float *p = x + i * n, *g = dy + i * n;
      const float m = mean[i], scale = r[i];
      if (dx) {
        vf s = {}, t = {};
        vectors(n, [&](int64_t j, int k) {
          vf gw = ld(g + j, k) * ld(w + j, k);
          s = s + gw;
          t = fma(gw, (ld(p + j, k) - m) * scale, t);
        });
        const float a = rsum(s) / (float)n, c = rsum(t) / (float)n;
        vectors(n, [&](int64_t j, int k) { st(dx + i * n + j, scale * (ld(g + j, k) * ld(w + j, k) - a - (ld(p + j, k) - m) * scale * c), k); });
      }
      if (part)
        vectors(n, [&](int64_t j, int k) {
          vf gv = ld(g + j, k);
          st(ownW + j, fma(gv, (ld(p + j, k) - m) * scale, ld(ownW + j, k)), k);
          st(ownB + j, ld(ownB + j, k) + gv, k);
        });
    }
  }, rows * n);
  if (dw) joinBlocks(part, count, n, dw);
  if (db) joinBlocks(part + count * n, count, n, db);
}

// --- rotary, activations --------------------------------------------------------------------------------------------------------
void rotary(const float* x, const float* cosines, const float* sines, float* y, int64_t tokens, int64_t heads, int64_t headDim, bool inverse) {
  const int64_t half = headDim / 2;
  blocks(tokens, rowsPerTask(heads * headDim), [&](int64_t t, int64_t end) {
    for (; t < end; t++)
      for (int64_t h = 0; h < heads; h++) {
        const float* p = x + (t * heads + h) * headDim;
        float* q = y + (t * heads + h) * headDim;
        vectors(half, [&](int64_t j, int k) {
          vf c = ld(cosines + t * half + j, k), s = ld(sines + t * half + j, k), a = ld(p + j, k), b = ld(p + half + j, k);
          if (inverse) s = -s;
          st(q + j, a * c - b * s, k);
          st(q + half + j, b * c + a * s, k);
        });
      }
  });
}
void swiGlu(const float* gate, const float* up, float* y, int64_t n) {
  blocks(n, kBlock, [&](int64_t i, int64_t end) {
    vectors(end - i, [&](int64_t j, int k) {
      vf g = ld(gate + i + j, k);
      st(y + i + j, g * vsigmoid(g) * ld(up + i + j, k), k);
    });
  });
}
void swiGluGrad(const float* dy, const float* gate, const float* up, float* dGate, float* dUp, int64_t n) {
  blocks(n, kBlock, [&](int64_t i, int64_t end) {
    vectors(end - i, [&](int64_t j, int k) {
      vf g = ld(gate + i + j, k), s = vsigmoid(g), d = ld(dy + i + j, k) * s;
      if (dGate) st(dGate + i + j, d * ld(up + i + j, k) * fma(g, 1.f - s, set1(1.f)), k);
      if (dUp) st(dUp + i + j, d * g, k);
    });
  });
}
void geluGrad(const float* dy, const float* x, float* dx, int64_t n) {
  const float slope = 0.7978845608028654f, cubic = 0.044715f;
  blocks(n, kBlock, [&](int64_t i, int64_t end) {
    vectors(end - i, [&](int64_t j, int k) {
      vf a = ld(x + i + j, k), t = vtanh(slope * fma(a * a * a, set1(cubic), a));
      vf du = slope * fma(a * a, set1(3 * cubic), set1(1.f));
      st(dx + i + j, ld(dy + i + j, k) * (0.5f * (1.f + t) + 0.5f * a * (1.f - t * t) * du), k);
    });
  });
}

// --- attention ------------------------------------------------------------------------------------------------------------------
constexpr int kQ = 64, kK = 256;

// Keys of one query block: a stretch of tokens, and the place of its first key before or after the segment's first query.
struct Keys {
  int64_t from, count;
  int64_t place;
};
INLINE bool sees(const Attention& a, int64_t ahead) { return (!a.causal || ahead <= 0) && (!a.window || (ahead < a.window && -ahead < a.window)); }

// f(keys) for each block of keys that the queries [q0, q1) of segment s can see, in order.
template <class F>
INLINE void keyBlocks(const Attention& a, int s, int64_t q0, int64_t q1, const F& f) {
  const int64_t start = a.cuSeqlens[s], length = a.cuSeqlens[s + 1] - start;
  const int p = a.prefixOf ? a.prefixOf[s] : -1;
  const int64_t before = p < 0 ? 0 : a.cuSeqlens[p + 1] - a.cuSeqlens[p];
  auto stretch = [&](int64_t token, int64_t count, int64_t place) {
    for (int64_t k = 0; k < count; k += kK) {
      int64_t first = place + k, n = imin(kK, count - k);
      if (a.causal && first > q1 - 1) break;
      if (a.window && (first + n - 1 <= q0 - a.window || first >= q1 - 1 + a.window)) continue;
      if (a.causal) n = imin(n, q1 - first);
      f(Keys{token + k, n, first});
    }
  };
  if (before) stretch(a.cuSeqlens[p], before, -before);
  stretch(start, length, 0);
}

// Scaled and capped scores of one block; what is not seen is left for the caller to mask.
INLINE void scoreBlock(const Attention& a, int h, int64_t qToken, int64_t nq, const Keys& keys, float* s) {
  const int hk = (int)((int64_t)h * a.kvHeads / a.heads), d = a.headDim;
  Gemm g{nq, keys.count, d, a.q + (qToken * a.heads + h) * d, (int64_t)a.heads * d, false, a.k + (keys.from * a.kvHeads + hk) * d, (int64_t)a.kvHeads * d, true, s, kK};
  gemm(g);
}
INLINE vf capped(const Attention& a, vf raw) {
  vf x = raw * a.scale;
  return a.softcap > 0 ? a.softcap * vtanh(x / a.softcap) : x;
}
// The range of keys [lo, hi) within a block that query i (place in its segment) sees.
INLINE void visible(const Attention& a, int64_t i, const Keys& keys, int64_t& lo, int64_t& hi) {
  lo = 0;
  hi = keys.count;
  if (a.causal) hi = imin(hi, i - keys.place + 1);
  if (a.window) {
    lo = imax(lo, i - a.window + 1 - keys.place);
    hi = imin(hi, i + a.window - keys.place);
  }
  if (hi < lo) hi = lo;
}

struct QueryBlock {
  int s;
  int64_t q0, q1;
};
// The query blocks of all segments, written to `list` if it is there; how many there are.
int64_t queryBlocks(const Attention& a, QueryBlock* list) {
  int64_t n = 0;
  for (int s = 0; s < a.segments; s++)
    for (int64_t q = 0, length = a.cuSeqlens[s + 1] - a.cuSeqlens[s]; q < length; q += kQ) {
      if (list) list[n] = {s, q, imin(length, q + kQ)};
      n++;
    }
  return n;
}

void attention(const Attention& a, float* y, float* lse) {
  const int64_t count = queryBlocks(a, nullptr);
  QueryBlock* list = (QueryBlock*)scratch(3, (size_t)(count + 1) * sizeof(QueryBlock));
  queryBlocks(a, list);
  const int d = a.headDim;
  parallelIf(a.tokens * a.heads * d >= kBlock, count * a.heads, [&](int64_t t) {
    const QueryBlock b = list[t / a.heads];
    const int h = (int)(t % a.heads), hk = (int)((int64_t)h * a.kvHeads / a.heads);
    float* s = (float*)scratch(4, (size_t)(kQ * kK + kQ * d + 2 * kQ) * 4 + 256);
    float *o = s + kQ * kK, *m = o + kQ * d, *l = m + kQ;
    const int64_t nq = b.q1 - b.q0, token = a.cuSeqlens[b.s] + b.q0;
    memset(o, 0, (size_t)(nq * d) * 4);
    for (int64_t i = 0; i < nq; i++) {
      m[i] = -kInf;
      l[i] = 0;
    }
    bool first = true;
    keyBlocks(a, b.s, b.q0, b.q1, [&](const Keys& keys) {
      scoreBlock(a, h, token, nq, keys, s);
      for (int64_t i = 0; i < nq; i++) {
        float* row = s + i * kK;
        int64_t lo, hi;
        visible(a, b.q0 + i, keys, lo, hi);
        // Whole vectors: rows have room for kK scores, and what is not seen becomes exp(−∞) = 0.
        const int64_t end = cdiv(keys.count, W) * W;
        vf top = set1(-kInf);
        for (int64_t j = 0; j < end; j += W) {
          vi at = iota() + (int)j;
          vf x = sel((at >= (int)lo) & (at < (int)hi), capped(a, load(row + j)), set1(-kInf));
          store(row + j, x);
          top = fastmax(top, x);
        }
        if (hi == lo) {
          memset(row, 0, (size_t)keys.count * 4);
          continue;
        }
        const float t = rmax(top), mNew = t > m[i] ? t : m[i];
        vf sum = {};
        for (int64_t j = 0; j < end; j += W) {
          vf p = vexp(load(row + j) - mNew);
          store(row + j, p);
          sum = sum + p;
        }
        if (!first && l[i] > 0) {
          const float fix = vexp(set1(m[i] - mNew))[0];
          l[i] *= fix;
          if (fix != 1.f) vectors(d, [&](int64_t j, int k) { st(o + i * d + j, ld(o + i * d + j, k) * fix, k); });
        }
        l[i] += rsum(sum);
        m[i] = mNew;
      }
      Gemm g{nq, d, keys.count, s, kK, false, a.v + (keys.from * a.kvHeads + hk) * d, (int64_t)a.kvHeads * d, false, o, d};
      g.accumulate = true;
      gemm(g);
      first = false;
    });
    for (int64_t i = 0; i < nq; i++) {
      const float inverse = 1.f / l[i];
      float* out = y + ((token + i) * a.heads + h) * d;
      vectors(d, [&](int64_t j, int k) { st(out + j, ld(o + i * d + j, k) * inverse, k); });
    }
    vectors(nq, [&](int64_t i, int k) { st(l + i, ld(m + i, k) + vlog(ld(l + i, k)), k); });
    for (int64_t i = 0; i < nq; i++) lse[(token + i) * a.heads + h] = l[i];
  });
}

void attentionGrad(const Attention& a, const float* dy, const float* y, const float* lse, float* dq, float* dk, float* dv) {
  const int d = a.headDim;
  if (dk) blocks(a.tokens * a.kvHeads * d, kBlock, [&](int64_t i, int64_t end) { memset(dk + i, 0, (size_t)(end - i) * 4); });
  if (dv) blocks(a.tokens * a.kvHeads * d, kBlock, [&](int64_t i, int64_t end) { memset(dv + i, 0, (size_t)(end - i) * 4); });
  // Segments that share a prefix add to its keys: one task takes them all, in order.
  int32_t* next = (int32_t*)scratch(3, (size_t)(3 * a.segments + 3) * 4);
  int32_t *last = next + a.segments, *roots = last + a.segments, families = 0;
  for (int s = 0; s < a.segments; s++) {
    next[s] = -1;
    last[s] = s;
  }
  for (int s = 0; s < a.segments; s++) {
    int p = a.prefixOf ? a.prefixOf[s] : -1;
    if (p < 0) {
      roots[families++] = s;
    } else {
      next[last[p]] = s;
      last[p] = s;
    }
  }
  parallelIf(a.tokens * a.heads * d >= kBlock, (int64_t)families * a.kvHeads, [&](int64_t t) {
    const int hk = (int)(t % a.kvHeads);
    float* s = (float*)scratch(4, (size_t)(2 * kQ * kK + kQ) * 4 + 256);
    float *dp = s + kQ * kK, *delta = dp + kQ * kK;
    for (int seg = roots[t / a.kvHeads]; seg >= 0; seg = next[seg]) {
      const int64_t start = a.cuSeqlens[seg], length = a.cuSeqlens[seg + 1] - start;
      for (int h = 0; h < a.heads; h++) {
        if ((int64_t)h * a.kvHeads / a.heads != hk) continue;
        for (int64_t q0 = 0; q0 < length; q0 += kQ) {
          const int64_t q1 = imin(length, q0 + kQ), nq = q1 - q0, token = start + q0;
          for (int64_t i = 0; i < nq; i++) {
            const float *p = y + ((token + i) * a.heads + h) * d, *g = dy + ((token + i) * a.heads + h) * d;
            vf sum = {};
            vectors(d, [&](int64_t j, int k) { sum = fma(ld(p + j, k), ld(g + j, k), sum); });
            delta[i] = rsum(sum);
          }
          bool first = true;
          keyBlocks(a, seg, q0, q1, [&](const Keys& keys) {
            const float *kp = a.k + (keys.from * a.kvHeads + hk) * d, *vp = a.v + (keys.from * a.kvHeads + hk) * d;
            const float* g = dy + (token * a.heads + h) * d;
            const int64_t qs = (int64_t)a.heads * d, ks = (int64_t)a.kvHeads * d;
            scoreBlock(a, h, token, nq, keys, s);
            if (dq || dk) gemm(Gemm{nq, keys.count, d, g, qs, false, vp, ks, true, dp, kK});
            for (int64_t i = 0; i < nq; i++) {
              float *row = s + i * kK, *drow = dp + i * kK;
              const float l = lse[(token + i) * a.heads + h], dl = delta[i];
              int64_t lo, hi;
              visible(a, q0 + i, keys, lo, hi);
              for (int64_t j = 0, end = cdiv(keys.count, W) * W; j < end; j += W) {
                vi at = iota() + (int)j;
                vi seen = (at >= (int)lo) & (at < (int)hi);
                vf c = capped(a, load(row + j)), p = sel(seen, vexp(c - l), (vf){});
                store(row + j, p);
                if (dq || dk) {
                  vf ds = p * (load(drow + j) - dl) * a.scale;
                  if (a.softcap > 0) {
                    vf u = c / a.softcap;
                    ds = ds * (1.f - u * u);
                  }
                  store(drow + j, sel(seen, ds, (vf){}));
                }
              }
            }
            if (dv) {
              Gemm m{keys.count, d, nq, s, kK, true, g, qs, false, dv + (keys.from * a.kvHeads + hk) * d, ks};
              m.accumulate = true;
              gemm(m);
            }
            if (dk) {
              Gemm m{keys.count, d, nq, dp, kK, true, a.q + (token * a.heads + h) * d, qs, false, dk + (keys.from * a.kvHeads + hk) * d, ks};
              m.accumulate = true;
              gemm(m);
            }
            if (dq) {
              Gemm m{nq, d, keys.count, dp, kK, false, kp, ks, false, dq + (token * a.heads + h) * d, qs};
              m.accumulate = !first;
              gemm(m);
            }
            first = false;
          });
        }
      }
    }
  });
}

void attentionDecode(const Decode& c, float* y) {
  const int d = c.headDim;
  int64_t work = 0;
  for (int64_t i = 0; i < c.rows; i++) work += (int64_t)c.lengths[i] * c.heads * d;
  parallelIf(work >= 4 * kBlock, c.rows, [&](int64_t r) {
    const int64_t length = c.lengths[r];
    float* s = (float*)scratch(4, (size_t)(length + W) * 4);
    for (int h = 0; h < c.heads; h++) {
      const int hk = (int)((int64_t)h * c.kvHeads / c.heads);
      const float* q = c.q + (r * c.heads + h) * d;
      const float* k = c.k + c.slots[r] * c.slotStride + hk * c.headStride;
      const float* v = c.v + c.slots[r] * c.slotStride + hk * c.headStride;
      float* out = y + (r * c.heads + h) * d;
      const int64_t from = c.window && length > c.window ? length - c.window : 0;
      for (int64_t t = from; t < length; t++) {
        const float* p = k + t * c.tokenStride;
        vf sum = {};
        vectors(d, [&](int64_t j, int n) { sum = fma(ld(q + j, n), ld(p + j, n), sum); });
        s[t] = rsum(sum);
      }
      vf top = set1(-kInf);
      vectors(length - from, [&](int64_t j, int n) {
        vf x = ld(s + from + j, n) * c.scale;
        if (c.softcap > 0) x = c.softcap * vtanh(x / c.softcap);
        st(s + from + j, x, n);
        top = fastmax(top, n < W ? keep(x, n, -kInf) : x);
      });
      const float m = rmax(top);
      vf total = {};
      vectors(length - from, [&](int64_t j, int n) {
        vf p = vexp(ld(s + from + j, n) - m);
        if (n < W) p = head(p, n);
        st(s + from + j, p, n);
        total = total + p;
      });
      const float inverse = 1.f / rsum(total);
      vectors(d, [&](int64_t j, int n) {
        vf o = {};
        for (int64_t t = from; t < length; t++) o = fma(set1(s[t]), ld(v + t * c.tokenStride + j, n), o);
        st(out + j, o * inverse, n);
      });
    }
  });
}

// --- token log-probabilities ----------------------------------------------------------------------------------------------------
INLINE int64_t tokenBlock(const TokenLogps& t) { return imax(64, imin(1024, (int64_t)(8 << 20) / imax(1, t.v))); }

void logitBlock(const TokenLogps& t, int64_t i, int64_t rows, float* z) {
  Gemm g{rows, t.v, t.d, t.hidden + i * t.d, t.d, false, t.weight, t.d, true, z, t.v};
  g.bias = t.bias;
  g.frozen = t.frozen;
  g.bf16 = t.bf16;
  gemm(g);
}
INLINE vf squash(const TokenLogps& t, vf raw) {
  if (t.softcap > 0) raw = t.softcap * vtanh(raw / t.softcap);
  return t.temperature == 1.f ? raw : raw / t.temperature;
}
void tokenLogps(const TokenLogps& t, float* logps, float* lse, float* entropy, float* squaredSum) {
  const int64_t size = tokenBlock(t);
  float* z = (float*)scratch(5, (size_t)(imin(size, imax(1, t.n)) * t.v) * 4 + 256);
  const bool plain = t.softcap <= 0 && t.temperature == 1.f;
  for (int64_t i = 0; i < t.n; i += size) {
    const int64_t rows = imin(size, t.n - i);
    logitBlock(t, i, rows, z);
    blocks(rows, rowsPerTask(t.v), [&](int64_t r, int64_t end) {
      for (; r < end; r++) {
        float* x = z + r * t.v;
        vf top = set1(-kInf);
        vectors(t.v, [&](int64_t j, int k) {
          vf a = ld(x + j, k);
          if (!plain) {
            a = squash(t, a);
            st(x + j, a, k);
          }
          top = fastmax(top, k < W ? keep(a, k, -kInf) : a);
        });
        const float m = rmax(top);
        vf s0 = {}, s1 = {};
        int64_t j = 0;
        for (; j + 2 * W <= t.v; j += 2 * W) {
          s0 = s0 + vexp(load(x + j) - m);
          s1 = s1 + vexp(load(x + j + W) - m);
        }
        for (; j < t.v; j += W) {
          int k = (int)imin(W, t.v - j);
          vf e = vexp(ld(x + j, k) - m);
          s0 = s0 + (k < W ? head(e, k) : e);
        }
        const float l = m + vlog(set1(rsum(s0 + s1)))[0], p = x[t.targets[i + r]] - l;
        lse[i + r] = l;
        logps[i + r] = p > 0 ? 0 : p;
        if (entropy || squaredSum) {
          vf e = {}, q = {};
          vectors(t.v, [&](int64_t j2, int k) {
            vf a = ld(x + j2, k), p2 = vexp(a - l);
            if (k < W) p2 = head(p2, k);
            e = fma(p2, a, e);
            q = fma(p2, p2, q);
          });
          if (entropy) entropy[i + r] = l - rsum(e);
          if (squaredSum) squaredSum[i + r] = rsum(q);
        }
      }
    });
  }
}
void tokenLogpsGrad(const TokenLogps& t, const float* lse, const float* dLogps, const float* dEntropy, const float* dSquaredSum, float* dHidden, float* dWeight, float* dBias) {
  const int64_t size = tokenBlock(t);
  float* z = (float*)scratch(5, (size_t)(imin(size, imax(1, t.n)) * t.v) * 4 + 256);
  if (dWeight && t.n == 0) memset(dWeight, 0, (size_t)(t.v * t.d) * 4);
  if (dBias) memset(dBias, 0, (size_t)t.v * 4);
  for (int64_t i = 0; i < t.n; i += size) {
    const int64_t rows = imin(size, t.n - i);
    logitBlock(t, i, rows, z);
    blocks(rows, rowsPerTask(t.v), [&](int64_t r, int64_t end) {
      for (; r < end; r++) {
        float* x = z + r * t.v;
        const float l = lse[i + r], g = dLogps ? dLogps[i + r] : 0, ge = dEntropy ? dEntropy[i + r] : 0, gs = dSquaredSum ? dSquaredSum[i + r] : 0;
        const int64_t target = t.targets[i + r];
        const float raw = x[target];
        float h = 0, sq = 0;
        if (dEntropy || dSquaredSum) {
          vf e = {}, q = {};
          vectors(t.v, [&](int64_t j, int k) {
            vf lp = squash(t, ld(x + j, k)) - l, p = vexp(lp);
            if (k < W) p = head(p, k), lp = head(lp, k);
            e = fma(p, lp, e);
            q = fma(p, p, q);
          });
          h = -rsum(e);
          sq = rsum(q);
        }
        const float inverseT = 1.f / t.temperature;
        vectors(t.v, [&](int64_t j, int k) {
          vf raws = ld(x + j, k), u = {};
          if (t.softcap > 0) u = vtanh(raws / t.softcap);
          vf lp = (t.softcap > 0 ? t.softcap * u : raws);
          if (t.temperature != 1.f) lp = lp / t.temperature;
          lp = lp - l;
          vf p = vexp(lp), dz = -g * p;
          if (dEntropy) dz = dz - ge * p * (lp + h);
          if (dSquaredSum) dz = dz + 2.f * gs * p * (p - sq);
          if (t.softcap > 0) dz = dz * (1.f - u * u);
          st(x + j, dz * inverseT, k);
        });
        float slope = inverseT;
        if (t.softcap > 0) {
          float u = vtanh(set1(raw / t.softcap))[0];
          slope *= 1.f - u * u;
        }
        x[target] += g * slope;
      }
    });
    if (dHidden) {
      Gemm m{rows, t.d, t.v, z, t.v, false, t.weight, t.d, false, dHidden + i * t.d, t.d};
      m.frozen = t.frozen;
      m.bf16 = t.bf16;
      gemm(m);
    }
    if (dWeight) {
      Gemm m{t.v, t.d, rows, z, t.v, true, t.hidden + i * t.d, t.d, false, dWeight, t.d};
      m.bf16 = t.bf16;
      m.accumulate = i > 0;
      gemm(m);
    }
    if (dBias)
      blocks(t.v, 256, [&](int64_t j, int64_t end) {
        for (; j < end; j += W) {
          int k = (int)imin(W, end - j);
          vf s = ld(dBias + j, k);
          for (int64_t r = 0; r < rows; r++) s = s + ld(z + r * t.v + j, k);
          st(dBias + j, s, k);
        }
      });
  }
}

// --- sampling -------------------------------------------------------------------------------------------------------------------
void sampleRows(const float* logits, const float* uniforms, int64_t rows, int64_t n, const Sampling& s, int32_t* tokens, float* logps) {
  const float inverse = s.temperature > 0 ? (float)(1 / s.temperature) : 1.f;
  parallelIf(rows * n >= kBlock, rows, [&](int64_t r) {
    const float* x = logits + r * n;
    float* w = (float*)scratch(4, (size_t)(n + 8 * W) * 4);
    vf top = set1(-kInf), bad = {};
    vectors(n, [&](int64_t j, int k) {
      vf a = ld(x + j, k);
      if (k < W) a = keep(a, k, -kInf);
      top = fastmax(top, a);
      bad = bad + sel(a != a, set1(1.f), (vf){});
    });
    const float m = rmax(top);
    tokens[r] = -1;
    logps[r] = m;
    if (!(m - m == 0) || rsum(bad) > 0) return;
    double total = 0;
    vectors(n, [&](int64_t j, int k) {
      vf p = vexp((ld(x + j, k) - m) * inverse);
      if (k < W) p = head(p, k);
      store(w + j, p);
      total += rsum(p);
    });
    int64_t token = 0;
    if (s.temperature == 0) {
      while (x[token] != m) token++;
    } else {
      if (s.topK > 0 || s.topP < 1 || s.minP > 0) total = truncateWeights(w, n, total, s.topK, s.topP, s.minP);
      const double target = uniforms[r] * total;
      double sum = 0;
      bool found = false;
      for (int64_t j = 0; j < n && !found; j += W) {
        const int k = (int)imin(W, n - j);
        const double next = sum + rsum(k < W ? head(load(w + j), k) : load(w + j));
        if (next > target)
          for (int i = 0; i < k && !found; i++) {
            if (w[j + i] == 0) continue;
            sum += w[j + i];
            token = j + i;
            found = sum > target;
          }
        found = found || next > target;
        sum = next;
      }
      // Rounding may leave the last step of the sum short of the target: then the last token of the sum is it.
      if (!found)
        for (token = n - 1; w[token] == 0;) token--;
    }
    tokens[r] = (int32_t)token;
    logps[r] = (float)log((double)w[token] / total);
  });
}

// --- segments -------------------------------------------------------------------------------------------------------------------
INLINE float weightOf(const int32_t* cu, const uint8_t* mask, int64_t s, bool mean) {
  if (!mean) return 1;
  int64_t n = 0;
  for (int64_t i = cu[s]; i < cu[s + 1]; i++) n += !mask || mask[i];
  return n ? 1.f / (float)n : 0;
}
void segmentReduce(const float* x, const int32_t* cu, const uint8_t* mask, float* y, int64_t segments, int64_t d, bool mean) {
  blocks(segments, imax(1, kBlock / imax(1, d * 16)), [&](int64_t s, int64_t end) {
    for (; s < end; s++) {
      const float w = weightOf(cu, mask, s, mean);
      vectors(d, [&](int64_t j, int k) {
        vf sum = {};
        for (int64_t i = cu[s]; i < cu[s + 1]; i++)
          if (!mask || mask[i]) sum = sum + ld(x + i * d + j, k);
        st(y + s * d + j, sum * w, k);
      });
    }
  });
}
void segmentReduceGrad(const float* dy, const int32_t* cu, const uint8_t* mask, float* dx, int64_t segments, int64_t d, bool mean) {
  blocks(segments, imax(1, kBlock / imax(1, d * 16)), [&](int64_t s, int64_t end) {
    for (; s < end; s++) {
      const float w = weightOf(cu, mask, s, mean);
      for (int64_t i = cu[s]; i < cu[s + 1]; i++) {
        const float v = !mask || mask[i] ? w : 0;
        vectors(d, [&](int64_t j, int k) { st(dx + i * d + j, ld(dy + s * d + j, k) * v, k); });
      }
    }
  });
}
}  // namespace

namespace plumb {
void PLUMB_NAME(fillFused)(Kernels& k) {
  k.rmsNorm = rmsNorm;
  k.rmsNormGrad = rmsNormGrad;
  k.layerNorm = layerNorm;
  k.layerNormGrad = layerNormGrad;
  k.rotary = rotary;
  k.swiGlu = swiGlu;
  k.swiGluGrad = swiGluGrad;
  k.geluGrad = geluGrad;
  k.attention = attention;
  k.attentionGrad = attentionGrad;
  k.attentionDecode = attentionDecode;
  k.tokenLogps = tokenLogps;
  k.tokenLogpsGrad = tokenLogpsGrad;
  k.sampleRows = sampleRows;
  k.segmentReduce = segmentReduce;
  k.segmentReduceGrad = segmentReduceGrad;
}
}  // namespace plumb
