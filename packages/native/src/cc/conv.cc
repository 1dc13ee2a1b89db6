// Convolutions and pooling over [batch, height, width, channels]. A convolution is a product with patches of the image that are laid
// out a block at a time; the products are those of gemm, so the order of a sum is (row, column, channel) whatever the rest.
// Compiled once: what is hot here is inside gemm.
#include <math.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

namespace plumb {
namespace {
// The patch of one output pixel, [filterHeight, filterWidth, channels]; outside the image is 0.
void patch(const Conv& c, const float* x, int64_t pixel, float* to) {
  const int64_t b = pixel / (c.outHeight * c.outWidth), rest = pixel % (c.outHeight * c.outWidth), oy = rest / c.outWidth, ox = rest % c.outWidth;
  const size_t bytes = (size_t)c.inChannels * 4;
  for (int64_t fy = 0; fy < c.filterHeight; fy++) {
    const int64_t y = oy * c.strideHeight - c.padTop + fy * c.dilationHeight;
    for (int64_t fx = 0; fx < c.filterWidth; fx++, to += c.inChannels) {
      const int64_t xx = ox * c.strideWidth - c.padLeft + fx * c.dilationWidth;
      if (y < 0 || y >= c.inHeight || xx < 0 || xx >= c.inWidth) memset(to, 0, bytes);
      else memcpy(to, x + ((b * c.inHeight + y) * c.inWidth + xx) * c.inChannels, bytes);
    }
  }
}
// The output gradients that one input pixel meets, [filterHeight, filterWidth, outChannels].
void patchOfGradient(const Conv& c, const float* dy, int64_t pixel, float* to) {
  const int64_t b = pixel / (c.inHeight * c.inWidth), rest = pixel % (c.inHeight * c.inWidth), iy = rest / c.inWidth, ix = rest % c.inWidth;
  const size_t bytes = (size_t)c.outChannels * 4;
  for (int64_t fy = 0; fy < c.filterHeight; fy++) {
    const int64_t ty = iy + c.padTop - fy, y = ty / c.strideHeight;
    const bool rowIn = ty >= 0 && ty % c.strideHeight == 0 && y < c.outHeight;
    for (int64_t fx = 0; fx < c.filterWidth; fx++, to += c.outChannels) {
      const int64_t tx = ix + c.padLeft - fx, xx = tx / c.strideWidth;
      if (!rowIn || tx < 0 || tx % c.strideWidth != 0 || xx >= c.outWidth) memset(to, 0, bytes);
      else memcpy(to, dy + ((b * c.outHeight + y) * c.outWidth + xx) * c.outChannels, bytes);
    }
  }
}
int64_t blockRows(int64_t k) { return imax(14, imin(504, 65536 / imax(1, k) / 14 * 14)); }
bool isPointwise(const Conv& c) { return c.filterHeight == 1 && c.filterWidth == 1 && c.strideHeight == 1 && c.strideWidth == 1 && c.padTop == 0 && c.padLeft == 0 && c.outHeight == c.inHeight && c.outWidth == c.inWidth; }
}  // namespace

void conv2d(const Kernels& K, const Conv& c, const float* x, const float* w, const float* bias, bool relu, float* y) {
  const int64_t k = c.filterHeight * c.filterWidth * c.inChannels, n = c.outChannels, pixels = c.batch * c.outHeight * c.outWidth;
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

void conv2dInputGrad(const Kernels& K, const Conv& c, const float* dy, const float* w, float* dx) {
  const int64_t taps = c.filterHeight * c.filterWidth, k = taps * c.outChannels, n = c.inChannels, pixels = c.batch * c.inHeight * c.inWidth;
  if (isPointwise(c)) return K.gemm(Gemm{pixels, n, c.outChannels, dy, c.outChannels, false, w, c.outChannels, true, dx, n});
  float* turned = (float*)scratch(7, (size_t)(k * n) * 4);  // [taps, outChannels, inChannels]
  for (int64_t t = 0; t < taps; t++)
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

void conv2dFilterGrad(const Kernels& K, const Conv& c, const float* x, const float* dy, float* dw) {
  const int64_t k = c.filterHeight * c.filterWidth * c.inChannels, n = c.outChannels, pixels = c.batch * c.outHeight * c.outWidth;
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
      const int64_t ty = iy + c.padTop - fy, oy = ty / c.strideHeight;
      if (ty < 0 || ty % c.strideHeight != 0 || oy >= c.outHeight) continue;
      for (int64_t ix = 0; ix < c.inWidth; ix++)
        for (int64_t fx = 0; fx < c.filterWidth; fx++) {
          const int64_t tx = ix + c.padLeft - fx, ox = tx / c.strideWidth;
          if (tx < 0 || tx % c.strideWidth != 0 || ox >= c.outWidth) continue;
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
        const int64_t iy = oy * c.strideHeight - c.padTop + fy;
        if (iy < 0 || iy >= c.inHeight) continue;
        for (int64_t ox = 0; ox < c.outWidth; ox++) {
          const int64_t ix = ox * c.strideWidth - c.padLeft + fx;
          if (ix < 0 || ix >= c.inWidth) continue;
          const float *p = x + ((b * c.inHeight + iy) * c.inWidth + ix) * c.inChannels, *g = dy + ((b * c.outHeight + oy) * c.outWidth + ox) * c.outChannels;
          for (int64_t i = 0; i < c.inChannels; i++)
            for (int64_t q = 0; q < m; q++) d[i * m + q] += p[i] * g[i * m + q];
        }
      }
  });
}

// kind 0: maximum (NaN loses every comparison, as in tfjs), 1: mean of what lies inside the image
void pool2d(const Conv& c, const float* x, float* y, int kind) {
  const int64_t n = c.inChannels;
  parallel(c.batch * c.outHeight, [&](int64_t t) {
    const int64_t b = t / c.outHeight, oy = t % c.outHeight;
    for (int64_t ox = 0; ox < c.outWidth; ox++) {
      float* o = y + (t * c.outWidth + ox) * n;
      int64_t count = 0;
      for (int64_t i = 0; i < n; i++) o[i] = kind == 0 ? -INFINITY : 0;
      for (int64_t fy = 0; fy < c.filterHeight; fy++)
        for (int64_t fx = 0; fx < c.filterWidth; fx++) {
          const int64_t iy = oy * c.strideHeight - c.padTop + fy, ix = ox * c.strideWidth - c.padLeft + fx;
          if (iy < 0 || iy >= c.inHeight || ix < 0 || ix >= c.inWidth) continue;
          const float* p = x + ((b * c.inHeight + iy) * c.inWidth + ix) * n;
          count++;
          if (kind == 0)
            for (int64_t i = 0; i < n; i++) o[i] = p[i] > o[i] ? p[i] : o[i];
          else
            for (int64_t i = 0; i < n; i++) o[i] += p[i];
        }
      if (kind == 1)
        for (int64_t i = 0; i < n; i++) o[i] /= (float)count;
    }
  });
}
// The mean's gradient divides by the whole filter, as tfjs does.
void pool2dGrad(const Conv& c, const float* dy, const float* x, float* dx, int kind) {
  const int64_t n = c.inChannels;
  parallel(c.batch, [&](int64_t b) {
    memset(dx + b * c.inHeight * c.inWidth * n, 0, (size_t)(c.inHeight * c.inWidth * n) * 4);
    const float share = 1.f / (float)(c.filterHeight * c.filterWidth);
    for (int64_t oy = 0; oy < c.outHeight; oy++)
      for (int64_t ox = 0; ox < c.outWidth; ox++) {
        const float* g = dy + ((b * c.outHeight + oy) * c.outWidth + ox) * n;
        for (int64_t i = 0; i < n; i++) {
          float best = -INFINITY;
          int64_t at = -1;
          for (int64_t fy = 0; fy < c.filterHeight; fy++)
            for (int64_t fx = 0; fx < c.filterWidth; fx++) {
              const int64_t iy = oy * c.strideHeight - c.padTop + fy, ix = ox * c.strideWidth - c.padLeft + fx;
              if (iy < 0 || iy >= c.inHeight || ix < 0 || ix >= c.inWidth) continue;
              const int64_t p = ((b * c.inHeight + iy) * c.inWidth + ix) * n + i;
              if (kind == 1) dx[p] += g[i] * share;
              else if (x[p] > best) best = x[p], at = p;
            }
          if (at >= 0) dx[at] += g[i];
        }
      }
  });
}
}  // namespace plumb
