// Truncation of a distribution, which sorts; apart from the kernels, since they include no standard template.
#include <algorithm>
#include <vector>

#include "kernels.h"

namespace plumb {
double truncateWeights(float* weights, int64_t n, double total, int64_t topK, double topP, double minP) {
  // What is rarer than this cannot be among the tokens that reach topP: all such tokens together weigh less than the rest may.
  const double negligible = topP < 1 && topK == 0 ? (1 - topP) * total / (double)n : 0;
  std::vector<int32_t> kept;
  for (int64_t i = 0; i < n; i++)
    if (weights[i] > negligible) kept.push_back((int32_t)i);
  auto likelier = [&](int32_t a, int32_t b) { return weights[a] != weights[b] ? weights[a] > weights[b] : a < b; };
  size_t size = kept.size();
  if (topK > 0 && (size_t)topK < size) {
    std::nth_element(kept.begin(), kept.begin() + topK, kept.end(), likelier);
    size = (size_t)topK;
    kept.resize(size);
  }
  std::sort(kept.begin(), kept.end(), likelier);
  if (topP < 1) {
    double sum = topK > 0 ? 0 : total, cumulative = 0;
    if (topK > 0)
      for (size_t r = 0; r < size; r++) sum += weights[kept[r]];
    for (size_t r = 0; r < size; r++) {
      cumulative += weights[kept[r]];
      if (cumulative >= topP * sum) {
        size = r + 1;
        break;
      }
    }
  }
  while (size > 1 && weights[kept[size - 1]] < minP) size--;
  kept.resize(size);
  std::sort(kept.begin(), kept.end());
  double left = 0;
  int64_t next = 0;
  for (int32_t i : kept) {
    for (; next < i; next++) weights[next] = 0;
    left += weights[i];
    next = i + 1;
  }
  for (; next < n; next++) weights[next] = 0;
  return left;
}
}  // namespace plumb
