// This reads norms and ranks off a matrix's singular values s_1 >= s_2 >= ...
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace tandem {

// Probes compute singular values of matrices whose smaller side is at most this.
constexpr std::int64_t kLargestSpectrum = 1024;

// Returns the singular values of a matrix [m,n] on any device, descending.
std::vector<double> singular_values(const at::Tensor& matrix);
// Returns exp of the entropy (nats) of p_i = values_i / sum: 1 for a single value, n for n equal
// ones, and NaN where all are zero.
double effective_count(const std::vector<double>& values);

struct Spectrum {
  double norm = 0;            // s_1
  double stable_rank = 0;     // sum s^2 / s_1^2
  double effective_rank = 0;  // effective_count of s
  double srank_01 = 0;        // min {k : s_1 + ... + s_k >= .99 (s_1 + s_2 + ...)}
};
// Returns the ranks of a matrix on any device; of one without a value that is not 0 they are NaN.
Spectrum spectrum_of(const at::Tensor& matrix);

}  // namespace tandem
