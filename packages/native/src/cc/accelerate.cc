// Products on macOS by Apple's Accelerate, whose matrix units no compiler flag reaches. Compiled there only, and never run by us.
// Its sums over K have an order of their own: a row may differ by rounding from what it is in another batch, and from our kernels.
#if defined(__APPLE__)
#define ACCELERATE_NEW_LAPACK
#include <Accelerate/Accelerate.h>
#include <string.h>

#include "kernels.h"
#include "pool.h"

namespace plumb {
namespace {
Kernels own;
// Below this many multiplications a call costs more than it saves, and decoding keeps its order.
bool small(const Gemm& g) { return g.M < 4 || g.M * g.N * g.K < 65536; }

void product(const Gemm& g) {
  if (g.M == 0 || g.N == 0) return;
  if (small(g) || g.K == 0) return own.gemm(g);
  if (g.bias)
    for (int64_t i = 0; i < g.M; i++)
      for (int64_t j = 0; j < g.N; j++) g.C[i * g.ldc + j] = g.bias[j] + (g.accumulate ? g.C[i * g.ldc + j] : 0.f);
  const float beta = g.bias || g.accumulate ? 1.f : 0.f;
  cblas_sgemm(CblasRowMajor, g.transA ? CblasTrans : CblasNoTrans, g.transB ? CblasTrans : CblasNoTrans, (int)g.M, (int)g.N, (int)g.K, 1.f,
              g.A, (int)g.lda, g.B, (int)g.ldb, beta, g.C, (int)g.ldc);
  if (g.relu)
    for (int64_t i = 0; i < g.M; i++)
      for (int64_t j = 0; j < g.N; j++)
        if (g.C[i * g.ldc + j] <= 0.f) g.C[i * g.ldc + j] = 0.f;
}
void products(const Gemm& g, int64_t batch, const int64_t* offsetA, const int64_t* offsetB, int64_t strideC) {
  if (small(g)) return own.gemmBatch(g, batch, offsetA, offsetB, strideC);
  for (int64_t i = 0; i < batch; i++) {
    Gemm h = g;
    h.A += offsetA[i];
    h.B += offsetB[i];
    h.C += i * strideC;
    product(h);
  }
}
}  // namespace

void useAccelerate(Kernels& k) {
  own = k;
  k.gemm = product;
  k.gemmBatch = products;
}
}  // namespace plumb
#endif
