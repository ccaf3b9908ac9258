// The Bayesian signed-rank test where its posterior can be had by hand, and against a sampler that
// draws its weights in another way.
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "analysis/bayes.h"

namespace tandem::test::analysis_bayes_unit {
namespace {

// Five standard errors of a share of 50,000 draws.
constexpr double kMargin = 5 * 0.5 / 223.6;

}  // namespace

// One difference z > 0: w_0 ~ Beta(1/2, 1), whose distribution function is sqrt(x).
//   Both pairs with z lie above where z > 2 rope: w_1^2 + 2 w_0 w_1 = 1 - w_0^2 is more than w_0^2
//   where w_0 < sqrt(1/2).
//   Only z with itself does where rope < z <= 2 rope: w_1^2 > 1/2 where w_0 < 1 - sqrt(1/2).
TEST_CASE("the posterior of one difference is that by hand", "[unit]") {
  const double root = std::sqrt(0.5);
  const RegionChances far = signed_rank_chances({3}, 1), near = signed_rank_chances({1.5}, 1),
                      below = signed_rank_chances({-3}, 1), in = signed_rank_chances({0.5}, 1);
  CHECK(far.above == Approx(std::sqrt(root)).margin(kMargin));
  CHECK(far.within == Approx(1 - std::sqrt(root)).margin(kMargin));
  CHECK(far.below == 0);
  CHECK(near.above == Approx(std::sqrt(1 - root)).margin(kMargin));
  CHECK(below.below == far.above);
  CHECK(in.within == 1);
  // A difference that is the rope itself is within it, whatever its last bits are.
  CHECK(signed_rank_chances({100 * (0.912 - 0.907)}, 0.5).within == 1);
  CHECK(signed_rank_chances({100 * (0.907 - 0.912)}, 0.5).within == 1);
}

TEST_CASE("the posterior of several differences is another sampler's", "[unit]") {
  const std::vector<double> z = {0, 0.8, -0.25, 1.4, 0.5, 0.1, 0.9, -0.6};
  constexpr double kRope = 0.3;
  constexpr int kDraws = 50000;
  std::mt19937_64 random(1);
  std::array<int, 3> wins = {};
  for (int draw = 0; draw < kDraws; ++draw) {
    std::vector<double> w;
    double sum = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      w.push_back(std::gamma_distribution<double>(i == 0 ? 0.5 : 1.0, 1.0)(random));
      sum += w.back();
    }
    double below = 0, above = 0;
    for (std::size_t i = 0; i < z.size(); ++i) {
      for (std::size_t j = 0; j < z.size(); ++j) {
        const double share = w[i] / sum * w[j] / sum;
        below += z[i] + z[j] < -2 * kRope ? share : 0;
        above += z[i] + z[j] > 2 * kRope ? share : 0;
      }
    }
    const double within = 1 - below - above;
    ++wins[below > within && below > above ? 0 : above > within ? 2 : 1];
  }
  const RegionChances chances = signed_rank_chances({z.begin() + 1, z.end()}, kRope);
  CHECK(chances.below == Approx(wins[0] / double(kDraws)).margin(kMargin));
  CHECK(chances.within == Approx(wins[1] / double(kDraws)).margin(kMargin));
  CHECK(chances.above == Approx(wins[2] / double(kDraws)).margin(kMargin));
  CHECK(chances.below + chances.within + chances.above == Approx(1));
  CHECK(chances.above > 0.3);
}

}  // namespace tandem::test::analysis_bayes_unit
