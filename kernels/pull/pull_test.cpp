// The fused pull against plain loops in long double, with and without flags and gradient.
#include "kernels/pull/pull.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <random>
#include <vector>

namespace tandem::test::pull_test {

using namespace tandem::kernels;

TEST_CASE("the pull's gradient and value equal a plain loop's", "[parity]") {
  for (const std::int64_t n : {1, 7, 8, 37, 1000}) {
    for (const bool flagged : {false, true}) {
      for (const bool gradient : {false, true}) {
        CAPTURE(n, flagged, gradient);
        constexpr std::int64_t kReplicas = 3;
        std::mt19937 generator(static_cast<unsigned>(n));
        std::normal_distribution<double> normal;
        std::vector<double> weight, center, importance, own;
        std::vector<std::uint8_t> flags;
        for (std::int64_t i = 0; i < kReplicas * n; ++i) {
          weight.push_back(normal(generator));
          center.push_back(normal(generator));
          importance.push_back(std::abs(normal(generator)));
          own.push_back(normal(generator));
          flags.push_back(generator() % 3 == 0);
        }
        const std::vector<double> factor = {0.5, 3, 0};
        std::vector<double> out(own.size(), 7), sums = {1, 2, 3};
        const PullTerm<double> term{weight.data(),
                                    center.data(),
                                    importance.data(),
                                    gradient ? own.data() : nullptr,
                                    flagged ? flags.data() : nullptr,
                                    factor.data(),
                                    n,
                                    kReplicas};
        add_pull(term, out.data(), sums.data());
        for (std::int64_t r = 0; r < kReplicas; ++r) {
          long double expected = static_cast<long double>(r + 1);
          for (std::int64_t i = r * n; i < (r + 1) * n; ++i) {
            const auto j = static_cast<std::size_t>(i);
            const double away = weight[j] - center[j];
            expected += static_cast<long double>(importance[j]) * away * away;
            double wanted = gradient ? own[j] : 0;
            if (!flagged || flags[j] != 0) {
              wanted += importance[j] * away * factor[static_cast<std::size_t>(r)];
            }
            REQUIRE(out[j] == Approx(wanted).margin(1e-14));
          }
          REQUIRE(sums[static_cast<std::size_t>(r)] ==
                  Approx(static_cast<double>(expected)).epsilon(1e-13));
        }
      }
    }
  }
}

// It stands in for separate passes, of which stored runs know the bits.
TEST_CASE("the pull rounds as separate passes do", "[parity]") {
  std::mt19937 generator(5);
  std::normal_distribution<float> normal;
  constexpr std::int64_t n = 333;
  std::vector<float> weight, center, importance, gradient, out(n);
  for (std::int64_t i = 0; i < n; ++i) {
    weight.push_back(normal(generator));
    center.push_back(normal(generator));
    importance.push_back(std::abs(normal(generator)));
    gradient.push_back(normal(generator));
  }
  const float factor = 0.3F;
  double sum = 0;
  add_pull(PullTerm<float>{weight.data(), center.data(), importance.data(), gradient.data(),
                           nullptr, &factor, n, 1},
           out.data(), &sum);
  for (std::size_t i = 0; i < n; ++i) {
    volatile float pull = importance[i] * (weight[i] - center[i]);
    volatile float term = pull * factor;
    REQUIRE(out[i] == gradient[i] + term);
  }
}

}  // namespace tandem::test::pull_test
