// How the elementwise and reducing kernels go over long arrays: in pieces of whole blocks, whole vectors at a time, past the caches where
// an output would not fit them. Tails go through the same vector code as the rest, so a value never depends on where in an array it lies.
#pragma once
#include "pool.h"
#include "simd.h"

namespace {
constexpr int64_t kBlock = 16384;
constexpr int64_t kSpan = 1 << 18;           // what one thread takes of a long array: long enough for the prefetchers
constexpr int64_t kStreamed = 8 << 20;       // outputs from this size on are stored past the caches, which would not hold them anyway

// f(begin, end) over [0, n) in pieces of whole blocks of `size`; for work in which no result depends on where the pieces are cut.
template <class F>
void blocks(int64_t n, int64_t size, const F& f) {
  if (n <= 0) return;
  const int64_t tasks = cdiv(n, size);
  // A few blocks a task where there are many: at most a span of floats, and enough tasks that no thread waits long for the last.
  const int64_t group = imax(1, imin(kSpan / kBlock, tasks / (8 * plumb::threadCount())));
  parallelIf(tasks >= 4, cdiv(tasks, group), [&](int64_t t) {
    f(t * group * size, imin(n, (t + 1) * group * size));
    streamed();
  });
}

// y[i] = g(i) over [i, end), g(i, n) at the ends: whole vectors at addresses that are multiples of their size.
template <class G>
INLINE void emit(float* y, int64_t i, int64_t end, bool past, const G& g) {
  if (end - i >= 8 * W) {
    const int head = (int)(-((intptr_t)(y + i) >> 2) & (W - 1));
    if (head) storen(y + i, g(i, head), head);
    i += head;
    // Four vectors at a time, side by side: what one waits for is then spent on the others.
    if (past) {
      for (; i + 4 * W <= end; i += 4 * W) {
        const vf a = g(i, W), b = g(i + W, W), c = g(i + 2 * W, W), d = g(i + 3 * W, W);
        stream(y + i, a);
        stream(y + i + W, b);
        stream(y + i + 2 * W, c);
        stream(y + i + 3 * W, d);
      }
    } else
      for (; i + 4 * W <= end; i += 4 * W) {
        const vf a = g(i, W), b = g(i + W, W), c = g(i + 2 * W, W), d = g(i + 3 * W, W);
        store(y + i, a);
        store(y + i + W, b);
        store(y + i + 2 * W, c);
        store(y + i + 3 * W, d);
      }
  }
  for (; i + W <= end; i += W) store(y + i, g(i, W));
  if (i < end) storen(y + i, g(i, (int)(end - i)), (int)(end - i));
}
INLINE vf ld(const float* p, int n) { return n == W ? load(p) : loadn(p, n); }

template <class F>
INLINE void mapRange(const float* x, float* y, int64_t i, int64_t end, const F& f, bool past = false) {
  emit(y, i, end, past, [&](int64_t j, int n) __attribute__((always_inline)) { return f(ld(x + j, n)); });
}
template <class F>
void map(const float* x, float* y, int64_t n, const F& f) {
  const bool past = n >= kStreamed && x != y;
  blocks(n, kBlock, [&](int64_t i, int64_t end) { mapRange(x, y, i, end, f, past); });
}
}  // namespace
