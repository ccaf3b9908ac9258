#include "analysis/bayes.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/philox.h"

namespace tandem {
namespace {

constexpr double kRounding = 1e-12;  // a difference that is the rope itself is within it

// The region of each pair's mean, for i <= j: 0 below, 1 within, 2 above.
std::vector<std::size_t> regions_of(const std::vector<double>& z, double rope) {
  std::vector<std::size_t> regions;
  for (std::size_t i = 0; i < z.size(); ++i) {
    for (std::size_t j = i; j < z.size(); ++j) {
      const double mean = (z[i] + z[j]) / 2, edge = rope * (1 + kRounding);
      regions.push_back(mean < -edge ? 0 : mean > edge ? 2 : 1);
    }
  }
  return regions;
}

}  // namespace

RegionChances signed_rank_chances(const std::vector<double>& differences, double rope) {
  std::vector<double> z = {0};  // the prior's
  z.insert(z.end(), differences.begin(), differences.end());
  const std::vector<std::size_t> regions = regions_of(z, rope);
  const RandomStream stream{stream_key(0, "signed_rank")};
  std::uint64_t next = 0;
  const auto uniform = [&] {  // in (0, 1]
    return static_cast<double>((stream.bits(next++) >> 11) + 1) * 0x1p-53;
  };
  std::array<std::size_t, 3> wins = {};
  std::vector<double> weights(z.size());
  for (std::size_t draw = 0; draw < kPosteriorDraws; ++draw) {
    // Gamma(1/2) is half a squared normal number, Gamma(1) an exponential one; their sum is left
    // out, since it is the same for all regions.
    const double turn = std::cos(6.283185307179586 * uniform());
    weights[0] = -std::log(uniform()) * turn * turn;
    for (std::size_t i = 1; i < weights.size(); ++i) weights[i] = -std::log(uniform());
    std::array<double, 3> masses = {};
    std::size_t pair = 0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
      masses[regions[pair++]] += weights[i] * weights[i];
      for (std::size_t j = i + 1; j < weights.size(); ++j)
        masses[regions[pair++]] += 2 * weights[i] * weights[j];
    }
    ++wins[static_cast<std::size_t>(std::max_element(masses.begin(), masses.end()) -
                                    masses.begin())];
  }
  const auto share = [](std::size_t n) {
    return static_cast<double>(n) / static_cast<double>(kPosteriorDraws);
  };
  return {share(wins[0]), share(wins[1]), share(wins[2])};
}

}  // namespace tandem
