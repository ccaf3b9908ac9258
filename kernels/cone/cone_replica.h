// project_onto_cone() of one replica; the CPU and the GPU run the same lines.
#pragma once

#include "core/host_device.h"
#include "kernels/cone/cone.h"

namespace tandem::kernels {

// Sums are of products that are rounded before they are added: a fused one would differ between
// the two.
TANDEM_HOST_DEVICE inline double rounded_product(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  const volatile double product = a * b;
  return product;
#endif
}

TANDEM_HOST_DEVICE inline void project_replica(const ConeProblem& problem, std::int64_t r,
                                               double* all) {
  const std::int64_t n = problem.n;
  const double* gram = problem.gram + r * n * n;
  const double* along = problem.along + r * n;
  const double* part = problem.part + r * n;
  const double margin = problem.margin[r];
  double* v = all + r * n;
  bool raises = false;
  for (std::int64_t i = 0; i < n; ++i) raises = raises || (part[i] != 0 && along[i] < 0);
  for (std::int64_t i = 0; i < n; ++i) v[i] = raises && part[i] != 0 ? margin : 0;
  for (std::int64_t sweep = 0; raises && sweep < problem.sweeps; ++sweep) {
    bool moved = false;
    for (std::int64_t i = 0; i < n; ++i) {
      if (part[i] == 0) continue;
      double slope = along[i] + rounded_product(problem.ridge, v[i]);
      for (std::int64_t j = 0; j < n; ++j) {
        if (part[j] != 0) slope += rounded_product(gram[i * n + j], v[j]);
      }
      const double next = v[i] - slope / (gram[i * n + i] + problem.ridge);
      const double bounded = next > margin ? next : margin;
      moved = moved || bounded != v[i];
      v[i] = bounded;
    }
    if (!moved) return;
  }
}

}  // namespace tandem::kernels
