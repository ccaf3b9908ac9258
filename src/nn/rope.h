// How rotary positions stretch to sequences longer than those that a net was trained with, by s
// times their length. Pair i of a head of D numbers turns at position t by t theta^(-2i/D), and
//   linear  position interpolation (Chen et al. 2023, arXiv:2306.15595, equation 4): t / s stands
//           for t, so that no position is beyond those that were seen
//   ntk     a larger base (NTK-aware scaling, in Peng et al. 2023, arXiv:2309.00071, section 3.1):
//           theta s^(D/(D-2)) stands for theta, so that the slowest pair turns as if interpolated
//           and the fastest as if not at all
// Factors of training and of a read-out multiply.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

struct RopeFactors {
  double linear = 1, ntk = 1;  // s of each
  bool operator==(const RopeFactors&) const = default;
  RopeFactors times(const RopeFactors& other) const {
    return {linear * other.linear, ntk * other.ntk};
  }
};

// Of scaling "none", "linear" or "ntk" by s.
RopeFactors rope_factors(const std::string& scaling, double s);

// The scalings in which the run reads windows longer than its context (eval_scalings). Throws
// ConfigError for one that there is not, or that is said twice.
std::vector<std::string> read_scalings(const Config& config);

}  // namespace tandem
