// Choices in proportion to scores. k positions drawn one by one without replacement, each with
// probability s^T over the sum of what is left, are the top k of the keys
//   T log s + Gumbel noise, the noise keyed by (run, layer, update, position)
// (Yellott 1977; Kool et al. 2019, arXiv 1903.06059), so that storages and devices draw alike. A
// score of 0 has the key of the smallest double, so that it comes last unless T is near 0.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "topology/random_ranks.h"

namespace tandem {

double sampling_key(double score, double sharpness, RandomStream stream, std::int64_t position);

// Of rows of scores [Q,n], double on their device. eligible: uint8 [Q,n], or undefined for all;
// what is not has key 0.
at::Tensor sampling_keys(const at::Tensor& scores, const at::Tensor& eligible,
                         const std::vector<double>& sharpness,
                         const std::vector<RandomStream>& streams);

// uniform_at of consecutive positions: double [n] on the CPU.
at::Tensor uniforms(RandomStream stream, std::int64_t first, std::int64_t n);
// The same of all positions, per row: [Q,n].
at::Tensor uniform_rows(const std::vector<RandomStream>& streams, std::int64_t n);

}  // namespace tandem
