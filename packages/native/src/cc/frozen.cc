// Frozen matrices: into panels and back; products are in gemm.cc and rows.cc. And the copy that bandwidth is measured against.
#include <string.h>

#include "kernels.h"
#include "pool.h"

namespace plumb {
void (*bf16Products)(const Gemm& g) = nullptr;
FewRows fewRows[2];

namespace {
// Entry i of row k of a panel is entry (i, k) of the matrix, `step` entries of which (those of one pair) stay together.
template <class T, int step>
void pack(const Frozen& f, const T* values, char* data) {
  parallel(f.panels(), [&](int64_t p) {
    T* to = (T*)(data + p * f.panelBytes());
    const int64_t first = p * kPanel, rows = imin(kPanel, f.out - first);
    for (int64_t k0 = 0; k0 < f.in; k0 += 64)  // a block that stays in the cache
      for (int64_t i = 0; i < kPanel; i++) {
        const T* from = values + (first + i) * f.in;
        for (int64_t k = k0; k < imin(k0 + 64, cdiv(f.in, step) * step); k++)
          to[(k / step * kPanel + i) * step + k % step] = i < rows && k < f.in ? from[k] : T(0);
      }
  });
}
}  // namespace

void packFrozen(const Frozen& f, const void* values, char* data) {
  if (f.storage == kF32) pack<float, 1>(f, (const float*)values, data);
  else if (f.storage == kBf16) pack<uint16_t, 2>(f, (const uint16_t*)values, data);
  else pack<int8_t, 1>(f, (const int8_t*)values, data);
}

void frozenRows(const Frozen& f, const int32_t* ids, int64_t count, float* y) {
  const auto row = [&](int64_t r) {
    const int64_t id = ids[r], lane = id % kPanel;
    const char* from = f.data + id / kPanel * f.panelBytes();
    float* to = y + r * f.in;
    if (f.storage == kF32) {
      for (int64_t k = 0; k < f.in; k++) to[k] = ((const float*)from)[k * kPanel + lane];
    } else if (f.storage == kBf16) {
      for (int64_t k = 0; k < f.in; k++) {
        const uint32_t bits = (uint32_t)((const uint16_t*)from)[(k / 2 * kPanel + lane) * 2 + k % 2] << 16;
        memcpy(to + k, &bits, 4);
      }
    } else {
      for (int64_t k = 0; k < f.in; k++) to[k] = (float)((const int8_t*)from)[k * kPanel + lane] * f.scales[id];
    }
  };
  parallelIf(count > 1 && count * f.in >= 16384, count, row);
}

void plainCopy(const float* x, float* y, int64_t n) {
  typedef float vector __attribute__((vector_size(32), aligned(4), may_alias));  // not memcpy, which bypasses the cache where arrays are large
  const int64_t size = 1 << 16;
  parallel(cdiv(n, size), [&](int64_t t) {
    int64_t i = t * size;
    const int64_t end = imin(n, i + size);
    for (; i + 8 <= end; i += 8) {
      *(vector*)(y + i) = *(const vector*)(x + i);
      __asm__ volatile("" ::: "memory");
    }
    for (; i < end; i++) y[i] = x[i];
  });
}
}  // namespace plumb
