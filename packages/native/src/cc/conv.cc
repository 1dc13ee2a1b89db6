// Convolutions and pooling over [batch, depth, height, width, channels], where a picture has depth 1. A convolution is a product with patches of the image that are laid
// out a block at a time; the products are those of gemm, so the order of a sum is (row, column, channel) whatever the rest.
// Compiled once: what is hot here is inside gemm.
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

namespace plumb {
namespace {
// Where a filter's tap falls in the image, or -1 outside it.
inline int64_t inputAt(int64_t out, int64_t tap, int64_t stride, int64_t dilation, int64_t pad, int64_t size) {
  const int64_t i = out * stride - pad + tap * dilation;
  return i >= 0 && i < size ? i : -1;
}
// Which output meets an input under a filter's tap, or -1.
inline int64_t outputAt(int64_t in, int64_t tap, int64_t stride, int64_t dilation, int64_t pad, int64_t size) {
  const int64_t t = in + pad - tap * dilation;
  return t >= 0 && t % stride == 0 && t / stride < size ? t / stride : -1;
}
// The patch of one output pixel, [filterDepth, filterHeight, filterWidth, channels]; outside the image is 0.
void patch(const Conv& c, const float* x, int64_t pixel, float* to) {
  const int64_t ox = pixel % c.outWidth, oy = pixel / c.outWidth % c.outHeight, oz = pixel / (c.outWidth * c.outHeight) % c.outDepth,
                b = pixel / (c.outWidth * c.outHeight * c.outDepth);
  const size_t bytes = (size_t)c.inChannels * 4;
  for (int64_t fz = 0; fz < c.filterDepth; fz++) {
    const int64_t z = inputAt(oz, fz, c.strideDepth, c.dilationDepth, c.padFront, c.inDepth);
    for (int64_t fy = 0; fy < c.filterHeight; fy++) {
      const int64_t y = inputAt(oy, fy, c.strideHeight, c.dilationHeight, c.padTop, c.inHeight);
      const float* row = x + ((b * c.inDepth + z) * c.inHeight + y) * c.inWidth * c.inChannels;
      for (int64_t fx = 0; fx < c.filterWidth; fx++, to += c.inChannels) {
        const int64_t xx = inputAt(ox, fx, c.strideWidth, c.dilationWidth, c.padLeft, c.inWidth);
        if (z < 0 || y < 0 || xx < 0) memset(to, 0, bytes);
        else memcpy(to, row + xx * c.inChannels, bytes);
      }
    }
  }
}
// The output gradients that one input pixel meets, [filterDepth, filterHeight, filterWidth, outChannels].
void patchOfGradient(const Conv& c, const float* dy, int64_t pixel, float* to) {
  const int64_t ix = pixel % c.inWidth, iy = pixel / c.inWidth % c.inHeight, iz = pixel / (c.inWidth * c.inHeight) % c.inDepth,
                b = pixel / (c.inWidth * c.inHeight * c.inDepth);
  const size_t bytes = (size_t)c.outChannels * 4;
  for (int64_t fz = 0; fz < c.filterDepth; fz++) {
    const int64_t z = outputAt(iz, fz, c.strideDepth, c.dilationDepth, c.padFront, c.outDepth);
    for (int64_t fy = 0; fy < c.filterHeight; fy++) {
      const int64_t y = outputAt(iy, fy, c.strideHeight, c.dilationHeight, c.padTop, c.outHeight);
      const float* row = dy + ((b * c.outDepth + z) * c.outHeight + y) * c.outWidth * c.outChannels;
      for (int64_t fx = 0; fx < c.filterWidth; fx++, to += c.outChannels) {
        const int64_t xx = outputAt(ix, fx, c.strideWidth, c.dilationWidth, c.padLeft, c.outWidth);
        if (z < 0 || y < 0 || xx < 0) memset(to, 0, bytes);
        else memcpy(to, row + xx * c.outChannels, bytes);
      }
    }
  }
}
int64_t blockRows(int64_t k) { return imax(14, imin(504, 65536 / imax(1, k) / 14 * 14)); }
bool isPointwise(const Conv& c) {
  return c.filterDepth == 1 && c.filterHeight == 1 && c.filterWidth == 1 && c.strideDepth == 1 && c.strideHeight == 1 && c.strideWidth == 1 &&
         c.padFront == 0 && c.padTop == 0 && c.padLeft == 0 && c.outDepth == c.inDepth && c.outHeight == c.inHeight && c.outWidth == c.inWidth;
}
int64_t taps(const Conv& c) { return c.filterDepth * c.filterHeight * c.filterWidth; }
int64_t inPixels(const Conv& c) { return c.batch * c.inDepth * c.inHeight * c.inWidth; }
int64_t outPixels(const Conv& c) { return c.batch * c.outDepth * c.outHeight * c.outWidth; }
}  // namespace

void convolution(const Kernels& K, const Conv& c, const float* x, const float* w, const float* bias, bool relu, float* y) {
  const int64_t k = taps(c) * c.inChannels, n = c.outChannels, pixels = outPixels(c);
  Gemm g{pixels, n, k, x, k, false, w, n, false, y, n};
  g.bias = bias;
  g.relu = relu;
  if (isPointwise(c)) return K.gemm(g);
  const int64_t size = blockRows(k);
  parallel(cdiv(pixels, size), [&](int64_t t) {
    const int64_t first = t * size, rows = imin(size, pixels - first);
    float* patches = (float*)scratch(6, (size_t)(rows * k) * 4);
    for (int64_t i = 0; i < rows; i++) patch(c, x, first + i, patches + i * k);
    Gemm h = g;
    h.M = rows;
    h.A = patches;
    h.C = y + first * n;
    K.gemm(h);
  });
}

void convolutionInputGrad(const Kernels& K, const Conv& c, const float* dy, const float* w, float* dx) {
  const int64_t all = taps(c), k = all * c.outChannels, n = c.inChannels, pixels = inPixels(c);
  if (isPointwise(c)) return K.gemm(Gemm{pixels, n, c.outChannels, dy, c.outChannels, false, w, c.outChannels, true, dx, n});
  float* turned = (float*)scratch(7, (size_t)(k * n) * 4);  // [taps, outChannels, inChannels]
  for (int64_t t = 0; t < all; t++)
    for (int64_t o = 0; o < c.outChannels; o++)
      for (int64_t i = 0; i < n; i++) turned[(t * c.outChannels + o) * n + i] = w[(t * n + i) * c.outChannels + o];
  const int64_t size = blockRows(k);
  parallel(cdiv(pixels, size), [&](int64_t t) {
    const int64_t first = t * size, rows = imin(size, pixels - first);
    float* patches = (float*)scratch(6, (size_t)(rows * k) * 4);
    for (int64_t i = 0; i < rows; i++) patchOfGradient(c, dy, first + i, patches + i * k);
    K.gemm(Gemm{rows, n, k, patches, k, false, turned, n, false, dx + first * n, n});
  });
}

void convolutionFilterGrad(const Kernels& K, const Conv& c, const float* x, const float* dy, float* dw) {
  const int64_t k = taps(c) * c.inChannels, n = c.outChannels, pixels = outPixels(c);
  if (pixels == 0) {
    memset(dw, 0, (size_t)(k * n) * 4);
    return;
  }
  if (isPointwise(c)) return K.gemm(Gemm{k, n, pixels, x, k, true, dy, n, false, dw, n});
  const int64_t size = imax(64, imin(4096, (1 << 21) / k));
  float* patches = (float*)scratch(6, (size_t)(imin(size, pixels) * k) * 4);
  for (int64_t first = 0; first < pixels; first += size) {
    const int64_t rows = imin(size, pixels - first);
    parallel(cdiv(rows, 32), [&](int64_t t) {
      for (int64_t i = t * 32; i < imin(rows, (t + 1) * 32); i++) patch(c, x, first + i, patches + i * k);
    });
    Gemm g{k, n, rows, patches, k, true, dy + first * n, n, false, dw, n};
    g.accumulate = first > 0;
    K.gemm(g);
  }
}

// Output channel i·m + q of a depthwise convolution is input channel i under filter [.., i, q].
void depthwise(const Conv& c, const float* x, const float* w, float* y) {
  const int64_t m = c.outChannels / c.inChannels;
  parallel(c.batch * c.outHeight, [&](int64_t t) {
    const int64_t b = t / c.outHeight, oy = t % c.outHeight;
    float* row = y + t * c.outWidth * c.outChannels;
    memset(row, 0, (size_t)(c.outWidth * c.outChannels) * 4);
    for (int64_t fy = 0; fy < c.filterHeight; fy++) {
      const int64_t iy = oy * c.strideHeight - c.padTop + fy * c.dilationHeight;
      if (iy < 0 || iy >= c.inHeight) continue;
      for (int64_t ox = 0; ox < c.outWidth; ox++)
        for (int64_t fx = 0; fx < c.filterWidth; fx++) {
          const int64_t ix = ox * c.strideWidth - c.padLeft + fx * c.dilationWidth;
          if (ix < 0 || ix >= c.inWidth) continue;
          const float *p = x + ((b * c.inHeight + iy) * c.inWidth + ix) * c.inChannels, *f = w + (fy * c.filterWidth + fx) * c.outChannels;
          float* o = row + ox * c.outChannels;
          if (m == 1)
            for (int64_t i = 0; i < c.inChannels; i++) o[i] += p[i] * f[i];
          else
            for (int64_t i = 0; i < c.inChannels; i++)
              for (int64_t q = 0; q < m; q++) o[i * m + q] += p[i] * f[i * m + q];
        }
    }
  });
}
void depthwiseInputGrad(const Conv& c, const float* dy, const float* w, float* dx) {
  const int64_t m = c.outChannels / c.inChannels;
  parallel(c.batch * c.inHeight, [&](int64_t t) {
    const int64_t b = t / c.inHeight, iy = t % c.inHeight;
    float* row = dx + t * c.inWidth * c.inChannels;
    memset(row, 0, (size_t)(c.inWidth * c.inChannels) * 4);
    for (int64_t fy = 0; fy < c.filterHeight; fy++) {
      const int64_t oy = outputAt(iy, fy, c.strideHeight, c.dilationHeight, c.padTop, c.outHeight);
      if (oy < 0) continue;
      for (int64_t ix = 0; ix < c.inWidth; ix++)
        for (int64_t fx = 0; fx < c.filterWidth; fx++) {
          const int64_t ox = outputAt(ix, fx, c.strideWidth, c.dilationWidth, c.padLeft, c.outWidth);
          if (ox < 0) continue;
          const float *g = dy + ((b * c.outHeight + oy) * c.outWidth + ox) * c.outChannels, *f = w + (fy * c.filterWidth + fx) * c.outChannels;
          float* d = row + ix * c.inChannels;
          for (int64_t i = 0; i < c.inChannels; i++)
            for (int64_t q = 0; q < m; q++) d[i] += g[i * m + q] * f[i * m + q];
        }
    }
  });
}
void depthwiseFilterGrad(const Conv& c, const float* x, const float* dy, float* dw) {
  const int64_t m = c.outChannels / c.inChannels;
  parallel(c.filterHeight * c.filterWidth, [&](int64_t t) {
    const int64_t fy = t / c.filterWidth, fx = t % c.filterWidth;
    float* d = dw + t * c.outChannels;
    memset(d, 0, (size_t)c.outChannels * 4);
    for (int64_t b = 0; b < c.batch; b++)
      for (int64_t oy = 0; oy < c.outHeight; oy++) {
        const int64_t iy = inputAt(oy, fy, c.strideHeight, c.dilationHeight, c.padTop, c.inHeight);
        if (iy < 0) continue;
        for (int64_t ox = 0; ox < c.outWidth; ox++) {
          const int64_t ix = inputAt(ox, fx, c.strideWidth, c.dilationWidth, c.padLeft, c.inWidth);
          if (ix < 0) continue;
          const float *p = x + ((b * c.inHeight + iy) * c.inWidth + ix) * c.inChannels, *g = dy + ((b * c.outHeight + oy) * c.outWidth + ox) * c.outChannels;
          for (int64_t i = 0; i < c.inChannels; i++)
            for (int64_t q = 0; q < m; q++) d[i * m + q] += p[i] * g[i * m + q];
        }
      }
  });
}

// Calls f(x's offset) for each entry of the window of one output pixel that lies inside the image, in the order of the taps.
template <class F>
inline void window(const Conv& c, int64_t pixel, const F& f) {
  const int64_t ox = pixel % c.outWidth, oy = pixel / c.outWidth % c.outHeight, oz = pixel / (c.outWidth * c.outHeight) % c.outDepth,
                b = pixel / (c.outWidth * c.outHeight * c.outDepth);
  for (int64_t fz = 0; fz < c.filterDepth; fz++) {
    const int64_t z = inputAt(oz, fz, c.strideDepth, c.dilationDepth, c.padFront, c.inDepth);
    if (z < 0) continue;
    for (int64_t fy = 0; fy < c.filterHeight; fy++) {
      const int64_t y = inputAt(oy, fy, c.strideHeight, c.dilationHeight, c.padTop, c.inHeight);
      if (y < 0) continue;
      for (int64_t fx = 0; fx < c.filterWidth; fx++) {
        const int64_t x = inputAt(ox, fx, c.strideWidth, c.dilationWidth, c.padLeft, c.inWidth);
        if (x >= 0) f((((b * c.inDepth + z) * c.inHeight + y) * c.inWidth + x) * c.inChannels);
      }
    }
  }
}

// kind 0: maximum (NaN loses every comparison, as in tfjs), 1: mean of what lies inside the image
void pool(const Conv& c, const float* x, float* y, int kind) {
  const int64_t n = c.inChannels;
  parallel(c.batch * c.outDepth * c.outHeight, [&](int64_t t) {
    for (int64_t ox = 0; ox < c.outWidth; ox++) {
      const int64_t pixel = t * c.outWidth + ox;
      float* o = y + pixel * n;
      int64_t count = 0;
      for (int64_t i = 0; i < n; i++) o[i] = kind == 0 ? -INFINITY : 0;
      window(c, pixel, [&](int64_t at) {
        const float* p = x + at;
        count++;
        if (kind == 0)
          for (int64_t i = 0; i < n; i++) o[i] = p[i] > o[i] ? p[i] : o[i];
        else
          for (int64_t i = 0; i < n; i++) o[i] += p[i];
      });
      if (kind == 1)
        for (int64_t i = 0; i < n; i++) o[i] /= (float)imax(count, 1);
    }
  });
}
// The mean's gradient divides by the whole filter, as tfjs does. Of equal maxima the first gets the gradient, in three dimensions the
// last, as tfjs does.
void poolGrad(const Conv& c, const float* dy, const float* x, float* dx, int kind, bool last) {
  const int64_t n = c.inChannels, pixels = c.outDepth * c.outHeight * c.outWidth;
  const float share = 1.f / (float)taps(c);
  // Windows may overlap: one task has all of an image's, for a block of channels.
  const int64_t wide = 16, parts = cdiv(n, wide);
  parallel(c.batch * parts, [&](int64_t t) {
    const int64_t b = t / parts, from = (t - b * parts) * wide, to = imin(n, from + wide);
    float* d = dx + b * c.inDepth * c.inHeight * c.inWidth * n;
    for (int64_t i = 0; i < c.inDepth * c.inHeight * c.inWidth; i++) memset(d + i * n + from, 0, (size_t)(to - from) * 4);
    for (int64_t pixel = b * pixels; pixel < (b + 1) * pixels; pixel++) {
      const float* g = dy + pixel * n;
      if (kind == 1) {
        window(c, pixel, [&](int64_t at) {
          for (int64_t i = from; i < to; i++) dx[at + i] += g[i] * share;
        });
        continue;
      }
      float best[wide];
      int64_t where[wide];
      for (int64_t i = 0; i < wide; i++) best[i] = -INFINITY, where[i] = -1;
      window(c, pixel, [&](int64_t at) {
        for (int64_t i = from; i < to; i++)
          if (last ? x[at + i] >= best[i - from] : x[at + i] > best[i - from]) best[i - from] = x[at + i], where[i - from] = at + i;
      });
      for (int64_t i = from; i < to; i++)
        if (where[i - from] >= 0) dx[where[i - from]] += g[i];
    }
  });
}

// Where along one axis an output's value comes from: rows `low` and `high`, and the share of `high`.
namespace {
struct Source {
  int64_t low, high;
  float share;
};
Source source(const Resize& r, int64_t out, int64_t inSize, int64_t outSize) {
  const bool corners = r.alignCorners && outSize > 1;
  const double ratio = (double)(corners ? inSize - 1 : inSize) / (double)(corners ? outSize - 1 : outSize);
  if (r.nearest) {
    const double at = r.halfPixel ? ratio * (out + 0.5) : ratio * out;
    const int64_t i = imax(0, imin(inSize - 1, (int64_t)(r.alignCorners ? floor(at + 0.5) : floor(at))));
    return {i, i, 0.f};
  }
  const double at = r.halfPixel ? ratio * (out + 0.5) - 0.5 : ratio * out;
  const int64_t low = imax(0, (int64_t)floor(at));
  return {imin(low, inSize - 1), imin(inSize - 1, imax(0, (int64_t)ceil(at))), (float)(at - (double)low)};
}
}  // namespace

void resize(const Resize& r, const float* x, float* y) {
  const int64_t n = r.channels;
  parallel(r.batch * r.outHeight, [&](int64_t t) {
    const int64_t b = t / r.outHeight;
    const Source v = source(r, t % r.outHeight, r.inHeight, r.outHeight);
    const float *top = x + (b * r.inHeight + v.low) * r.inWidth * n, *bottom = x + (b * r.inHeight + v.high) * r.inWidth * n;
    float* o = y + t * r.outWidth * n;
    for (int64_t j = 0; j < r.outWidth; j++, o += n) {
      const Source h = source(r, j, r.inWidth, r.outWidth);
      const float *tl = top + h.low * n, *tr = top + h.high * n, *bl = bottom + h.low * n, *br = bottom + h.high * n;
      if (r.nearest) memcpy(o, tl, (size_t)n * 4);
      else
        for (int64_t i = 0; i < n; i++) {
          const float above = tl[i] + (tr[i] - tl[i]) * h.share, below = bl[i] + (br[i] - bl[i]) * h.share;
          o[i] = above + (below - above) * v.share;
        }
    }
  });
}
// The transpose of resize: each output's gradient goes where its value came from.
void resizeGrad(const Resize& r, const float* dy, float* dx) {
  const int64_t n = r.channels, wide = 16, parts = cdiv(n, wide);
  parallel(r.batch * parts, [&](int64_t t) {
    const int64_t b = t / parts, from = (t - b * parts) * wide, to = imin(n, from + wide);
    float* d = dx + b * r.inHeight * r.inWidth * n;
    for (int64_t i = 0; i < r.inHeight * r.inWidth; i++) memset(d + i * n + from, 0, (size_t)(to - from) * 4);
    for (int64_t q = 0; q < r.outHeight; q++) {
      const Source v = source(r, q, r.inHeight, r.outHeight);
      float *top = d + v.low * r.inWidth * n, *bottom = d + v.high * r.inWidth * n;
      for (int64_t j = 0; j < r.outWidth; j++) {
        const Source h = source(r, j, r.inWidth, r.outWidth);
        const float* g = dy + ((b * r.outHeight + q) * r.outWidth + j) * n;
        for (int64_t i = from; i < to; i++) {
          if (r.nearest) {
            top[h.low * n + i] += g[i];
            continue;
          }
          const float below = g[i] * v.share, above = g[i] - below;
          top[h.low * n + i] += above * (1.f - h.share);
          top[h.high * n + i] += above * h.share;
          bottom[h.low * n + i] += below * (1.f - h.share);
          bottom[h.high * n + i] += below * h.share;
        }
      }
    }
  });
}
}  // namespace plumb
