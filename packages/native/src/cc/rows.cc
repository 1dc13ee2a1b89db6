// Products of a few rows with frozen matrices, as a step of a decoder makes them: for processors with 32 vectors of 16 floats. The same
// chains as gemm.cc's, to the bit. Each byte of a matrix comes from memory once, a little ahead of its use, and is widened in registers;
// rows beyond those that fit into registers read it again from the second-level cache.
//
// Compiled like gemm.cc, once with float32 units along K and once, as PLUMB_PAIRS, with units of two neighbouring numbers in bfloat16.
#include "kernels.h"
#include "pool.h"
#include "simd.h"

using namespace plumb;

#if defined(__AVX512F__)
namespace {
#if defined(PLUMB_PAIRS)
constexpr bool kPairs = true;
#else
constexpr bool kPairs = false;
#endif
constexpr int U = kPairs ? 2 : 1;  // numbers of K in a unit
constexpr int kMost = 12;          // rows whose sums of a panel fit into registers
constexpr int64_t kNear = 2048;    // bytes of a panel fetched ahead where several are read at once; of one alone, three times as many
static_assert(kPanel == 2 * W, "a panel is two vectors");

typedef int32_t bits32 __attribute__((may_alias));
INLINE vf spread(const float* p) { return kPairs ? bits(set1i(*(const bits32*)p)) : set1(*p); }
INLINE vf dot(vf a, vf b, vf c) {
#if defined(PLUMB_PAIRS)
  return (vf)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
  return fma(a, b, c);
#endif
}

#if defined(PLUMB_PAIRS)
// An int8 in bfloat16 is exact; its two bytes are looked up by the magnitude, and the sign is put on.
struct Widening {
  alignas(64) uint8_t low[128], high[128], order[64];
  constexpr Widening() : low(), high(), order() {
    for (int n = 1; n < 128; n++) {
      int e = 0;
      while (n >> (e + 1)) e++;
      const int word = (127 + e) << 7 | ((n - (1 << e)) << (7 - e));
      low[n] = (uint8_t)word;
      high[n] = (uint8_t)(word >> 8);
    }
    // Of two rows of 32 columns: in each lane of 16 bytes the pairs of four columns, and of those 16 further on.
    for (int i = 0; i < 64; i++) {
      const int lane = i / 16, b = i % 16, column = lane * 4 + (b % 8) / 2 + (b / 8) * 16;
      order[i] = (uint8_t)((b & 1) * 32 + column);
    }
  }
};
constexpr Widening kWide{};
#endif

struct Rows {
  int64_t units;
  const float* a;  // blocks of 16 units: of each row a vector
  int64_t sa;      // from block to block
  const char* b;
  const char* far;  // where else to fetch from, a line a unit; or null
  float* c;
  int64_t ldc;
  int columns;
  const float *scale, *bias;
  bool load;
};

template <int M, int P, int S>
void rowsTile(const Rows& t, int64_t panelBytes) {
  vf acc[P][M][2];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++)
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      acc[p][i][0] = acc[p][i][1] = (vf){};
      if (P == 1 && t.load) {
        const int tail = t.columns - W;
        acc[p][i][0] = loadn(t.c + i * t.ldc, tail < 0 ? t.columns : W);
        acc[p][i][1] = tail > 0 ? loadn(t.c + i * t.ldc + W, tail) : (vf){};
      }
    }
  constexpr bool halves = !kPairs && S == kBf16;                    // a row of the matrix is two units
  constexpr int64_t row = S == kInt8 ? kPanel * U : kPanel * 4;     // bytes that an iteration reads of a panel
  constexpr int each = halves ? 2 : 1;                              // units of an iteration
  const char *b = t.b, *far = t.far;
  const float* a = t.a;
  // Where several panels are read at once, what follows the end of one has been read: its successor is fetched instead.
  int64_t ahead = P == 1 ? 3 * kNear : kNear;
#if defined(PLUMB_PAIRS)
  const __m512i order = _mm512_load_si512(kWide.order), low0 = _mm512_load_si512(kWide.low), low1 = _mm512_load_si512(kWide.low + 64), high0 = _mm512_load_si512(kWide.high),
                high1 = _mm512_load_si512(kWide.high + 64), sign = _mm512_set1_epi8((char)0x80);
#endif
  const auto one = [&](const char* q, int p, const float* at) {
    vf x, y;
    if (S == kInt8) {
#if defined(PLUMB_PAIRS)
      const __m512i z = _mm512_permutexvar_epi8(order, _mm512_loadu_si512(q)), n = _mm512_abs_epi8(z);
      const __m512i low = _mm512_permutex2var_epi8(low0, n, low1);
      const __m512i high = _mm512_ternarylogic_epi64(_mm512_permutex2var_epi8(high0, n, high1), z, sign, 0xf8);  // high | z & sign
      x = (vf)_mm512_unpacklo_epi8(low, high);
      y = (vf)_mm512_unpackhi_epi8(low, high);
#else
      x = (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)q)));
      y = (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)(q + W))));
#endif
    } else {
      x = load((const float*)q);
      y = load((const float*)q + W);
    }
    const auto add = [&](vf v, vf w, const float* from) {
#pragma GCC unroll 16
      for (int i = 0; i < M; i++) {
        const vf s = spread(from + i * W);
        acc[p][i][0] = dot(s, v, acc[p][i][0]);
        acc[p][i][1] = dot(s, w, acc[p][i][1]);
      }
    };
    if (halves) {
      add(bits(bits(x) << 16), bits(bits(y) << 16), at);
      add(bits(bits(x) & set1i((int32_t)0xffff0000)), bits(bits(y) & set1i((int32_t)0xffff0000)), at + 1);
    } else {
      add(x, y, at);
    }
  };
  const auto fetch = [&](const char* q) {
    if (P == 1 && far) {
      __builtin_prefetch(far, 0, 2);
      far += 64;
    } else {
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) {
        __builtin_prefetch(q + p * panelBytes + ahead);
        if (row > 64) __builtin_prefetch(q + p * panelBytes + ahead + 64);
      }
    }
  };
  const int64_t jump = P == 1 ? t.units : t.units - kNear / row * each;
  for (int64_t u = 0; u < t.units; u += W) {
    if (P > 1 && u >= jump) ahead = kNear + (P - 1) * panelBytes;
    const int n = (int)imin(W, t.units - u);
    for (int j = 0; j < n; j += each) {
      fetch(b);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) one(b + p * panelBytes, p, a + j);
      b += row;
    }
    a += t.sa;
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    const int columns = (int)imin(kPanel, t.columns - p * kPanel), tail = columns - W;
    const int first = tail < 0 ? columns : W;
#pragma GCC unroll 16
    for (int i = 0; i < M; i++) {
      vf x = acc[p][i][0], y = acc[p][i][1];
      if (t.scale) {
        x = x * load(t.scale + p * kPanel);
        y = y * load(t.scale + p * kPanel + W);
      }
      if (t.bias) {
        x = x + loadn(t.bias + p * kPanel, first);
        if (tail > 0) y = y + loadn(t.bias + p * kPanel + W, tail);
      }
      float* c = t.c + i * t.ldc + p * kPanel;
      storen(c, x, first);
      if (tail > 0) storen(c + W, y, tail);
    }
  }
}

typedef void (*TileFn)(const Rows&, int64_t);
constexpr int panelsAtOnce(int m) { return m == 1 ? 4 : m <= 3 ? 2 : 1; }
struct Tiles {
  TileFn f[3][2][kMost + 1];  // [storage][several panels, or one][rows]
  template <int M>
  void fill() {
    f[kF32][0][M] = rowsTile<M, panelsAtOnce(M), kF32>;
    f[kBf16][0][M] = rowsTile<M, panelsAtOnce(M), kBf16>;
    f[kInt8][0][M] = rowsTile<M, panelsAtOnce(M), kInt8>;
    f[kF32][1][M] = rowsTile<M, 1, kF32>;
    f[kBf16][1][M] = rowsTile<M, 1, kBf16>;
    f[kInt8][1][M] = rowsTile<M, 1, kInt8>;
    if constexpr (M > 1) fill<M - 1>();
  }
  Tiles() { fill<kMost>(); }
};
const Tiles& tiles() {
  static const Tiles* t = new Tiles();
  return *t;
}

// Where the tiles of m rows begin, as even as possible.
INLINE int64_t tileAt(int64_t m, int64_t t, int64_t count) { return m * t / count; }

// Of each tile's rows: of 16 units a vector for each row.
void pack(const float* a, int64_t lda, int64_t m, int64_t K, float* to) {
  const int64_t units = K / U, count = cdiv(m, kMost);
  for (int64_t t = 0; t < count; t++)
    for (int64_t u = 0, r0 = tileAt(m, t, count), r1 = tileAt(m, t + 1, count); u < units; u += W)
      for (int64_t r = r0; r < r1; r++, to += W) {
        const float* from = a + r * lda + u * U;
        const int64_t left = K - u * U;
#if defined(PLUMB_PAIRS)
        const vf x = left >= W ? load(from) : loadn(from, (int)left), y = left >= 2 * W ? load(from + W) : left > W ? loadn(from + W, (int)left - W) : (vf){};
        store(to, (vf)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x));
#else
        store(to, left >= W ? load(from) : loadn(from, (int)left));
#endif
      }
}

void product(const Gemm& g, const float* packed, int64_t first, int64_t end) {
  const Frozen& f = *g.frozen;
  const int64_t m = g.M, units = g.K / U, padded = cdiv(units, W) * W, count = cdiv(m, kMost), bytes = f.panelBytes();
  const int64_t unitBytes = f.storage == kF32 ? kPanel * 4 * U : f.storage == kBf16 ? kPanel * 2 * U : kPanel * U;
  // Blocks of K that stay in the second-level cache from tile to tile.
  const int64_t most = count == 1 ? padded : imax(W, (256 << 10) / unitBytes / W * W), blocks = cdiv(padded, most);
  const int64_t lines = imin(units, most) * unitBytes / 64;
  TileFn const(*fns)[kMost + 1] = tiles().f[f.storage];
  for (int64_t p = first; p < end;) {
    const int64_t wide = count == 1 ? panelsAtOnce((int)m) : 1;
    const bool several = wide > 1 && p + wide <= end;
    const int64_t n0 = p * kPanel;
    for (int64_t kb = 0; kb < blocks; kb++) {
      const int64_t u0 = kb * most;
      const bool last = kb + 1 == blocks;
      for (int64_t t = 0; t < count; t++) {
        const int64_t r0 = tileAt(m, t, count), rows = tileAt(m, t + 1, count) - r0;
        Rows one{};
        one.units = imin(most, units - u0);
        one.a = packed + r0 * padded + u0 * rows;
        one.sa = rows * W;
        one.b = f.data + p * bytes + u0 * unitBytes;
        // The bytes that come next are fetched by all tiles, each its share; the first tile of all has its own to fetch.
        const bool begin = p == first && kb == 0;
        if (count > 1 && !(begin && t == 0) && !(last && p + 1 == end))
          one.far = one.b + (last ? bytes - u0 * unitBytes : most * unitBytes) + lines * (begin ? t - 1 : t) / (begin ? count - 1 : count) * 64;
        one.c = g.C + r0 * g.ldc + n0;
        one.ldc = g.ldc;
        one.columns = (int)imin(several ? wide * kPanel : kPanel, g.N - n0);
        one.scale = last && f.scales ? f.scales + n0 : nullptr;
        one.bias = last && g.bias ? g.bias + n0 : nullptr;
        one.load = kb > 0;
        fns[several ? 0 : 1][rows](one, bytes);
      }
    }
    p += several ? wide : 1;
  }
}
}  // namespace

namespace plumb {
#if defined(PLUMB_PAIRS)
FewRows PLUMB_NAME(bf16Rows)() { return {pack, product}; }
#else
void PLUMB_NAME(fillRows)(Kernels& k) { k.fewRows[0] = {pack, product}; }
#endif
}  // namespace plumb
#endif
