// Elementwise work, copies, gathers, group normalization and the optimizer step.
#include "kernels.h"
#include "loops.h"

using namespace plumb;

namespace {
template <double (*g)(double)>
INLINE vf lanes(vf x) {  // in double precision and rounded once, as JavaScript does
  for (int i = 0; i < W; i++) x[i] = (float)g((double)x[i]);
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
    case kSin: return map(x, y, n, [](vf a) { return vsinus(a, 0); });
    case kCos: return map(x, y, n, [](vf a) { return vsinus(a, 1); });
    case kGeluTanh: return map(x, y, n, [](vf a) { return vgelu(a); });
    case kTan: return map(x, y, n, [](vf a) { return lanes<tan>(a); });
    case kAsin: return map(x, y, n, [](vf a) { return lanes<asin>(a); });
    case kAcos: return map(x, y, n, [](vf a) { return lanes<acos>(a); });
    case kAtan: return map(x, y, n, [](vf a) { return lanes<atan>(a); });
    case kSinh: return map(x, y, n, [](vf a) { return lanes<sinh>(a); });
    case kCosh: return map(x, y, n, [](vf a) { return lanes<cosh>(a); });
    case kAsinh: return map(x, y, n, [](vf a) { return lanes<asinh>(a); });
    case kAcosh: return map(x, y, n, [](vf a) { return lanes<acosh>(a); });
    case kAtanh: return map(x, y, n, [](vf a) { return lanes<atanh>(a); });
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
    const int64_t piece = imax(kBlock, imin(kSpan, cdiv(cdiv(outer * inner, 8 * plumb::threadCount()), kBlock) * kBlock)), per = cdiv(inner, piece);
    parallel(outer * per, [&](int64_t t) {
      int64_t row = t / per, i = (t - row * per) * piece;
      f(rowOf(w, row), row * inner, i, imin(inner, i + piece));
      streamed();
    });
  } else {
    blocks(outer, cdiv(kBlock, inner), [&](int64_t r, int64_t end) {
      for (; r < end; r++) f(rowOf(w, r), r * inner, 0, inner);
    });
  }
}
INLINE int64_t sizeOf(const Walk& w) {
  int64_t n = 1;
  for (int d = 0; d < w.rank; d++) n *= w.dims[d];
  return n;
}

// each(row offset of the output, begin, end, g(j, n) = f(a, b) at j of this row) over the rows of a broadcast pair.
template <class F, class S>
INLINE void zip(const float* a, const float* b, const Walk& w, const F& f, const S& each) {
  const bool av = w.a[w.rank - 1] != 0, bv = w.b[w.rank - 1] != 0;
  walkRows(w, [&](Row r, int64_t o, int64_t i, int64_t end) {
    const float *pa = a + r.a, *pb = b + r.b;
    if (av && bv) each(o, i, end, [=](int64_t j, int n) __attribute__((always_inline)) { return f(ld(pa + j, n), ld(pb + j, n)); });
    else if (av) {
      const vf y = set1(*pb);
      each(o, i, end, [=](int64_t j, int n) __attribute__((always_inline)) { return f(ld(pa + j, n), y); });
    } else if (bv) {
      const vf x = set1(*pa);
      each(o, i, end, [=](int64_t j, int n) __attribute__((always_inline)) { return f(x, ld(pb + j, n)); });
    } else {
      const auto y = f(set1(*pa), set1(*pb));
      each(o, i, end, [=](int64_t, int) __attribute__((always_inline)) { return y; });
    }
  });
}
template <class F>
void zipFloat(const float* a, const float* b, float* y, const Walk& w, const F& f) {
  const bool past = sizeOf(w) >= kStreamed && y != a && y != b;
  zip(a, b, w, f, [=](int64_t o, int64_t i, int64_t end, auto g) __attribute__((always_inline)) { emit(y + o, i, end, past, g); });
}
INLINE vf vmod(vf a, vf b) {
  for (int i = 0; i < W; i++) {
    double x = a[i], y = b[i], r = fmod(x, y);
    a[i] = (float)(((x < 0 && y < 0) || (x >= 0 && y >= 0)) ? r : fmod(r + y, y));
  }
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
INLINE void storeBool(uint8_t* y, vi m, int n) {
#if defined(__AVX512F__) && defined(__AVX512BW__)
  _mm_mask_storeu_epi8(y, (__mmask16)((1u << n) - 1), _mm_maskz_set1_epi8(_mm512_movepi32_mask((__m512i)m), 1));
#else
  vb v = __builtin_convertvector(m & 1, vb);
  memcpy(y, &v, (size_t)n);
#endif
}
template <class F>
void zipBool(const float* a, const float* b, uint8_t* y, const Walk& w, const F& f) {
  zip(a, b, w, f, [=](int64_t o, int64_t i, int64_t end, auto g) __attribute__((always_inline)) {
    uint8_t* d = y + o;
    for (; i + W <= end; i += W) storeBool(d + i, g(i, W), W);
    if (i < end) storeBool(d + i, g(i, (int)(end - i)), (int)(end - i));
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
    const bool past = rows >= kStreamed;
    blocks(rows, kBlock, [&](int64_t i, int64_t end) {
      emit(y, i, end, past, [=](int64_t j, int n) __attribute__((always_inline)) {
        vb c = {};
        memcpy(&c, m + j, (size_t)n);
        return sel(__builtin_convertvector(c, vi) != 0, ld(a + j, n), ld(b + j, n));
      });
    });
  } else {
    blocks(rows, cdiv(kBlock, imax(1, inner)), [&](int64_t r, int64_t end) {
      for (; r < end; r++) memcpy(y + r * inner, (m[r] ? a : b) + r * inner, (size_t)inner * 4);
    });
  }
}

// --- copies ---------------------------------------------------------------------------------------------------------------------
typedef uint32_t v4 __attribute__((vector_size(16)));
typedef uint32_t v4u __attribute__((vector_size(16), aligned(4), may_alias));
// Of the eight numbers of a and b those at the four places; GCC has Clang's name for it from version 12 on only.
#if defined(__clang__)
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (v4){__VA_ARGS__})
#endif
// Four columns of x, n rows `sx` apart, to four rows of y, `sy` apart.
INLINE void turn4(const uint32_t* x, int64_t sx, uint32_t* y, int64_t sy, int64_t n) {
  int64_t l = 0;
  for (; l + 4 <= n; l += 4, x += 4 * sx) {
    const v4 r0 = *(const v4u*)x, r1 = *(const v4u*)(x + sx), r2 = *(const v4u*)(x + 2 * sx), r3 = *(const v4u*)(x + 3 * sx);
    const v4 lo01 = PICK(r0, r1, 0, 4, 1, 5), hi01 = PICK(r0, r1, 2, 6, 3, 7);
    const v4 lo23 = PICK(r2, r3, 0, 4, 1, 5), hi23 = PICK(r2, r3, 2, 6, 3, 7);
    *(v4u*)(y + l) = PICK(lo01, lo23, 0, 1, 4, 5);
    *(v4u*)(y + sy + l) = PICK(lo01, lo23, 2, 3, 6, 7);
    *(v4u*)(y + 2 * sy + l) = PICK(hi01, hi23, 0, 1, 4, 5);
    *(v4u*)(y + 3 * sy + l) = PICK(hi01, hi23, 2, 3, 6, 7);
  }
  for (; l < n; l++, x += sx)
    for (int q = 0; q < 4; q++) y[q * sy + l] = x[q];
}
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
  const int64_t T1 = 64, na = w.dims[across], nl = w.dims[last], tl = cdiv(nl, T1), ta = cdiv(na, T1);
  const int64_t sy = w.b[across];
  parallelIf(rest * tl * ta >= 16, cdiv(rest * tl * ta, 4), [&](int64_t task) {
    T tile[T1 * T1];
    for (int64_t t = task * 4; t < imin(rest * tl * ta, (task + 1) * 4); t++) {
      int64_t l0 = t % tl * T1, a0 = t / tl % ta * T1, o = t / (tl * ta), ox = 0, oy = 0;
      for (int c = count - 1; c >= 0; c--) {
        int64_t d = others[c], q = o / w.dims[d], i = o - q * w.dims[d];
        ox += i * w.a[d];
        oy += i * w.b[d];
        o = q;
      }
      const int64_t nl1 = imin(T1, nl - l0), na1 = imin(T1, na - a0);
      // Whole lines in, turned where they lie together, whole lines out: strides that are powers of two would meet in one set of the cache.
      for (int64_t l = 0; l < nl1; l++) memcpy(tile + l * T1, x + ox + (l0 + l) * s + a0, (size_t)na1 * sizeof(T));
      int64_t a = 0;
      if (sizeof(T) == 4)
        for (; a + 4 <= na1; a += 4) turn4((const uint32_t*)tile + a, T1, (uint32_t*)y + oy + (a0 + a) * sy + l0, sy, nl1);
      for (; a < na1; a++) {
        T* d = y + oy + (a0 + a) * sy + l0;
        const T* p = tile + a;
        for (int64_t l = 0; l < nl1; l++) d[l] = p[l * T1];
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
      int32_t i = begin[s];
      if (i == begin[s + 1]) memset(d, 0, (size_t)inner * 4);
      else memcpy(d, x + order[i++] * inner, (size_t)inner * 4);
      for (; i < begin[s + 1]; i++) {
        const float* p = x + order[i] * inner;
        int64_t j = 0;
        for (; j + W <= inner; j += W) store(d + j, load(d + j) + load(p + j));
        for (; j < inner; j++) d[j] += p[j];
      }
    }
  });
}

// --- group normalization ----------------------------------------------------------------------------------------------------------
// x [batch, positions, channels]. What is summed over positions is summed a channel at a time, in blocks of 64 positions, and the blocks'
// sums in their order.
constexpr int64_t kPositions = 64;
// sums[batch][block][which][channels] of f(c, k, x at c, offset) over the positions of each block, for `count` sums.
template <int count, class F>
void channelSums(int64_t batch, int64_t positions, int64_t channels, float* sums, const F& f) {
  const int64_t per = cdiv(positions, kPositions);
  blocks(batch * per, imax(1, kBlock / (kPositions * channels)), [&](int64_t t, int64_t end) {
    for (; t < end; t++) {
      const int64_t b = t / per, p0 = (t - b * per) * kPositions, p1 = imin(positions, p0 + kPositions);
      float* s = sums + t * count * channels;
      memset(s, 0, (size_t)(count * channels) * 4);
      for (int64_t p = p0; p < p1; p++)
        for (int64_t c = 0; c < channels; c += W) {
          const int k = (int)imin(W, channels - c);
          vf v[count];
          f(b, (b * positions + p) * channels + c, c, k, v);
          for (int q = 0; q < count; q++) storen(s + q * channels + c, ld(s + q * channels + c, k) + v[q], k);
        }
    }
  });
}
// The sum over the blocks of one sum of one channel.
INLINE double overBlocks(const float* sums, int64_t b, int64_t per, int count, int which, int64_t channels, int64_t c) {
  double s = 0;
  for (int64_t i = 0; i < per; i++) s += sums[((b * per + i) * count + which) * channels + c];
  return s;
}
void groupNorm(const float* x, const float* w, const float* bias, float* y, float* mean, float* r, const GroupNorm& g) {
  const int64_t C = g.channels, per = cdiv(g.positions, kPositions), wide = C / g.groups;
  const double n = (double)(g.positions * wide);
  float* sums = (float*)scratch(3, (size_t)(g.batch * per * C + 2 * g.batch * C) * 4);
  float *m = sums + g.batch * per * C, *a = m + g.batch * C;  // each channel's mean and factor
  channelSums<1>(g.batch, g.positions, C, sums, [=](int64_t, int64_t at, int64_t, int k, vf* v) __attribute__((always_inline)) { v[0] = ld(x + at, k); });
  for (int64_t b = 0; b < g.batch; b++)
    for (int64_t q = 0; q < g.groups; q++) {
      double s = 0;
      for (int64_t c = q * wide; c < (q + 1) * wide; c++) s += overBlocks(sums, b, per, 1, 0, C, c);
      mean[b * g.groups + q] = (float)(s / n);
      for (int64_t c = q * wide; c < (q + 1) * wide; c++) m[b * C + c] = mean[b * g.groups + q];
    }
  channelSums<1>(g.batch, g.positions, C, sums, [=](int64_t b, int64_t at, int64_t c, int k, vf* v) __attribute__((always_inline)) {
    vf d = ld(x + at, k) - ld(m + b * C + c, k);
    v[0] = d * d;
  });
  for (int64_t b = 0; b < g.batch; b++)
    for (int64_t q = 0; q < g.groups; q++) {
      double s = 0;
      for (int64_t c = q * wide; c < (q + 1) * wide; c++) s += overBlocks(sums, b, per, 1, 0, C, c);
      r[b * g.groups + q] = (float)(1. / sqrt(s / n + (double)g.eps));
      for (int64_t c = q * wide; c < (q + 1) * wide; c++) a[b * C + c] = r[b * g.groups + q] * w[c];
    }
  blocks(g.batch * g.positions, cdiv(kBlock, C), [&](int64_t p, int64_t end) {
    for (; p < end; p++) {
      const float *mb = m + p / g.positions * C, *ab = a + p / g.positions * C, *px = x + p * C;
      emit(y + p * C, 0, C, false, [&](int64_t c, int k) __attribute__((always_inline)) {
        vf z = fma(ld(px + c, k) - ld(mb + c, k), ld(ab + c, k), ld(bias + c, k));
        return g.silu ? z * vsigmoid(z) : z;
      });
    }
  });
}
void groupNormGrad(const float* dy, const float* x, const float* w, const float* bias, const float* mean, const float* r, float* dx, float* dw, float* db, const GroupNorm& g) {
  const int64_t C = g.channels, per = cdiv(g.positions, kPositions), wide = C / g.groups;
  const double n = (double)(g.positions * wide);
  float* sums = (float*)scratch(3, (size_t)(2 * g.batch * per * C + 4 * g.batch * C) * 4);
  float *m = sums + 2 * g.batch * per * C, *a = m + g.batch * C, *m1 = a + g.batch * C, *m2 = m1 + g.batch * C;
  for (int64_t i = 0; i < g.batch * C; i++) {
    const int64_t q = i / C * g.groups + i % C / wide;
    m[i] = mean[q];
    a[i] = r[q];
  }
  // The normalized input h, and the gradient dz before the activation.
  auto both = [=](int64_t b, int64_t at, int64_t c, int k, vf& h, vf& dz) __attribute__((always_inline)) {
    h = (ld(x + at, k) - ld(m + b * C + c, k)) * ld(a + b * C + c, k);
    dz = ld(dy + at, k);
    if (g.silu) {
      vf z = fma(h, ld(w + c, k), ld(bias + c, k)), s = vsigmoid(z);
      dz = dz * (s * (1.f + z * (1.f - s)));
    }
  };
  channelSums<2>(g.batch, g.positions, C, sums, [=](int64_t b, int64_t at, int64_t c, int k, vf* v) __attribute__((always_inline)) {
    vf h, dz;
    both(b, at, c, k, h, dz);
    v[0] = dz;
    v[1] = dz * h;
  });
  if (dw || db)
    for (int64_t c = 0; c < C; c++) {
      double sw = 0, sb = 0;
      for (int64_t b = 0; b < g.batch; b++) sb += overBlocks(sums, b, per, 2, 0, C, c), sw += overBlocks(sums, b, per, 2, 1, C, c);
      if (dw) dw[c] = (float)sw;
      if (db) db[c] = (float)sb;
    }
  if (!dx) return;
  for (int64_t b = 0; b < g.batch; b++)
    for (int64_t q = 0; q < g.groups; q++) {
      double s1 = 0, s2 = 0;
      for (int64_t c = q * wide; c < (q + 1) * wide; c++) s1 += w[c] * overBlocks(sums, b, per, 2, 0, C, c), s2 += w[c] * overBlocks(sums, b, per, 2, 1, C, c);
      for (int64_t c = q * wide; c < (q + 1) * wide; c++) m1[b * C + c] = (float)(s1 / n), m2[b * C + c] = (float)(s2 / n);
    }
  blocks(g.batch * g.positions, cdiv(kBlock, C), [&](int64_t p, int64_t end) {
    for (; p < end; p++) {
      const int64_t b = p / g.positions;
      emit(dx + p * C, 0, C, false, [&](int64_t c, int k) __attribute__((always_inline)) {
        vf h, dz;
        both(b, p * C + c, c, k, h, dz);
        return ld(a + b * C + c, k) * (dz * ld(w + c, k) - ld(m1 + b * C + c, k) - h * ld(m2 + b * C + c, k));
      });
    }
  });
}

// --- the optimizer --------------------------------------------------------------------------------------------------------------
INLINE void adamWRange(float* p, const float* g, float* m, float* v, int64_t n, float decay, const AdamW& o) {
  const vf rate = set1(o.learningRate / o.correction1), root = set1(1.f / sqrtf(o.correction2)), eps = set1(o.eps);
  const vf c1 = set1(1.f - o.beta1), c2 = set1(1.f - o.beta2), b2 = set1(o.beta2), scale = set1(o.scale), kept = set1(1.f - decay);
  auto step = [&](int64_t i, int k) __attribute__((always_inline)) {
    vf gv = ld(g + i, k) * scale, mv = ld(m + i, k), vv = ld(v + i, k), pv = ld(p + i, k);
    mv = fma(gv - mv, c1, mv);
    vv = fma(gv * gv, c2, vv * b2);
    pv = pv * kept - rate * mv / fma(vsqrt(vv), root, eps);
    if (k == W) {
      store(m + i, mv);
      store(v + i, vv);
      store(p + i, pv);
    } else {
      storen(m + i, mv, k);
      storen(v + i, vv, k);
      storen(p + i, pv, k);
    }
  };
  const int head = (int)imin(n, -((intptr_t)p >> 2) & (W - 1));
  int64_t i = head;
  if (head) step(0, head);
  for (; i + W <= n; i += W) {
    step(i, W);
  }
  if (i < n) step(i, (int)(n - i));
}
// All parameters in one set of tasks: small ones do not wake the threads one by one.
void adamW(const AdamWParameter* list, int64_t count, const AdamW& o) {
  const int64_t size = 65536;
  int64_t* first = (int64_t*)scratch(3, (size_t)(count + 1) * 8);
  first[0] = 0;
  for (int64_t i = 0; i < count; i++) first[i + 1] = first[i] + cdiv(list[i].n, size);
  parallelIf(first[count] > 1, first[count], [&](int64_t t) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      if (first[middle] <= t) low = middle;
      else high = middle - 1;
    }
    const AdamWParameter& a = list[low];
    const int64_t i = (t - first[low]) * size;
    adamWRange(a.p + i, a.g + i, a.m + i, a.v + i, imin(size, a.n - i), a.decay, o);
  });
}
void axpy(float alpha, const float* x, float* y, int64_t n) {
  const vf a = set1(alpha);
  blocks(n, kBlock, [&](int64_t i, int64_t end) {
    emit(y, i, end, false, [=](int64_t j, int k) __attribute__((always_inline)) { return fma(ld(x + j, k), a, ld(y + j, k)); });
  });
}
}  // namespace

namespace plumb {
void PLUMB_NAME(fillOps)(Kernels& k) {
  k.unary = unary;
  k.binary = binary;
  k.compare = compare;
  k.select = select;
  k.copyStrided = copyStrided;
  k.gather = gather;
  k.segmentScatter = segmentScatter;
  k.groupNorm = groupNorm;
  k.groupNormGrad = groupNormGrad;
  k.adamW = adamW;
  k.axpy = axpy;
}
}  // namespace plumb
