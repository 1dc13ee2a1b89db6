// Products of bfloat16 numbers on processors with AMX: blocks of 32 rows by 32 columns in tile registers, over the whole of K, 32 numbers of it
// an instruction. Each instruction sums its even and its odd numbers and adds both to the block, so that the order of a sum over K is one,
// whatever M, N and the threads; it is not that of AVX-512 BF16, whose kernels are therefore not mixed with these.
//
// Never run on a processor that has the instructions. With PLUMB_TILES_EMULATED they are functions, by which the rest was tested.
#include "kernels.h"
#include "pool.h"

#include <immintrin.h>
#include <string.h>

using namespace plumb;

namespace {
#if defined(PLUMB_TILES_EMULATED)
struct Tiles {
  float t[8][16][16];
};
thread_local Tiles tiles;
#define TILE_ZERO(i) memset(tiles.t[i], 0, 1024)
#define TILE_LOAD(i, p, stride) \
  for (int row = 0; row < 16; row++) memcpy(tiles.t[i][row], (const char*)(p) + row * (stride), 64)
#define TILE_STORE(i, p, stride) \
  for (int row = 0; row < 16; row++) memcpy((char*)(p) + row * (stride), tiles.t[i][row], 64)
#define TILE_PRODUCT(c, a, b) emulatedProduct(tiles.t[c], tiles.t[a], tiles.t[b])
float half(float pair, int odd) {
  uint32_t x;
  memcpy(&x, &pair, 4);
  x = odd ? x & 0xffff0000u : x << 16;
  memcpy(&pair, &x, 4);
  return pair;
}
void emulatedProduct(float (*c)[16], const float (*a)[16], const float (*b)[16]) {
  for (int m = 0; m < 16; m++)
    for (int n = 0; n < 16; n++) {
      float s[2] = {0, 0};
      for (int k = 0; k < 16; k++)
        for (int odd = 0; odd < 2; odd++) s[odd] = __builtin_fmaf(half(a[m][k], odd), half(b[k][n], odd), s[odd]);
      c[m][n] += s[0] + s[1];
    }
}
struct Configured {};
#else
#define TILE_ZERO(i) _tile_zero(i)
#define TILE_LOAD(i, p, stride) _tile_loadd(i, p, stride)
#define TILE_STORE(i, p, stride) _tile_stored(i, p, stride)
#define TILE_PRODUCT(c, a, b) _tile_dpbf16ps(c, a, b)
struct Configured {  // eight tiles of 16 rows of 64 bytes, for the calling thread
  Configured() {
    struct alignas(64) {
      uint8_t palette = 1, startRow = 0, reserved[14] = {};
      uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } config;
    _tile_loadconfig(&config);
  }
  ~Configured() { _tile_release(); }
};
#endif

constexpr int64_t kBlockRows = 32, kMostRows = 1024, kUnits = 16;  // rows of a block; of A packed at once; pairs of K an instruction

__mmask16 lanes(int64_t n) { return n >= 16 ? 0xffff : n <= 0 ? 0 : (__mmask16)((1u << n) - 1); }
// y[i] = the pair (x[i], y[i]) in bfloat16, of 16 pairs.
__m512i pairs(__m512 first, __m512 second) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

// Row m of op(A) as pairs of K, `units` of them, zeros beyond K.
void packRow(const Gemm& g, int64_t m, int64_t units, uint32_t* to) {
  for (int64_t u = 0; u < units; u += 16) {
    const int64_t k = 2 * u, left = g.K - k;
    __m512i x;
    if (!g.transA) {
      const float* p = g.A + m * g.lda + k;
      x = (__m512i)_mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(lanes(left - 16), p + 16), _mm512_maskz_loadu_ps(lanes(left), p));
    } else {
      float column[32] = {};
      for (int64_t i = 0; i < 32 && i < left; i++) column[i] = g.A[(k + i) * g.lda + m];
      x = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(column + 16), _mm512_loadu_ps(column));
    }
    _mm512_storeu_si512(to + u, x);
  }
}
// op(B)[k, n0 .. n0 + 16), zeros beyond N and K.
__m512 rowOfB(const Gemm& g, int64_t k, int64_t n0) {
  float x[16] = {};
  if (k >= g.K) return _mm512_loadu_ps(x);
  const int64_t columns = g.N - n0 < 16 ? g.N - n0 : 16;
  if (!g.frozen && !g.transB) return _mm512_maskz_loadu_ps(lanes(columns), g.B + k * g.ldb + n0);
  for (int64_t j = 0; j < columns; j++) {
    if (!g.frozen) {
      x[j] = g.B[(n0 + j) * g.ldb + k];
      continue;
    }
    const Frozen& f = *g.frozen;
    const int64_t out = g.transB ? n0 + j : k, in = g.transB ? k : n0 + j;
    const char* panel = f.data + out / kPanel * f.panelBytes();
    if (f.storage == kF32) x[j] = ((const float*)panel)[in * kPanel + out % kPanel];
    else if (f.storage == kInt8) x[j] = ((const int8_t*)panel)[in * kPanel + out % kPanel] * (g.transB ? 1.f : f.scales[out]);
    else {
      const uint32_t bits = (uint32_t)((const uint16_t*)panel)[(in / 2 * kPanel + out % kPanel) * 2 + in % 2] << 16;
      memcpy(&x[j], &bits, 4);
    }
  }
  return _mm512_loadu_ps(x);
}
// 32 columns of op(B) from n0 on: a row of 32 pairs for each two numbers of K.
void packColumns(const Gemm& g, int64_t n0, int64_t units, uint32_t* to) {
  for (int64_t u = 0; u < units; u++)
    for (int64_t j = 0; j < 32; j += 16) _mm512_storeu_si512(to + u * 32 + j, pairs(rowOfB(g, 2 * u, n0 + j), rowOfB(g, 2 * u + 1, n0 + j)));
}
}  // namespace

namespace plumb {
void bf16Gemm_amx(const Gemm& g) {
  if (g.M <= 0 || g.N <= 0 || g.K <= 0) return bf16Gemm_avx512bf16(g);
  const int64_t units = cdiv(cdiv(g.K, 2), kUnits) * kUnits, panels = cdiv(g.N, 32);
  // A frozen matrix in bfloat16 is already what the tiles read, where no instruction would read beyond its end.
  const bool inPlace = g.frozen && g.transB && g.frozen->storage == kBf16 && g.K % 32 == 0;
  for (int64_t base = 0; base < g.M; base += kMostRows) {
    const int64_t rows = imin(kMostRows, g.M - base), blocks = cdiv(rows, kBlockRows);
    uint32_t* a = (uint32_t*)scratch(0, (size_t)(blocks * kBlockRows * units) * 4);
    parallelIf(rows * units > 20000, blocks, [&](int64_t block) {
      for (int64_t m = block * kBlockRows; m < (block + 1) * kBlockRows; m++) {
        if (m < rows) packRow(g, base + m, units, a + m * units);
        else memset(a + m * units, 0, (size_t)units * 4);
      }
    });
    const int64_t groups = imin(panels, (int64_t)threadCount() * 4);
    parallelIf((double)rows * g.N * g.K > 1e6, groups, [&](int64_t group) {
      const Configured configured;
      (void)configured;
      uint32_t* packed = inPlace ? nullptr : (uint32_t*)scratch(2, (size_t)(units * 32) * 4);
      alignas(64) float c[32 * 32];
      for (int64_t p = panels * group / groups; p < panels * (group + 1) / groups; p++) {
        const int64_t n0 = p * 32, columns = imin(32, g.N - n0);
        if (!inPlace) packColumns(g, n0, units, packed);
        const uint32_t* b = inPlace ? (const uint32_t*)(g.frozen->data + p * g.frozen->panelBytes()) : packed;
        for (int64_t block = 0; block < blocks; block++) {
          const int64_t m0 = base + block * kBlockRows, height = imin(kBlockRows, g.M - m0);
          if (g.accumulate) {
            memset(c, 0, sizeof c);
            for (int64_t m = 0; m < height; m++) memcpy(c + m * 32, g.C + (m0 + m) * g.ldc + n0, (size_t)columns * 4);
            TILE_LOAD(0, c, 128);
            TILE_LOAD(1, c + 16, 128);
            TILE_LOAD(2, c + 16 * 32, 128);
            TILE_LOAD(3, c + 16 * 32 + 16, 128);
          } else {
            TILE_ZERO(0);
            TILE_ZERO(1);
            TILE_ZERO(2);
            TILE_ZERO(3);
          }
          const uint32_t* low = a + block * kBlockRows * units;
          const uint32_t* high = low + 16 * units;
          for (int64_t u = 0; u < units; u += kUnits) {
            TILE_LOAD(4, low + u, units * 4);
            TILE_LOAD(5, high + u, units * 4);
            TILE_LOAD(6, b + u * 32, 128);
            TILE_LOAD(7, b + u * 32 + 16, 128);
            TILE_PRODUCT(0, 4, 6);
            TILE_PRODUCT(1, 4, 7);
            TILE_PRODUCT(2, 5, 6);
            TILE_PRODUCT(3, 5, 7);
          }
          TILE_STORE(0, c, 128);
          TILE_STORE(1, c + 16, 128);
          TILE_STORE(2, c + 16 * 32, 128);
          TILE_STORE(3, c + 16 * 32 + 16, 128);
          const float* scales = g.frozen && g.transB ? g.frozen->scales : nullptr;
          for (int64_t m = 0; m < height; m++)
            for (int64_t j = 0; j < columns; j++) {
              float x = c[m * 32 + j];
              if (scales) x *= scales[n0 + j];
              if (g.bias) x += g.bias[n0 + j];
              g.C[(m0 + m) * g.ldc + n0 + j] = g.relu && x < 0 ? 0 : x;
            }
        }
      }
    });
  }
}
}  // namespace plumb
