// Products of a few rows with frozen matrices, as a step of a decoder makes them: bound by the bytes of the matrix, each of which comes from
// memory once, a little ahead of its use, and is widened in registers; rows beyond those that fit into registers read it again from the
// second-level cache. The same chains as gemm.cc's, to the bit. In units like gemm.cc, and like it compiled once more with PLUMB_PAIRS.
#include "pool.h"
#include "tile.h"

using namespace plumb;

namespace {
constexpr int kBlock = 16;           // units of a row that lie side by side when packed
constexpr int kTiles = kPanel / NR;  // tiles of a panel
constexpr int64_t kNear = 2048;      // bytes of a panel fetched ahead where several tiles are read at once; of one alone, three times as many

#if defined(PLUMB_PAIRS) && defined(__AVX512VBMI__)
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
// Two rows of int8 of a panel; the second is left out, and 0, if `single`.
INLINE void widen(const char* q, bool single, vf& x, vf& y) {
  const __m512i both = single ? _mm512_zextsi256_si512(_mm256_loadu_si256((const __m256i*)q)) : _mm512_loadu_si512(q);
  const __m512i z = _mm512_permutexvar_epi8(_mm512_load_si512(kWide.order), both), n = _mm512_abs_epi8(z), sign = _mm512_set1_epi8((char)0x80);
  const __m512i low = _mm512_permutex2var_epi8(_mm512_load_si512(kWide.low), n, _mm512_load_si512(kWide.low + 64));
  const __m512i magnitude = _mm512_permutex2var_epi8(_mm512_load_si512(kWide.high), n, _mm512_load_si512(kWide.high + 64));
  const __m512i high = _mm512_ternarylogic_epi64(magnitude, z, sign, 0xf8);  // magnitude | z & sign
  x = (vf)_mm512_unpacklo_epi8(low, high);
  y = (vf)_mm512_unpackhi_epi8(low, high);
}
#else
INLINE void widen(const char* q, bool single, vf& x, vf& y) {
  const int8_t* p = (const int8_t*)q;
  x = fromInt8(p);
  y = fromInt8(p + W);
  if (!kPairs) return;
  x = zipped(x, single ? (vf){} : fromInt8(p + kPanel));
  y = zipped(y, single ? (vf){} : fromInt8(p + kPanel + W));
}
#endif

struct Rows {
  int64_t K;
  const float* a;  // blocks of kBlock units: of each row so many
  int64_t sa;      // from block to block
  const char* b;
  int64_t panelBytes;
  const char* far;  // where else to fetch from, a line an iteration; or null
  float* c;
  int64_t ldc;
  int columns;
  const float *scale, *bias;
  bool goesOn, relu;  // whether the sums begin with what is in c
};

template <int M>
INLINE void add(vf (&acc)[M][2], vf x, vf y, const float* a) {
#pragma GCC unroll 16
  for (int i = 0; i < M; i++) {
    const vf s = spread(a + i * kBlock);
    acc[i][0] = dot(s, x, acc[i][0]);
    acc[i][1] = dot(s, y, acc[i][1]);
  }
}
// What an iteration takes of a tile: the numbers of K that are stored together or make a unit, only the first of them if `single`.
template <int M, int S>
INLINE void iterate(vf (&acc)[M][2], const char* q, const float* a, bool single) {
  vf x, y;
  if (S == kInt8) {
    widen(q, single, x, y);
  } else {
    x = load((const float*)q);
    y = load((const float*)q + W);
  }
  if (kPairs && S == kF32) {
    x = zipped(x, single ? (vf){} : load((const float*)q + kPanel));
    y = zipped(y, single ? (vf){} : load((const float*)q + kPanel + W));
  }
  if (kPairs || S != kBf16) return add(acc, x, y, a);
  add(acc, firstOf(x), firstOf(y), a);
  if (!single) add(acc, secondOf(x), secondOf(y), a + 1);
}

// M rows against P tiles of a matrix stored as S.
template <int M, int P, int S>
void rowsTile(const Rows& t) {
  constexpr int64_t each = kPairs || S == kBf16 ? 2 : 1, units = each / U;  // numbers of K of an iteration
  constexpr int64_t entry = S == kInt8 ? 1 : 4, bytes = kPanel * entry * (S == kBf16 ? 1 : each);
  constexpr int panels = P > kTiles ? P / kTiles : 1;
  const auto tileAt = [&](int p) { return p / kTiles * t.panelBytes + p % kTiles * NR * entry; };
  vf acc[P][M][2];
#pragma GCC unroll 4
  for (int p = 0; p < P; p++)
#pragma GCC unroll 16
    for (int i = 0; i < M; i++)
#pragma GCC unroll 2
      for (int j = 0; j < 2; j++) acc[p][i][j] = t.goesOn ? some(t.c + i * t.ldc + p * NR + j * W, t.columns - p * NR - j * W) : (vf){};
  const char *b = t.b, *far = t.far;
  const float* a = t.a;
  const auto fetch = [&](int64_t ahead) {
    if (P == 1 && far) {
      __builtin_prefetch(far, 0, 2);
      far += 64;
    } else {
#pragma GCC unroll 4
      for (int p = 0; p < P; p += kTiles)
#pragma GCC unroll 4
        for (int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(b + tileAt(p) + ahead + line);
    }
  };
  // Where several panels are read at once, what follows the end of one has been read: its successor is fetched instead.
  const int64_t all = t.K / each, jump = all - kNear / bytes;
  for (int64_t done = 0; done < all; done += kBlock / units) {
    const int64_t ahead = P == 1 ? 3 * kNear : panels > 1 && done >= jump ? kNear + (panels - 1) * t.panelBytes : kNear;
    const int64_t n = imin(kBlock / units, all - done);
    for (int64_t j = 0; j < n; j++) {
      fetch(ahead);
#pragma GCC unroll 4
      for (int p = 0; p < P; p++) iterate<M, S>(acc[p], b + tileAt(p), a + j * units, false);
      b += bytes;
    }
    a += t.sa;
  }
  if (all * each < t.K) {
    const float* last = t.a + all * units / kBlock * t.sa + all * units % kBlock;
#pragma GCC unroll 4
    for (int p = 0; p < P; p++) iterate<M, S>(acc[p], b + tileAt(p), last, true);
  }
#pragma GCC unroll 4
  for (int p = 0; p < P; p++) {
    const int64_t n = p * NR;
    const int columns = (int)imin(NR, t.columns - n);
    const float *scale = t.scale ? t.scale + n : nullptr, *bias = t.bias ? t.bias + n : nullptr;
    if (columns > W) {
      finish(acc[p], t.c + n, t.ldc, columns, scale, bias, t.relu);
    } else {
      vf half[M][1];
#pragma GCC unroll 16
      for (int i = 0; i < M; i++) half[i][0] = acc[p][i][0];
      finish(half, t.c + n, t.ldc, columns, scale, bias, t.relu);
    }
  }
}

typedef void (*TileFn)(const Rows&);
constexpr int tilesAtOnce(int m) { return m == 1 ? 4 : m <= 3 ? 2 : 1; }
struct Table {
  TileFn f[3][2][kFew + 1] = {};  // [storage][several tiles, or one][rows]
  constexpr Table() {
    fill<kF32, kFew>();
    fill<kBf16, kFew>();
    fill<kInt8, kFew>();
  }
  template <int S, int M>
  constexpr void fill() {
    f[S][0][M] = rowsTile<M, tilesAtOnce(M), S>;
    f[S][1][M] = rowsTile<M, 1, S>;
    if constexpr (M > 1) fill<S, M - 1>();
  }
};
constexpr Table kTable;

// Where the tiles of m rows begin, as even as possible.
INLINE int64_t rowAt(int64_t m, int64_t t, int64_t count) { return m * t / count; }

// Of each tile's rows: of kBlock units so many for each row.
void pack(const float* a, int64_t lda, int64_t m, int64_t K, float* to) {
  const int64_t count = cdiv(m, kFew);
  for (int64_t t = 0; t < count; t++)
    for (int64_t k = 0, r0 = rowAt(m, t, count), r1 = rowAt(m, t + 1, count); k < K; k += kBlock * U)
      for (int64_t r = r0; r < r1; r++)
        for (int64_t i = k; i < k + kBlock * U; i += W * U, to += W) store(to, unitsAt(a + r * lda + i, K - i, false));
}

void product(const Gemm& g, const float* packed, int64_t first, int64_t end) {
  const Frozen& f = *g.frozen;
  const int64_t m = g.M, units = cdiv(g.K, U), padded = cdiv(units, kBlock) * kBlock, count = cdiv(m, kFew), bytes = f.panelBytes();
  const int64_t unitBytes = kPanel * U * (f.storage == kF32 ? 4 : f.storage == kBf16 ? 2 : 1), entry = f.storage == kInt8 ? 1 : 4;
  // Blocks of K that stay in the second-level cache from rows to rows.
  const int64_t most = count == 1 ? padded : imax(kBlock, (256 << 10) / unitBytes / kBlock * kBlock), blocks = cdiv(padded, most);
  const int64_t lines = imin(units, most) * unitBytes / 64;
  const auto& fns = kTable.f[f.storage];
  const int64_t wide = count == 1 ? tilesAtOnce((int)m) : 1, tiles = imin(end * kTiles, cdiv(g.N, NR));
  for (int64_t tile = first * kTiles; tile < tiles;) {
    const bool several = wide > 1 && tile + wide <= tiles;
    const int64_t n0 = tile * NR, inPanel = tile % kTiles;
    const char* b = f.data + tile / kTiles * bytes + inPanel * NR * entry;
    for (int64_t kb = 0; kb < blocks; kb++) {
      const int64_t u0 = kb * most;
      const bool last = kb + 1 == blocks;
      for (int64_t t = 0; t < count; t++) {
        const int64_t r0 = rowAt(m, t, count), rows = rowAt(m, t + 1, count) - r0;
        Rows one{};
        one.K = imin(most * U, g.K - u0 * U);
        one.a = packed + r0 * padded + u0 * rows;
        one.sa = rows * kBlock;
        one.b = b + u0 * unitBytes;
        one.panelBytes = bytes;
        // The bytes that come next are fetched by all rows, each their share; the first of all have their own to fetch.
        const bool begin = tile == first * kTiles && kb == 0;
        if (count > 1 && inPanel == kTiles - 1 && !(begin && t == 0) && !(last && tile + 1 == tiles))
          one.far = one.b + (last ? bytes - u0 * unitBytes : most * unitBytes) + lines * (begin ? t - 1 : t) / (begin ? count - 1 : count) * 64;
        one.c = g.C + r0 * g.ldc + n0;
        one.ldc = g.ldc;
        one.columns = (int)imin(several ? wide * NR : NR, g.N - n0);
        one.scale = last && f.scales ? f.scales + n0 : nullptr;
        one.bias = last && g.bias ? g.bias + n0 : nullptr;
        one.goesOn = kb > 0 || g.accumulate;
        one.relu = last && g.relu;
        fns[several ? 0 : 1][rows](one);
      }
    }
    tile += several ? wide : 1;
  }
}
}  // namespace

namespace plumb {
#if defined(PLUMB_PAIRS)
void PLUMB_NAME(fillBf16Rows)() { fewRows[1] = {kFew, pack, product}; }
#else
void PLUMB_NAME(fillRows)() { fewRows[0] = {kFew, pack, product}; }
#endif
}  // namespace plumb
