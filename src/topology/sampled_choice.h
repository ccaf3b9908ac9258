// This file draws choices in proportion to scores: k positions that are drawn one by one without
// replacement, each with probability s^T over the sum of what is left, are the top k of the keys
//   T log s + Gumbel noise, the noise keyed by (run, layer, update, position)
// (Yellott 1977; Kool et al. 2019, arXiv 1903.06059), so that storages and devices draw alike. A
// score of 0 has the key of the smallest double, so that it comes last unless T is near 0.
//
// Shapes: Q rows, each of one replica, n positions.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "topology/random_ranks.h"

namespace tandem {

double sampling_key(double score, double sharpness, RandomStream stream, std::int64_t position);

// Returns the keys of rows of scores [Q,n], double on their device. `eligible` is uint8 [Q,n], or
// undefined where all are; what is not eligible has key 0.
at::Tensor sampling_keys(const at::Tensor& scores, const at::Tensor& eligible,
                         const std::vector<double>& sharpness,
                         const std::vector<RandomStream>& streams);

// Returns uniform_at() of consecutive positions, double [n] on the CPU.
at::Tensor uniforms(RandomStream stream, std::int64_t first, std::int64_t n);
// Returns the same for all positions of each row, [Q,n].
at::Tensor uniform_rows(const std::vector<RandomStream>& streams, std::int64_t n);

}  // namespace tandem
