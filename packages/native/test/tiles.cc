// amx.cc with functions in the place of its four instructions, against sums in double precision: random shapes, transposes, frozen matrices of
// each storage, bias, activation and accumulation. Prints `entries worst alone`: how many were compared, the largest error, and how many rows
// came out differently when they were multiplied alone.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "pool.h"

using namespace plumb;
namespace plumb {
void bf16Gemm_avx512bf16(const Gemm&) {}
}  // namespace plumb

static float rounded(float x) {
  uint32_t b;
  memcpy(&b, &x, 4);
  b = (b + 0x7fff + ((b >> 16) & 1)) & 0xffff0000u;
  memcpy(&x, &b, 4);
  return x;
}
static uint16_t highBits(float x) {
  uint32_t b;
  x = rounded(x);
  memcpy(&b, &x, 4);
  return (uint16_t)(b >> 16);
}
static float any() { return (float)rand() / (float)RAND_MAX * 2 - 1; }

int main() {
  setThreadCount(3);
  srand(1);
  double worst = 0;
  long entries = 0;
  int alone = 0;
  for (int trial = 0; trial < 300; trial++) {
    int64_t M = 1 + rand() % 70, N = 1 + rand() % 80, K = trial % 3 == 0 ? 32 * (1 + rand() % 3) : 1 + rand() % 90;
    if (trial == 7) M = 2100;  // more rows than are packed at once
    const bool transA = rand() % 2, transB = rand() % 2, relu = rand() % 2, accumulate = rand() % 2, biased = rand() % 2;
    const int storage = rand() % 4 - 1;  // -1: an ordinary matrix
    std::vector<float> A(M * K), B(N * K), C(M * N), bias(N), scales, op(K * N);
    for (auto* v : {&A, &B, &C, &bias})
      for (auto& x : *v) x = any();
    for (int64_t k = 0; k < K; k++)
      for (int64_t j = 0; j < N; j++) op[k * N + j] = transB ? B[j * K + k] : B[k * N + j];
    Gemm g{M, N, K, A.data(), transA ? M : K, transA, B.data(), transB ? K : N, transB, C.data(), N};
    g.bf16 = true;
    g.relu = relu;
    g.accumulate = accumulate;
    if (biased) g.bias = bias.data();
    Frozen f{storage, transB ? N : K, transB ? K : N, nullptr, nullptr};
    std::vector<char> bytes;
    if (storage >= 0) {
      bytes.assign(f.panels() * f.panelBytes() + 64, 0);
      char* p = (char*)(((uintptr_t)bytes.data() + 63) / 64 * 64);
      f.data = p;
      std::vector<uint16_t> halves;
      std::vector<int8_t> whole;
      for (float x : B) halves.push_back(highBits(x)), whole.push_back((int8_t)(x * 100));
      packFrozen(f, storage == kF32 ? (void*)B.data() : storage == kBf16 ? (void*)halves.data() : (void*)whole.data(), p);
      if (storage == kInt8) {
        scales.assign(f.panels() * kPanel, 0);
        for (int64_t o = 0; o < f.out; o++) scales[o] = .01f + .001f * (float)(o % 5);
        f.scales = scales.data();
        for (int64_t k = 0; k < K; k++)
          for (int64_t j = 0; j < N; j++) op[k * N + j] = transB ? whole[j * K + k] : (float)whole[k * N + j] * scales[k];
      }
      g.frozen = &f;
    }
    const std::vector<float> before = C;
    bf16Gemm_amx(g);
    for (int64_t m = 0; m < M; m++)
      for (int64_t j = 0; j < N; j++, entries++) {
        double s = accumulate ? before[m * N + j] : 0;
        for (int64_t k = 0; k < K; k++) s += (double)rounded(transA ? A[k * M + m] : A[m * K + k]) * rounded(op[k * N + j]);
        if (storage == kInt8 && transB) s *= scales[j];
        if (biased) s += bias[j];
        worst = std::fmax(worst, std::fabs((relu && s < 0 ? 0 : s) - C[m * N + j]));
      }
    if (transA) continue;
    std::vector<float> row(before.end() - N, before.end());
    Gemm one = g;
    one.M = 1;
    one.A += (M - 1) * K;
    one.C = row.data();
    bf16Gemm_amx(one);
    alone += memcmp(row.data(), &C[(M - 1) * N], (size_t)N * 4) != 0;
  }
  printf("%ld %g %d\n", entries, worst, alone);
}
