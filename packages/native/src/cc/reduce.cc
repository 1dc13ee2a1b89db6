// Reductions over any axis, places of extremes, softmax and running sums. Blocks depend on sizes alone, so that the number of threads does
// not change a bit.
#include "kernels.h"
#include "loops.h"

using namespace plumb;

namespace {
// Numbers fetched ahead of a pass along rows that does more than add: the processor's own fetching begins anew at each page of memory.
constexpr int64_t kAhead = 2048;

// --- reductions -----------------------------------------------------------------------------------------------------------------
struct Sum {
  static constexpr bool slow = false;
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
  static constexpr bool slow = true;  // beside an addition
  static vf start() { return set1(-__builtin_inff()); }
  static vf step(vf s, vf x) { return vmax(x, s); }  // in this order: whether x is NaN can be seen before s is there
  static vf join(vf s, vf t) { return vmax(s, t); }
  static vf pad(vf x, int n) { return keep(x, n, -__builtin_inff()); }
  static float finish(vf s) { return hmax(s); }
  static float join(float s, float t) { return (s > t || s != s) ? s : t; }
};
struct Min {
  static constexpr bool slow = true;
  static vf start() { return set1(__builtin_inff()); }
  static vf step(vf s, vf x) { return vmin(x, s); }  // in this order: whether x is NaN can be seen before s is there
  static vf join(vf s, vf t) { return vmin(s, t); }
  static vf pad(vf x, int n) { return keep(x, n, __builtin_inff()); }
  static float finish(vf s) { return hmin(s); }
  static float join(float s, float t) { return (s < t || s != s) ? s : t; }
};
struct Prod {
  static constexpr bool slow = false;
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
  vf s[8] = {R::start(), R::start(), R::start(), R::start(), R::start(), R::start(), R::start(), R::start()};
  int64_t i = 0;
  for (; i + 8 * W <= n; i += 8 * W)
    for (int q = 0; q < 8; q++) {
      if (R::slow) prefetch(x + i + q * W + kAhead);
      s[q] = R::step(s[q], load(x + i + q * W));
    }
  for (int q = 0; i + W <= n; i += W, q++) s[q & 7] = R::step(s[q & 7], load(x + i));
  if (i < n) s[7] = R::step(s[7], R::pad(loadn(x + i, (int)(n - i)), (int)(n - i)));
  for (int h = 4; h > 0; h >>= 1)
    for (int q = 0; q < h; q++) s[q] = R::join(s[q], s[q + h]);
  return R::finish(s[0]);
}

// f(o, j, k) for the columns j, j + k of each o: a vector of them, or the fewer that are left.
template <class F>
INLINE void columnwise(int64_t outer, int64_t inner, const F& f) {
  const int64_t tiles = cdiv(inner, W);
  blocks(outer * tiles, 8, [&](int64_t t, int64_t end) {
    for (; t < end; t++) {
      const int64_t o = t / tiles, j = (t - o * tiles) * W;
      if (j + W <= inner) f(o, j, W);
      else f(o, j, (int)(inner - j));
    }
  });
}
constexpr int64_t kWide = 1024;   // columns that are reduced together
constexpr int64_t kNarrow = 48;   // up to this many, several rows are taken for one

// y[j] over the rows of x, `stride` apart, of T vectors of columns, the last of `tail` lanes: chains of 32 rows, then those in order.
template <class R, int T>
INLINE void reduceTile(const float* x, int64_t rows, int64_t stride, int tail, float* y) {
  vf acc[T];
  for (int q = 0; q < T; q++) acc[q] = R::start();
  for (int64_t r = 0; r < rows;) {
    vf chain[T];
    for (int q = 0; q < T; q++) chain[q] = R::start();
    for (const int64_t stop = imin(rows, r + 32); r < stop; r++, x += stride)
      for (int q = 0; q < T; q++) chain[q] = R::step(chain[q], T > 1 ? load(x + q * W) : ld(x, tail));
    for (int q = 0; q < T; q++) acc[q] = R::join(acc[q], chain[q]);
  }
  for (int q = 0; q < T; q++) storen(y + q * W, acc[q], T > 1 ? W : tail);
}
// The same for any number of columns, at most kWide. Where rows are long they are read eight at a time and along them: the processor fetches
// ahead along a row, not from row to row.
template <class R>
INLINE void wideBlock(const float* x, int64_t rows, int64_t stride, int64_t cols, float* y) {
  int64_t j = 0;
  if (cols < 512) {
    for (; j + 8 * W <= cols; j += 8 * W) reduceTile<R, 8>(x + j, rows, stride, W, y + j);
    for (; j + 4 * W <= cols; j += 4 * W) reduceTile<R, 4>(x + j, rows, stride, W, y + j);
    for (; j < cols; j += W) reduceTile<R, 1>(x + j, rows, stride, (int)imin(W, cols - j), y + j);
    return;
  }
  alignas(64) float acc[kWide];
  for (; j < cols; j += W) store(acc + j, R::start());
  const auto add = [&](const float* p, int64_t c, int k, int count) __attribute__((always_inline)) {
    vf s = load(acc + c);
    for (int q = 0; q < count; q++) s = R::step(s, ld(p + q * stride + c, k));
    store(acc + c, s);
  };
  int64_t r = 0;
  for (; r + 8 <= rows; r += 8, x += 8 * stride) {
    for (j = 0; j + W <= cols; j += W) add(x, j, W, 8);
    if (j < cols) add(x, j, (int)(cols - j), 8);
  }
  for (; r < rows; r++, x += stride)
    for (j = 0; j < cols; j += W) add(x, j, (int)imin(W, cols - j), 1);
  for (j = 0; j < cols; j += W) storen(y + j, load(acc + j), (int)imin(W, cols - j));
}
inline int64_t foldOf(int64_t cols) {
  int64_t fold = W;
  while (fold * cols < 256) fold *= 2;
  return fold;
}
// The same for a few columns that lie side by side: `fold` rows are taken for one of fold·cols columns, which are folded at the end.
template <class R>
INLINE void narrowBlock(const float* x, int64_t rows, int64_t cols, float* y) {
  alignas(64) float acc[512 + W * kNarrow];
  int64_t fold = foldOf(cols), length = fold * cols;
  const int64_t r = rows / fold * fold;
  wideBlock<R>(x, rows / fold, length, length, acc);
  for (; fold > W; fold /= 2) {
    length /= 2;
    for (int64_t j = 0; j < length; j += W) store(acc + j, R::join(load(acc + j), load(acc + length + j)));
  }
  for (int64_t j = 0; j < cols; j++) {
    float s = acc[j];
    for (int64_t q = 1; q < fold; q++) s = R::join(s, acc[q * cols + j]);
    for (int64_t q = r; q < rows; q++) s = R::join(s, x[q * cols + j]);
    y[j] = s;
  }
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
    blocks(outer * per, 2, [&](int64_t t, int64_t end) {
      for (; t < end; t++) {
        int64_t r = t / per, i = (t - r * per) * size;
        part[t] = reduceRange<R>(x + r * n + i, imin(size, n - i));
      }
    });
    for (int64_t r = 0; r < outer; r++) y[r] = reduceRange<R>(part + r * per, per) * scale;
    return;
  }
  // Columns: fixed blocks of rows, then their partial results in order.
  if (inner <= 0) return;
  const bool narrow = inner <= kNarrow;
  const int64_t wide = narrow ? inner : kWide, tiles = cdiv(inner, wide);
  const int64_t size = narrow ? 65536 / inner / foldOf(inner) * foldOf(inner) : imax(32, imin(256, 65536 / imin(inner, wide))), per = cdiv(imax(n, 1), size);
  float* part = per > 1 ? (float*)scratch(3, (size_t)(outer * per * inner) * 4) : y;
  const int64_t tasks = outer * per * tiles;
  const int64_t group = imax(1, imin(kSpan / imax(1, imin(n, size) * imin(inner, wide)), tasks / (8 * plumb::threadCount())));
  parallelIf(outer * n * inner >= 65536, cdiv(tasks, group), [&](int64_t task) {
    for (int64_t t = task * group; t < imin(tasks, (task + 1) * group); t++) {
      const int64_t tile = t % tiles, b = t / tiles, o = b / per, r0 = (b - o * per) * size, r1 = imin(n, r0 + size);
      const int64_t from = tile * wide, cols = imin(inner, from + wide) - from;
      const float* p = x + (o * n + r0) * inner + from;
      float* d = part + b * inner + from;
      if (narrow) narrowBlock<R>(p, r1 - r0, inner, d);
      else wideBlock<R>(p, r1 - r0, inner, cols, d);
      if (per == 1)
        for (int64_t j = 0; j < cols; j++) d[j] *= scale;
    }
  });
  if (per > 1)
    columnwise(outer, inner, [&](int64_t o, int64_t j, int k) __attribute__((always_inline)) {
      const float* p = part + o * per * inner + j;
      vf s = ld(p, k);
      for (int64_t b = 1; b < per; b++) s = R::join(s, ld(p + b * inner, k));
      storen(y + o * inner + j, s * scale, k);
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
// Of the numbers [from, to) of a row: the first place of the largest (smallest), or 0 where none beats the row's first. NaN is passed over
// unless it comes first, as in tfjs.
template <bool max>
INLINE int32_t argRange(const float* row, int64_t from, int64_t to) {
  constexpr int lines = 4;
  const float first = row[0];
  if (first != first) return 0;
  vf best[lines];
  vi at[lines] = {}, here = iota() + (int32_t)from;
  for (int q = 0; q < lines; q++) best[q] = set1(first);
  int64_t i = from;
  for (; i + lines * W <= to; i += lines * W) {
    for (int q = 0; q < lines; q++) {
      prefetch(row + i + q * W + kAhead);
      vf x = load(row + i + q * W);
      vi better = max ? x > best[q] : x < best[q];
      best[q] = sel(better, x, best[q]);
      at[q] = better ? here : at[q];  // of its line's first vector
    }
    here += lines * W;
  }
  vf all = best[0];
  for (int q = 1; q < lines; q++) all = max ? fastmax(all, best[q]) : fastmin(all, best[q]);
  float top = max ? rmax(all) : -rmax(-all);
  int32_t where = 0;
  if (top != first) {
    vi places = set1i(INT32_MAX);
    for (int q = 0; q < lines; q++) {
      const vi place = best[q] == top ? at[q] + q * W : INT32_MAX - (vi){};
      places = place < places ? place : places;
    }
    where = INT32_MAX;
    for (int l = 0; l < W; l++) where = places[l] < where ? places[l] : where;
  }
  for (; i < to; i++)
    if (max ? row[i] > top : row[i] < top) top = row[i], where = (int32_t)i;
  return where;
}
template <bool max>
void argColumns(const float* x, int32_t* y, int64_t outer, int64_t n, int64_t inner) {
  constexpr int64_t wide = kWide;
  const int64_t tiles = cdiv(inner, wide), size = imax(32, 65536 / imin(inner, wide)), per = cdiv(n, size);
  float* tops = (float*)scratch(3, (size_t)(outer * per * inner) * 8);  // of each block of rows, and their places
  int32_t* places = (int32_t*)(tops + outer * per * inner);
  const int64_t tasks = outer * per * tiles;
  const int64_t group = imax(1, imin(kSpan / (imin(n, size) * imin(inner, wide)), tasks / (8 * plumb::threadCount())));
  parallelIf(outer * n * inner >= 65536, cdiv(tasks, group), [&](int64_t task) {
    alignas(64) float best[wide];
    alignas(64) int32_t at[wide];
    for (int64_t t = task * group; t < imin(tasks, (task + 1) * group); t++) {
      const int64_t tile = t % tiles, b = t / tiles, o = b / per, r0 = (b - o * per) * size, r1 = imin(n, r0 + size);
      const int64_t from = tile * wide, cols = imin(inner, from + wide) - from;
      const float* p = x + o * n * inner + from;
      memcpy(best, p, (size_t)cols * 4);
      memset(at, 0, sizeof at);
      const auto look = [&](int64_t r, int64_t j, int k, int count) __attribute__((always_inline)) {
        vf top = load(best + j);
        vi place = *(const viu*)(at + j);
        for (int q = 0; q < count; q++) {
          const vf v = ld(p + (r + q) * inner + j, k);
          const vi better = max ? v > top : v < top;
          top = sel(better, v, top);
          place = better ? set1i((int32_t)(r + q)) : place;
        }
        store(best + j, top);
        *(viu*)(at + j) = place;
      };
      int64_t r = r0, j;
      for (; r + 8 <= r1; r += 8) {
        for (j = 0; j + W <= cols; j += W) look(r, j, W, 8);
        if (j < cols) look(r, j, (int)(cols - j), 8);
      }
      for (; r < r1; r++)
        for (j = 0; j < cols; j += W) look(r, j, (int)imin(W, cols - j), 1);
      memcpy(tops + b * inner + from, best, (size_t)cols * 4);
      memcpy(places + b * inner + from, at, (size_t)cols * 4);
    }
  });
  columnwise(outer, inner, [&](int64_t o, int64_t j, int k) __attribute__((always_inline)) {
    int64_t i = o * per * inner + j;
    vf top = ld(tops + i, k);
    vi place = bits(ld((const float*)places + i, k));
    for (int64_t b = 1; b < per; b++) {
      i += inner;
      const vf v = ld(tops + i, k);
      const vi better = max ? v > top : v < top;
      top = sel(better, v, top);
      place = better ? bits(ld((const float*)places + i, k)) : place;
    }
    storen((float*)y + o * inner + j, bits(place), k);
  });
}
template <bool max>
void argReduceAs(const float* x, int32_t* y, int64_t outer, int64_t n, int64_t inner) {
  if (outer * n * inner == 0) return;
  if (inner > 1) return argColumns<max>(x, y, outer, n, inner);
  const int64_t size = 65536, per = cdiv(n, size);
  if (per == 1) {
    blocks(outer, cdiv(kBlock, n), [&](int64_t r, int64_t end) {
      for (; r < end; r++) y[r] = argRange<max>(x + r * n, 0, n);
    });
    return;
  }
  int32_t* places = (int32_t*)scratch(3, (size_t)(outer * per) * 4);
  parallel(outer * per, [&](int64_t t) {
    const int64_t r = t / per, from = (t - r * per) * size;
    places[t] = argRange<max>(x + r * n, from, imin(n, from + size));
  });
  for (int64_t r = 0; r < outer; r++) {
    const float* row = x + r * n;
    int32_t where = places[r * per];
    for (int64_t b = 1; b < per; b++) {
      const int32_t place = places[r * per + b];
      if (max ? row[place] > row[where] : row[place] < row[where]) where = place;
    }
    y[r] = where;
  }
}
void argReduce(bool max, const float* x, int32_t* y, int64_t outer, int64_t n, int64_t inner) {
  if (max) argReduceAs<true>(x, y, outer, n, inner);
  else argReduceAs<false>(x, y, outer, n, inner);
}

// --- rows -----------------------------------------------------------------------------------------------------------------------
// Sum of exp(x − m) over a row, written to y unless null. The largest number of the row after it is found meanwhile, unless `next` is null:
// what it waits for memory is then spent on this row.
INLINE float expSum(const float* x, float* y, int64_t n, float m, float* next) {
  vf s[4] = {}, t[4], mv = set1(m);
  for (int q = 0; q < 4; q++) t[q] = Max::start();
  const float* after = x + n;
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
    for (int q = 0; q < 4; q++) {
      vf e = vexp(load(x + i + q * W) - mv);
      if (y) store(y + i + q * W, e);
      s[q] = s[q] + e;
      if (next) {
        prefetch(after + i + q * W + kAhead);
        t[q] = Max::step(t[q], load(after + i + q * W));
      }
    }
  for (int q = 0; i < n; i += W, q++) {
    int k = (int)imin(W, n - i);
    vf e = keep(vexp(ld(x + i, k) - mv), k, 0);
    if (y) storen(y + i, e, k);
    s[q & 3] = s[q & 3] + e;
    if (next) t[q & 3] = Max::step(t[q & 3], Max::pad(ld(after + i, k), k));
  }
  if (next) *next = Max::finish(Max::join(Max::join(t[0], t[1]), Max::join(t[2], t[3])));
  return hsum((s[0] + s[1]) + (s[2] + s[3]));
}
INLINE float flog(float x) { return vlog(set1(x))[0]; }
void softmax(const float* x, float* y, int64_t rows, int64_t n, bool log) {
  if (n == 0) return;
  const bool past = rows * n >= kStreamed && n >= 128 && n <= kBlock && x != y;
  blocks(rows, cdiv(kBlock, n), [&](int64_t r, int64_t end) {
    float* t = past && !log ? (float*)scratch(4, (size_t)n * 4) : nullptr;
    float m = reduceRange<Max>(x + r * n, n), next = m;
    for (; r < end; r++, m = next) {
      const float* p = x + r * n;
      float* q = y + r * n;
      float* after = r + 1 < end ? &next : nullptr;
      if (log) {
        float l = m + flog(expSum(p, nullptr, n, m, after));
        mapRange(p, q, 0, n, [=](vf a) { return a - l; }, past);
      } else {
        float* e = t ? t : q;
        float s = 1.f / expSum(p, e, n, m, after);
        mapRange(e, q, 0, n, [=](vf a) { return a * s; }, past);
      }
    }
  });
}
void softmaxGrad(const float* y, const float* dy, float* dx, int64_t rows, int64_t n, bool log) {
  const bool past = rows * n >= kStreamed && n >= 128 && dx != y && dx != dy;
  blocks(rows, cdiv(kBlock, imax(1, n)), [&](int64_t r, int64_t end) {
    for (; r < end; r++) {
      const float *p = y + r * n, *g = dy + r * n;
      vf s[4] = {};
      int64_t i = 0;
      for (; i + 4 * W <= n; i += 4 * W)
        for (int q = 0; q < 4; q++) s[q] = log ? s[q] + load(g + i + q * W) : fma(load(g + i + q * W), load(p + i + q * W), s[q]);
      for (int q = 0; i < n; i += W, q++) {
        int k = (int)imin(W, n - i);
        s[q & 3] = log ? s[q & 3] + ld(g + i, k) : fma(ld(g + i, k), ld(p + i, k), s[q & 3]);
      }
      const float t = hsum((s[0] + s[1]) + (s[2] + s[3]));
      if (log) emit(dx + r * n, 0, n, past, [=](int64_t j, int k) __attribute__((always_inline)) { return ld(g + j, k) - vexp(ld(p + j, k)) * t; });
      else emit(dx + r * n, 0, n, past, [=](int64_t j, int k) __attribute__((always_inline)) { return ld(p + j, k) * (ld(g + j, k) - t); });
    }
  });
}
void logSumExp(const float* x, float* y, int64_t rows, int64_t n) {
  blocks(rows, cdiv(kBlock, imax(1, n)), [&](int64_t r, int64_t end) {
    float m = reduceRange<Max>(x + r * n, n), next = m;
    for (; r < end; r++, m = next) {
      float a = m - m == 0 ? m : 0;  // all −∞ gives −∞, and +∞ gives +∞
      y[r] = a + flog(expSum(x + r * n, nullptr, n, a, r + 1 < end ? &next : nullptr));
    }
  });
}
// Of `count` rows at once: a row's sums wait for one another, those of other rows do not.
template <int count>
INLINE void sumAlong(const float* x, float* y, int64_t n, bool exclusive, bool reverse) {
  float s[count] = {};
  for (int64_t i = 0; i < n; i++) {
    const int64_t j = reverse ? n - 1 - i : i;
    for (int q = 0; q < count; q++) {
      const float next = s[q] + x[q * n + j];
      y[q * n + j] = exclusive ? s[q] : next;
      s[q] = next;
    }
  }
}
void cumsum(const float* x, float* y, int64_t outer, int64_t n, bool exclusive, bool reverse) {
  blocks(outer, cdiv(kBlock, imax(1, n)), [&](int64_t r, int64_t end) {
    for (; r + 4 <= end; r += 4) sumAlong<4>(x + r * n, y + r * n, n, exclusive, reverse);
    for (; r < end; r++) sumAlong<1>(x + r * n, y + r * n, n, exclusive, reverse);
  });
}

double sumSquares(const float* x, int64_t n) {
  const int64_t size = 8192, per = cdiv(n, size);
  float* part = (float*)scratch(3, (size_t)(per + 1) * 4);
  blocks(per, 2, [&](int64_t t, int64_t end) {
    for (; t < end; t++) part[t] = reduceRange<Squares>(x + t * size, imin(size, n - t * size));
  });
  double s = 0;
  for (int64_t i = 0; i < per; i++) s += part[i];
  return s;
}
}  // namespace

namespace plumb {
void PLUMB_NAME(fillReduce)(Kernels& k) {
  k.reduce = reduce;
  k.argReduce = argReduce;
  k.softmax = softmax;
  k.softmaxGrad = softmaxGrad;
  k.logSumExp = logSumExp;
  k.cumsum = cumsum;
  k.sumSquares = sumSquares;
}
}  // namespace plumb
