// Elementwise work, reductions, copies, gathers and the optimizer step. Tails go through the same vector code as the rest (padded
// loads), so a value never depends on where in an array it lies; blocks of reductions depend on sizes alone.
#include "kernels.h"
#include "pool.h"
#include "simd.h"

using namespace plumb;

namespace {
constexpr int64_t kBlock = 16384;

// f(begin, end) over [0, n) in fixed blocks, whose size a caller chooses so that one is a few microseconds of work.
template <class F>
void blocks(int64_t n, int64_t size, const F& f) {
  if (n <= 0) return;
  const int64_t tasks = cdiv(n, size);
  parallelIf(tasks >= 4, tasks, [&](int64_t t) { f(t * size, imin(n, (t + 1) * size)); });
}

template <class F>
INLINE void mapRange(const float* x, float* y, int64_t i, int64_t end, const F& f) {
  for (; i + W <= end; i += W) store(y + i, f(load(x + i)));
  if (i < end) storen(y + i, f(loadn(x + i, (int)(end - i))), (int)(end - i));
}
template <class F>
void map(const float* x, float* y, int64_t n, const F& f) {
  blocks(n, kBlock, [&](int64_t i, int64_t end) { mapRange(x, y, i, end, f); });
}
template <float (*g)(float)>
INLINE vf lanes(vf x) {
  for (int i = 0; i < W; i++) x[i] = g(x[i]);
  return x;
}

INLINE vf vgelu(vf x) {
  vf u = set1(0.7978845608028654f) * fma(x * x * x, set1(0.044715f), x);
  return 0.5f * x * (1.f + vtanh(u));
}

void unary(int op, const float* x, float* y, int64_t n, float p0, float p1) {
  const vf zero = {}, one = set1(1.f), nan = set1(__builtin_nanf(""));
  switch (op) {
    case kAbs: return map(x, y, n, [](vf a) { return vabs(a); });
    case kNeg: return map(x, y, n, [](vf a) { return -a; });
    case kExp: return map(x, y, n, [](vf a) { return vexp(a); });
    case kExpm1: return map(x, y, n, [](vf a) { return vexpm1(a); });
    case kLog: return map(x, y, n, [](vf a) { return vlog(a); });
    case kLog1p: return map(x, y, n, [](vf a) { return vlog1p(a); });
    case kSqrt: return map(x, y, n, [](vf a) { return vsqrt(a); });
    case kRsqrt: return map(x, y, n, [](vf a) { return 1.f / vsqrt(a); });
    case kSquare: return map(x, y, n, [](vf a) { return a * a; });
    case kSigmoid: return map(x, y, n, [](vf a) { return vsigmoid(a); });
    case kTanh: return map(x, y, n, [](vf a) { return vtanh(a); });
    case kRelu: return map(x, y, n, [=](vf a) { return sel(a <= 0.f, zero, a); });
    case kRelu6: return map(x, y, n, [=](vf a) { return sel(a <= 0.f, zero, sel(a > 6.f, set1(6.f), a)); });
    case kSoftplus: return map(x, y, n, [](vf a) { return vsoftplus(a); });
    case kReciprocal: return map(x, y, n, [](vf a) { return 1.f / a; });
    case kSign: return map(x, y, n, [=](vf a) { return sel(a > 0.f, one, sel(a < 0.f, -one, zero)); });  // NaN gives 0, as in tfjs
    case kFloor: return map(x, y, n, [](vf a) { return vfloor(a); });
    case kCeil: return map(x, y, n, [](vf a) { return -vfloor(-a); });
    case kRound: return map(x, y, n, [](vf a) { return vround(a); });
    case kElu: return map(x, y, n, [](vf a) { return sel(a >= 0.f, a, vexpm1(a)); });
    case kSelu: return map(x, y, n, [](vf a) { return sel(a >= 0.f, 1.0507009873554804934193349852946f * a, 1.7580993408473768599402175208123f * vexpm1(a)); });
    case kLeakyRelu: return map(x, y, n, [=](vf a) { return sel(a < 0.f, p0 * a, a); });
    case kErf: return map(x, y, n, [](vf a) { return verf(a); });
    case kStep: return map(x, y, n, [=](vf a) { return sel(a != a, nan, sel(a > 0.f, one, set1(p0))); });
    case kClip: return map(x, y, n, [=](vf a) { return sel(a > p1, set1(p1), sel(a < p0, set1(p0), a)); });
    case kSin: return map(x, y, n, [](vf a) { return lanes<sinf>(a); });
    case kCos: return map(x, y, n, [](vf a) { return lanes<cosf>(a); });
    case kGeluTanh: return map(x, y, n, [](vf a) { return vgelu(a); });
    case kScale: return map(x, y, n, [=](vf a) { return fma(a, set1(p0), set1(p1)); });
  }
}

// Rows of a walk: index of row -> offsets of its operands.
struct Row {
  int64_t a, b, c;
};
INLINE Row rowOf(const Walk& w, int64_t row) {
  Row r{0, 0, 0};
  for (int d = w.rank - 2; d >= 0; d--) {
    int64_t q = row / w.dims[d], i = row - q * w.dims[d];
    r.a += i * w.a[d];
    r.b += i * w.b[d];
    r.c += i * w.c[d];
    row = q;
  }
  return r;
}
// f(row offsets, output offset, begin, end of the innermost axis)
template <class F>
void walkRows(const Walk& w, const F& f) {
  const int64_t inner = w.dims[w.rank - 1];
  int64_t outer = 1;
  for (int d = 0; d < w.rank - 1; d++) outer *= w.dims[d];
  if (inner == 0 || outer == 0) return;
  if (inner >= kBlock) {
    const int64_t per = cdiv(inner, kBlock);
    parallel(outer * per, [&](int64_t t) {
      int64_t row = t / per, i = (t - row * per) * kBlock;
      f(rowOf(w, row), row * inner, i, imin(inner, i + kBlock));
    });
  } else {
    blocks(outer, cdiv(kBlock, inner), [&](int64_t r, int64_t end) {
      for (; r < end; r++) f(rowOf(w, r), r * inner, 0, inner);
    });
  }
}

// Calls out(index, f(a, b), lanes) over a broadcast pair.
template <class F, class S>
INLINE void zip(const float* a, const float* b, const Walk& w, const F& f, const S& out) {
  const bool av = w.a[w.rank - 1] != 0, bv = w.b[w.rank - 1] != 0;
  walkRows(w, [&](Row r, int64_t o, int64_t i, int64_t end) {
    const float *pa = a + r.a, *pb = b + r.b;
    if (av && bv) {
      for (; i + W <= end; i += W) out(o + i, f(load(pa + i), load(pb + i)), W);
      if (i < end) out(o + i, f(loadn(pa + i, (int)(end - i)), loadn(pb + i, (int)(end - i))), (int)(end - i));
    } else if (av) {
      vf y = set1(*pb);
      for (; i + W <= end; i += W) out(o + i, f(load(pa + i), y), W);
      if (i < end) out(o + i, f(loadn(pa + i, (int)(end - i)), y), (int)(end - i));
    } else {
      vf x = set1(*pa);
      if (bv) {
        for (; i + W <= end; i += W) out(o + i, f(x, load(pb + i)), W);
        if (i < end) out(o + i, f(x, loadn(pb + i, (int)(end - i))), (int)(end - i));
      } else {
        auto y = f(x, set1(*pb));
        for (; i < end; i += W) out(o + i, y, (int)imin(W, end - i));
      }
    }
  });
}
template <class F>
void zipFloat(const float* a, const float* b, float* y, const Walk& w, const F& f) {
  zip(a, b, w, f, [=](int64_t i, vf v, int n) {
    if (n == W) store(y + i, v);
    else storen(y + i, v, n);
  });
}
INLINE vf vmod(vf a, vf b) {
  for (int i = 0; i < W; i++) {
    double x = a[i], y = b[i], r = fmod(x, y);
    a[i] = (float)(((x < 0 && y < 0) || (x >= 0 && y >= 0)) ? r : fmod(r + y, y));
  }
  return a;
}
INLINE vf vpow(vf a, vf b) {
  for (int i = 0; i < W; i++) a[i] = (float)pow((double)a[i], (double)b[i]);
  return a;
}
void binary(int op, const float* a, const float* b, float* y, const Walk& w) {
  switch (op) {
    case kAdd: return zipFloat(a, b, y, w, [](vf p, vf q) { return p + q; });
    case kSub: return zipFloat(a, b, y, w, [](vf p, vf q) { return p - q; });
    case kMul: return zipFloat(a, b, y, w, [](vf p, vf q) { return p * q; });
    case kDiv: return zipFloat(a, b, y, w, [](vf p, vf q) { return p / q; });
    case kMaximum: return zipFloat(a, b, y, w, [](vf p, vf q) { return vmax(p, q); });
    case kMinimum: return zipFloat(a, b, y, w, [](vf p, vf q) { return vmin(p, q); });
    case kPow: {
      bool scalar = true;
      for (int d = 0; d < w.rank; d++) scalar = scalar && (w.b[d] == 0 || w.dims[d] == 1);
      if (scalar && *b == 2.f) return zipFloat(a, b, y, w, [](vf p, vf) { return p * p; });
      if (scalar && *b == 1.f) return zipFloat(a, b, y, w, [](vf p, vf) { return p; });
      return zipFloat(a, b, y, w, [](vf p, vf q) { return vpow(p, q); });
    }
    case kSquaredDifference: return zipFloat(a, b, y, w, [](vf p, vf q) { return (p - q) * (p - q); });
    case kFloorDiv: return zipFloat(a, b, y, w, [](vf p, vf q) { return vfloor(p / q); });
    case kMod: return zipFloat(a, b, y, w, [](vf p, vf q) { return vmod(p, q); });
    case kPrelu: return zipFloat(a, b, y, w, [](vf p, vf q) { return sel(p < 0.f, p * q, p); });
    case kEluGrad: return zipFloat(a, b, y, w, [](vf p, vf q) { return sel(q >= 0.f, p, p * (q + 1.f)); });
  }
}
typedef uint8_t vb __attribute__((vector_size(W)));
template <class F>
void zipBool(const float* a, const float* b, uint8_t* y, const Walk& w, const F& f) {
  zip(a, b, w, f, [=](int64_t i, vi m, int n) {
    vb v = __builtin_convertvector(m & 1, vb);
    memcpy(y + i, &v, (size_t)n);
  });
}
void compare(int op, const float* a, const float* b, uint8_t* y, const Walk& w) {
  switch (op) {
    case kEqual: return zipBool(a, b, y, w, [](vf p, vf q) { return p == q; });
    case kNotEqual: return zipBool(a, b, y, w, [](vf p, vf q) { return p != q; });
    case kLess: return zipBool(a, b, y, w, [](vf p, vf q) { return p < q; });
    case kLessEqual: return zipBool(a, b, y, w, [](vf p, vf q) { return p <= q; });
    case kGreater: return zipBool(a, b, y, w, [](vf p, vf q) { return p > q; });
    case kGreaterEqual: return zipBool(a, b, y, w, [](vf p, vf q) { return p >= q; });
  }
}
void select(const uint8_t* m, const float* a, const float* b, float* y, int64_t rows, int64_t inner) {
  if (inner == 1) {
    blocks(rows, kBlock, [&](int64_t i, int64_t end) {
      for (; i < end; i++) y[i] = m[i] ? a[i] : b[i];
    });
  } else {
    blocks(rows, cdiv(kBlock, imax(1, inner)), [&](int64_t r, int64_t end) {
      for (; r < end; r++) memcpy(y + r * inner, (m[r] ? a : b) + r * inner, (size_t)inner * 4);
    });
  }
}

// --- reductions -----------------------------------------------------------------------------------------------------------------
struct Sum {
  static vf start() { return (vf){}; }
  static vf step(vf s, vf x) { return s + x; }
  static vf join(vf s, vf t) { return s + t; }
  static vf pad(vf x, int) { return x; }
  static float finish(vf s) { return hsum(s); }
  static float join(float s, float t) { return s + t; }
};
struct Squares : Sum {
  static vf step(vf s, vf x) { return fma(x, x, s); }
};
struct Max {
  static vf start() { return set1(-__builtin_inff()); }
  static vf step(vf s, vf x) { return vmax(s, x); }
  static vf join(vf s, vf t) { return vmax(s, t); }
  static vf pad(vf x, int n) { return keep(x, n, -__builtin_inff()); }
  static float finish(vf s) { return hmax(s); }
  static float join(float s, float t) { return (s > t || s != s) ? s : t; }
};
struct Min {
  static vf start() { return set1(__builtin_inff()); }
  static vf step(vf s, vf x) { return vmin(s, x); }
  static vf join(vf s, vf t) { return vmin(s, t); }
  static vf pad(vf x, int n) { return keep(x, n, __builtin_inff()); }
  static float finish(vf s) { return hmin(s); }
  static float join(float s, float t) { return (s < t || s != s) ? s : t; }
};
struct Prod {
  static vf start() { return set1(1.f); }
  static vf step(vf s, vf x) { return s * x; }
  static vf join(vf s, vf t) { return s * t; }
  static vf pad(vf x, int n) { return keep(x, n, 1.f); }
  static float finish(vf s) {
    float p = 1;
    for (int i = 0; i < W; i++) p *= s[i];
    return p;
  }
  static float join(float s, float t) { return s * t; }
};

template <class R>
INLINE float reduceRange(const float* x, int64_t n) {
  vf s0 = R::start(), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W) {
    s0 = R::step(s0, load(x + i));
    s1 = R::step(s1, load(x + i + W));
    s2 = R::step(s2, load(x + i + 2 * W));
    s3 = R::step(s3, load(x + i + 3 * W));
  }
  for (; i + W <= n; i += W) s0 = R::step(s0, load(x + i));
  if (i < n) s1 = R::step(s1, R::pad(loadn(x + i, (int)(n - i)), (int)(n - i)));
  return R::finish(R::join(R::join(s0, s1), R::join(s2, s3)));
}

template <class R>
void reduceAs(const float* x, float* y, int64_t outer, int64_t n, int64_t inner, float scale) {
  if (inner == 1) {
    const int64_t size = 8192, per = cdiv(n, size);
    if (per <= 1) {
      blocks(outer, cdiv(kBlock, imax(1, n)), [&](int64_t r, int64_t end) {
        for (; r < end; r++) y[r] = reduceRange<R>(x + r * n, n) * scale;
      });
      return;
    }
    float* part = (float*)scratch(3, (size_t)(outer * per) * 4);
    parallel(outer * per, [&](int64_t t) {
      int64_t r = t / per, i = (t - r * per) * size;
      part[t] = reduceRange<R>(x + r * n + i, imin(size, n - i));
    });
    for (int64_t r = 0; r < outer; r++) y[r] = reduceRange<R>(part + r * per, per) * scale;
    return;
  }
  // Columns: fixed blocks of rows, then their partial results in order.
  const int64_t wide = 1024, tiles = cdiv(inner, wide);
  const int64_t size = imax(32, imin(256, 65536 / imin(inner, wide))), per = cdiv(imax(n, 1), size);
  float* part = per > 1 ? (float*)scratch(3, (size_t)(outer * per * inner) * 4) : y;
  parallelIf(outer * n * inner >= 65536, outer * per * tiles, [&](int64_t t) {
    int64_t tile = t % tiles, b = t / tiles, o = b / per, r0 = (b - o * per) * size, r1 = imin(n, r0 + size);
    int64_t j = tile * wide, end = imin(inner, j + wide);
    float* d = part + b * inner;
    const float s = per > 1 ? 1.f : scale;
    for (; j < end; j += 4 * W) {
      const int lanes = (int)imin(4 * W, end - j);
      vf acc[4] = {R::start(), R::start(), R::start(), R::start()};
      for (int64_t r = r0; r < r1;) {  // chains of 32 rows, then their sums
        const int64_t stop = imin(r1, r + 32);
        vf c[4] = {R::start(), R::start(), R::start(), R::start()};
        const float* p = x + (o * n + r) * inner + j;
        if (lanes == 4 * W) {
          for (; r < stop; r++, p += inner)
            for (int q = 0; q < 4; q++) c[q] = R::step(c[q], load(p + q * W));
        } else {
          for (; r < stop; r++, p += inner)
            for (int q = 0; q * W < lanes; q++) c[q] = R::step(c[q], loadn(p + q * W, lanes - q * W < W ? lanes - q * W : W));
        }
        for (int q = 0; q < 4; q++) acc[q] = R::join(acc[q], c[q]);
      }
      for (int q = 0; q * W < lanes; q++) storen(d + j + q * W, acc[q] * s, lanes - q * W < W ? lanes - q * W : W);
    }
  });
  if (per > 1)
    blocks(outer * inner, 4096, [&](int64_t i, int64_t end) {
      for (; i < end; i++) {
        int64_t o = i / inner, j = i - o * inner;
        const float* p = part + o * per * inner + j;
        float s = p[0];
        for (int64_t b = 1; b < per; b++) s = R::join(s, p[b * inner]);
        y[i] = s * scale;
      }
    });
}
void reduce(int op, const float* x, float* y, int64_t outer, int64_t n, int64_t inner) {
  switch (op) {
    case kSum: return reduceAs<Sum>(x, y, outer, n, inner, 1.f);
    case kMean: return reduceAs<Sum>(x, y, outer, n, inner, 1.f / (float)n);
    case kMax: return reduceAs<Max>(x, y, outer, n, inner, 1.f);
    case kMin: return reduceAs<Min>(x, y, outer, n, inner, 1.f);
    case kProd: return reduceAs<Prod>(x, y, outer, n, inner, 1.f);
    case kSumSquares: {
      if (inner == 1) return reduceAs<Squares>(x, y, outer, n, inner, 1.f);
      return;
    }
  }
}
void argReduce(bool max, const float* x, int32_t* y, int64_t outer, int64_t n, int64_t inner) {
  blocks(outer * inner, cdiv(kBlock, imax(1, n)), [&](int64_t t, int64_t end) {
    for (; t < end; t++) {
      int64_t o = t / inner, j = t - o * inner;
      const float* p = x + o * n * inner + j;
      float best = p[0];
      int32_t at = 0;
      for (int64_t i = 1; i < n; i++) {
        float v = p[i * inner];
        if (max ? v > best : v < best) {
          best = v;
          at = (int32_t)i;
        }
      }
      y[t] = at;
    }
  });
}

// --- rows -----------------------------------------------------------------------------------------------------------------------
// Sum of exp(x − m) over a row, written to y unless null.
INLINE float expSum(const float* x, float* y, int64_t n, float m) {
  vf s0 = {}, s1 = {}, mv = set1(m);
  int64_t i = 0;
  for (; i + 2 * W <= n; i += 2 * W) {
    vf e0 = vexp(load(x + i) - mv), e1 = vexp(load(x + i + W) - mv);
    if (y) {
      store(y + i, e0);
      store(y + i + W, e1);
    }
    s0 = s0 + e0;
    s1 = s1 + e1;
  }
  for (; i < n; i += W) {
    int k = (int)imin(W, n - i);
    vf e = keep(vexp(loadn(x + i, k) - mv), k, 0);
    if (y) storen(y + i, e, k);
    s0 = s0 + e;
  }
  return hsum(s0 + s1);
}
INLINE float flog(float x) { return vlog(set1(x))[0]; }
void softmax(const float* x, float* y, int64_t rows, int64_t n, bool log) {
  if (n == 0) return;
  blocks(rows, cdiv(kBlock / 4, n), [&](int64_t r, int64_t end) {
    for (; r < end; r++) {
      const float* p = x + r * n;
      float* q = y + r * n;
      float m = reduceRange<Max>(p, n);
      if (log) {
        float l = m + flog(expSum(p, nullptr, n, m));
        mapRange(p, q, 0, n, [=](vf a) { return a - l; });
      } else {
        float s = 1.f / expSum(p, q, n, m);
        mapRange(q, q, 0, n, [=](vf a) { return a * s; });
      }
    }
  });
}
void softmaxGrad(const float* y, const float* dy, float* dx, int64_t rows, int64_t n, bool log) {
  blocks(rows, cdiv(kBlock / 4, imax(1, n)), [&](int64_t r, int64_t end) {
    for (; r < end; r++) {
      const float *p = y + r * n, *g = dy + r * n;
      float* d = dx + r * n;
      vf s = {};
      int64_t i = 0;
      for (; i < n; i += W) {
        int k = (int)imin(W, n - i);
        s = log ? s + loadn(g + i, k) : fma(loadn(g + i, k), loadn(p + i, k), s);
      }
      float t = hsum(s);
      for (i = 0; i < n; i += W) {
        int k = (int)imin(W, n - i);
        vf a = loadn(p + i, k), b = loadn(g + i, k);
        storen(d + i, log ? b - vexp(a) * t : a * (b - t), k);
      }
    }
  });
}
void logSumExp(const float* x, float* y, int64_t rows, int64_t n) {
  blocks(rows, cdiv(kBlock / 4, imax(1, n)), [&](int64_t r, int64_t end) {
    for (; r < end; r++) {
      float m = reduceRange<Max>(x + r * n, n);
      float a = m - m == 0 ? m : 0;  // all −∞ gives −∞, and +∞ gives +∞
      y[r] = a + flog(expSum(x + r * n, nullptr, n, a));
    }
  });
}
void cumsum(const float* x, float* y, int64_t outer, int64_t n, bool exclusive, bool reverse) {
  blocks(outer, cdiv(kBlock, imax(1, n)), [&](int64_t r, int64_t end) {
    for (; r < end; r++) {
      const float* p = x + r * n;
      float* q = y + r * n;
      float s = 0;
      for (int64_t i = 0; i < n; i++) {
        int64_t j = reverse ? n - 1 - i : i;
        float next = s + p[j];
        q[j] = exclusive ? s : next;
        s = next;
      }
    }
  });
}

// --- copies ---------------------------------------------------------------------------------------------------------------------
// y's strides are `b`; along the innermost axis y is contiguous.
template <class T>
void copyAs(const T* x, T* y, const Walk& w) {
  const int last = w.rank - 1;
  const int64_t s = w.a[last];
  int across = -1;  // another axis along which x is contiguous
  if (s != 1 && s != 0)
    for (int d = 0; d < last; d++)
      if (w.a[d] == 1 && w.dims[d] > 1) across = d;
  if (across < 0) {
    walkRows(w, [&](Row r, int64_t, int64_t i, int64_t end) {
      if (s == 1 && end - i >= 16) memcpy(y + r.b + i, x + r.a + i, (size_t)(end - i) * sizeof(T));
      else
        for (; i < end; i++) y[r.b + i] = x[r.a + i * s];
    });
    return;
  }
  // Tiles of the plane (across, last), over all other axes.
  int64_t rest = 1;
  int others[kMaxRank], count = 0;
  for (int d = 0; d < last; d++)
    if (d != across) {
      others[count++] = d;
      rest *= w.dims[d];
    }
  const int64_t T1 = 32, na = w.dims[across], nl = w.dims[last], tl = cdiv(nl, T1), ta = cdiv(na, T1);
  const int64_t sy = w.b[across];
  parallelIf(rest * tl * ta >= 64, cdiv(rest * tl * ta, 16), [&](int64_t task) {
    for (int64_t t = task * 16; t < imin(rest * tl * ta, (task + 1) * 16); t++) {
      int64_t l0 = t % tl * T1, a0 = t / tl % ta * T1, o = t / (tl * ta), ox = 0, oy = 0;
      for (int c = count - 1; c >= 0; c--) {
        int64_t d = others[c], q = o / w.dims[d], i = o - q * w.dims[d];
        ox += i * w.a[d];
        oy += i * w.b[d];
        o = q;
      }
      const int64_t l1 = imin(nl, l0 + T1), a1 = imin(na, a0 + T1);
      for (int64_t a = a0; a < a1; a++) {
        T* d = y + oy + a * sy;
        const T* p = x + ox + a;
        for (int64_t l = l0; l < l1; l++) d[l] = p[l * s];
      }
    }
  });
}
void copyStrided(const void* x, void* y, const Walk& w, int bytes) {
  if (bytes == 1) copyAs((const uint8_t*)x, (uint8_t*)y, w);
  else copyAs((const uint32_t*)x, (uint32_t*)y, w);
}
void gather(const void* x, const int32_t* ids, void* y, int64_t outer, int64_t n, int64_t count, int64_t inner, int bytes) {
  const size_t row = (size_t)inner * bytes;
  const char* s = (const char*)x;
  char* d = (char*)y;
  blocks(outer * count, cdiv(kBlock, imax(1, inner)), [&](int64_t r, int64_t end) {
    for (; r < end; r++) {
      int64_t o = r / count;
      const char* from = s + (o * n + ids[r - o * count]) * row;
      if (inner == 1 && bytes == 4) memcpy(d + r * 4, from, 4);
      else memcpy(d + r * row, from, row);
    }
  });
}
void segmentScatter(const float* x, const int32_t* ids, float* y, int64_t rows, int64_t segments, int64_t inner) {
  // Rows sorted by segment, stably; each segment then sums its rows in their order.
  int32_t* begin = (int32_t*)scratch(3, (size_t)(segments + 2 + rows) * 4);
  int32_t* order = begin + segments + 2;
  memset(begin, 0, (size_t)(segments + 2) * 4);
  for (int64_t r = 0; r < rows; r++)
    if (ids[r] >= 0 && ids[r] < segments) begin[ids[r] + 2]++;
  for (int64_t s = 2; s < segments + 2; s++) begin[s] += begin[s - 1];
  for (int64_t r = 0; r < rows; r++)
    if (ids[r] >= 0 && ids[r] < segments) order[begin[ids[r] + 1]++] = (int32_t)r;
  blocks(segments, imax(1, kBlock / imax(1, inner)), [&](int64_t s, int64_t end) {
    for (; s < end; s++) {
      float* d = y + s * inner;
      memset(d, 0, (size_t)inner * 4);
      for (int32_t i = begin[s]; i < begin[s + 1]; i++) {
        const float* p = x + order[i] * inner;
        int64_t j = 0;
        for (; j + W <= inner; j += W) store(d + j, load(d + j) + load(p + j));
        for (; j < inner; j++) d[j] += p[j];
      }
    }
  });
}

// --- the optimizer --------------------------------------------------------------------------------------------------------------
double sumSquares(const float* x, int64_t n) {
  const int64_t size = 8192, per = cdiv(n, size);
  float* part = (float*)scratch(3, (size_t)(per + 1) * 4);
  blocks(n, size, [&](int64_t i, int64_t end) { part[i / size] = reduceRange<Squares>(x + i, end - i); });
  double s = 0;
  for (int64_t i = 0; i < per; i++) s += part[i];
  return s;
}
void adamW(float* p, const float* g, float* m, float* v, int64_t n, float decay, const AdamW& o) {
  const float step = o.learningRate / o.correction1, root = 1.f / sqrtf(o.correction2);
  blocks(n, kBlock, [&](int64_t i, int64_t end) {
    for (; i < end; i += W) {
      int k = (int)imin(W, end - i);
      vf gv = loadn(g + i, k) * o.scale, mv = loadn(m + i, k), vv = loadn(v + i, k), pv = loadn(p + i, k);
      mv = fma(gv - mv, set1(1.f - o.beta1), mv);
      vv = fma(gv * gv, set1(1.f - o.beta2), vv * o.beta2);
      pv = pv * (1.f - decay) - step * mv / fma(vsqrt(vv), set1(root), set1(o.eps));
      storen(m + i, mv, k);
      storen(v + i, vv, k);
      storen(p + i, pv, k);
    }
  });
}
void axpy(float alpha, const float* x, float* y, int64_t n) {
  blocks(n, kBlock, [&](int64_t i, int64_t end) {
    for (; i < end; i += W) {
      int k = (int)imin(W, end - i);
      storen(y + i, fma(loadn(x + i, k), set1(alpha), loadn(y + i, k)), k);
    }
  });
}
}  // namespace

namespace plumb {
void PLUMB_NAME(fillOps)(Kernels& k) {
  k.unary = unary;
  k.binary = binary;
  k.compare = compare;
  k.select = select;
  k.reduce = reduce;
  k.argReduce = argReduce;
  k.softmax = softmax;
  k.softmaxGrad = softmaxGrad;
  k.logSumExp = logSumExp;
  k.cumsum = cumsum;
  k.copyStrided = copyStrided;
  k.gather = gather;
  k.segmentScatter = segmentScatter;
  k.sumSquares = sumSquares;
  k.adamW = adamW;
  k.axpy = axpy;
}
}  // namespace plumb
