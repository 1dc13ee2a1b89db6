// Whole numbers, truth values, casts, order: what only moves and compares. Compiled once; the compiler's own vectors do.
#include <math.h>
#include <string.h>

#include <algorithm>
#include <vector>

#include "kernels.h"
#include "pool.h"

namespace plumb {
namespace {
constexpr int64_t kPiece = 16384;

template <class F>
void pieces(int64_t n, int64_t size, const F& f) {
  if (n > 0) parallelIf(n >= 4 * size, cdiv(n, size), [&](int64_t t) { f(t * size, imin(n, (t + 1) * size)); });
}

// y[i] = f(a, b) over a broadcast pair, y contiguous.
template <class T, class U, class F>
void zip(const T* a, const T* b, U* y, const Walk& w, const F& f) {
  const int last = w.rank - 1;
  const int64_t inner = w.dims[last], sa = w.a[last], sb = w.b[last];
  int64_t outer = 1;
  for (int d = 0; d < last; d++) outer *= w.dims[d];
  auto run = [&](const T* p, const T* q, U* o, int64_t i, int64_t end) {
    if (sa && sb)
      for (; i < end; i++) o[i] = f(p[i], q[i]);
    else if (sa)
      for (const T v = *q; i < end; i++) o[i] = f(p[i], v);
    else if (sb)
      for (const T v = *p; i < end; i++) o[i] = f(v, q[i]);
    else
      for (const U v = f(*p, *q); i < end; i++) o[i] = v;
  };
  if (outer == 1) return pieces(inner, kPiece, [&](int64_t i, int64_t end) { run(a, b, y, i, end); });
  pieces(outer, cdiv(kPiece, imax(1, inner)), [&](int64_t r, int64_t end) {
    for (; r < end; r++) {
      int64_t rest = r, oa = 0, ob = 0;
      for (int d = last - 1; d >= 0; d--) {
        const int64_t i = rest % w.dims[d];
        rest /= w.dims[d];
        oa += i * w.a[d];
        ob += i * w.b[d];
      }
      run(a + oa, b + ob, y + r * inner, 0, inner);
    }
  });
}
int32_t wrap(int64_t x) { return (int32_t)(uint32_t)(uint64_t)x; }
// JavaScript's conversion of a number to 32 bits.
int32_t toInt32(double x) {
  if (x > -2147483649. && x < 2147483648.) return (int32_t)x;
  if (!(x - x == 0)) return 0;
  const double m = fmod(trunc(x), 4294967296.);
  return (int32_t)(uint32_t)(int64_t)(m < 0 ? m + 4294967296. : m);
}
}  // namespace

void wholeBinary(int op, const int32_t* a, const int32_t* b, int32_t* y, const Walk& w) {
  switch (op) {
    case kIntAdd: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (int32_t)((uint32_t)p + (uint32_t)q); });
    case kIntSub: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (int32_t)((uint32_t)p - (uint32_t)q); });
    case kIntMul: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (int32_t)((uint32_t)p * (uint32_t)q); });
    case kIntMaximum: return zip(a, b, y, w, [](int32_t p, int32_t q) { return p > q ? p : q; });
    case kIntMinimum: return zip(a, b, y, w, [](int32_t p, int32_t q) { return p < q ? p : q; });
    case kIntFloorDiv: return zip(a, b, y, w, [](int32_t p, int32_t q) { return toInt32(floor((double)p / (double)q)); });
    case kIntMod:
      return zip(a, b, y, w, [](int32_t p, int32_t q) {
        const double r = fmod((double)p, (double)q);
        return toInt32((p < 0 && q < 0) || (p >= 0 && q >= 0) ? r : fmod(r + q, (double)q));
      });
    case kIntSquaredDifference:
      return zip(a, b, y, w, [](int32_t p, int32_t q) {
        const uint32_t d = (uint32_t)p - (uint32_t)q;
        return (int32_t)(d * d);
      });
  }
}
void wholeCompare(int op, const int32_t* a, const int32_t* b, uint8_t* y, const Walk& w) {
  switch (op) {
    case kEqual: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (uint8_t)(p == q); });
    case kNotEqual: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (uint8_t)(p != q); });
    case kLess: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (uint8_t)(p < q); });
    case kLessEqual: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (uint8_t)(p <= q); });
    case kGreater: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (uint8_t)(p > q); });
    case kGreaterEqual: return zip(a, b, y, w, [](int32_t p, int32_t q) { return (uint8_t)(p >= q); });
  }
}
void truthBinary(int op, const uint8_t* a, const uint8_t* b, uint8_t* y, const Walk& w) {
  switch (op) {
    case kAnd: return zip(a, b, y, w, [](uint8_t p, uint8_t q) { return (uint8_t)((p != 0) & (q != 0)); });
    case kOr: return zip(a, b, y, w, [](uint8_t p, uint8_t q) { return (uint8_t)((p | q) != 0); });
    case kXor: return zip(a, b, y, w, [](uint8_t p, uint8_t q) { return (uint8_t)((p != 0) != (q != 0)); });
  }
}

void wholeReduce(int op, const int32_t* x, int32_t* y, int64_t outer, int64_t n, int64_t inner) {
  auto each = [&](auto f) {
    pieces(outer * inner, cdiv(kPiece, imax(1, n)), [&](int64_t t, int64_t end) {
      for (; t < end; t++) {
        const int64_t o = t / inner;
        const int32_t* p = x + o * n * inner + (t - o * inner);
        int32_t s = p[0];
        for (int64_t i = 1; i < n; i++) s = f(s, p[i * inner]);
        y[t] = s;
      }
    });
  };
  switch (op) {
    case kSum: return each([](int32_t s, int32_t v) { return (int32_t)((uint32_t)s + (uint32_t)v); });
    case kProd: return each([](int32_t s, int32_t v) { return (int32_t)((uint32_t)s * (uint32_t)v); });
    case kMax: return each([](int32_t s, int32_t v) { return s > v ? s : v; });
    case kMin: return each([](int32_t s, int32_t v) { return s < v ? s : v; });
  }
}

void cast(int from, const void* x, int to, void* y, int64_t n) {
  auto each = [&](auto* p, auto* q, auto f) {
    pieces(n, kPiece, [=](int64_t i, int64_t end) {
      for (; i < end; i++) q[i] = f(p[i]);
    });
  };
  const float* xf = (const float*)x;
  const int32_t* xi = (const int32_t*)x;
  const uint8_t* xb = (const uint8_t*)x;
  if (from == 0 && to == 1) each(xf, (int32_t*)y, [](float v) { return toInt32(v); });
  if (from == 0 && to == 2) each(xf, (uint8_t*)y, [](float v) { return (uint8_t)(v != 0.f); });
  if (from == 1 && to == 0) each(xi, (float*)y, [](int32_t v) { return (float)v; });
  if (from == 1 && to == 2) each(xi, (uint8_t*)y, [](int32_t v) { return (uint8_t)(v != 0); });
  if (from == 2 && to == 0) each(xb, (float*)y, [](uint8_t v) { return (float)v; });
  if (from == 2 && to == 1) each(xb, (int32_t*)y, [](uint8_t v) { return (int32_t)v; });
}

void fill(void* y, const void* value, int bytes, int64_t n) {
  pieces(n, 4 * kPiece, [&](int64_t i, int64_t end) {
    if (bytes == 1) memset((uint8_t*)y + i, *(const uint8_t*)value, (size_t)(end - i));
    else std::fill((uint32_t*)y + i, (uint32_t*)y + end, *(const uint32_t*)value);
  });
}

void topK(const float* x, float* values, int32_t* places, int64_t rows, int64_t n, int64_t k) {
  pieces(rows, cdiv(kPiece / 4, imax(1, n)), [&](int64_t r, int64_t end) {
    std::vector<int32_t> order((size_t)n);
    for (; r < end; r++) {
      const float* p = x + r * n;
      auto before = [p](int32_t i, int32_t j) {
        const bool ni = p[i] != p[i], nj = p[j] != p[j];
        if (ni != nj) return ni;
        return !ni && p[i] != p[j] ? p[i] > p[j] : i < j;
      };
      // Few of many: a heap of the best so far, whose top is the worst of them.
      if (k * 8 <= n) {
        int64_t kept = 0;
        for (int32_t i = 0; i < (int32_t)n; i++) {
          if (kept < k) {
            order[(size_t)kept++] = i;
            std::push_heap(order.begin(), order.begin() + kept, before);
          } else if (k > 0 && before(i, order[0])) {
            std::pop_heap(order.begin(), order.begin() + kept, before);
            order[(size_t)kept - 1] = i;
            std::push_heap(order.begin(), order.begin() + kept, before);
          }
        }
        std::sort_heap(order.begin(), order.begin() + kept, before);
      } else {
        for (int32_t i = 0; i < (int32_t)n; i++) order[(size_t)i] = i;
        std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
      }
      for (int64_t i = 0; i < k; i++) {
        places[r * k + i] = order[(size_t)i];
        values[r * k + i] = p[order[(size_t)i]];
      }
    }
  });
}

void batchNorm(const float* x, const float* const params[4], const int64_t periods[4], float eps, float* y, int64_t n) {
  const float *mean = params[0], *variance = params[1], *offset = params[2], *scale = params[3];
  int64_t c = 1;
  for (int i = 0; i < 4; i++) c = imax(c, periods[i]);
  std::vector<float> all((size_t)(3 * c));
  float *m = all.data(), *a = m + c, *b = a + c;
  for (int64_t i = 0; i < c; i++) {
    m[i] = mean[i % periods[0]];
    a[i] = (scale ? scale[i % periods[3]] : 1.f) / sqrtf(variance[i % periods[1]] + eps);
    b[i] = offset ? offset[i % periods[2]] : 0.f;
  }
  pieces(cdiv(n, c), cdiv(kPiece, c), [&](int64_t r, int64_t end) {
    for (; r < end; r++)
      for (int64_t i = 0, stop = imin(c, n - r * c); i < stop; i++) y[r * c + i] = (x[r * c + i] - m[i]) * a[i] + b[i];
  });
}
}  // namespace plumb
