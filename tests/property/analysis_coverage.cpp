// Intervals and tests over many draws of known distributions: how often an interval holds the true
// value, and how often a test finds a difference that is not there.
#include <catch2/catch.hpp>
#include <cmath>

#include "analysis/hypothesis_tests.h"
#include "analysis/statistics.h"
#include "core/philox.h"

namespace tandem::test::analysis_coverage_property {
namespace {

constexpr int kRepetitions = 20000;

class Normals {
 public:
  explicit Normals(std::uint64_t seed) : stream_{stream_key(seed, "coverage")} {}
  std::vector<double> draw(std::size_t n, double sd = 1) {
    std::vector<double> values(n);
    for (double& each : values) {  // Box and Muller
      const double u = uniform(), v = uniform();
      each = sd * std::sqrt(-2 * std::log(1 - u)) * std::cos(6.283185307179586 * v);
    }
    return values;
  }

 private:
  double uniform() { return static_cast<double>(stream_.bits(next_++) >> 11) * 0x1p-53; }
  RandomStream stream_;
  std::uint64_t next_ = 0;
};

// Five standard errors of the share that is expected.
double margin(double share) { return 5 * std::sqrt(share * (1 - share) / kRepetitions); }

double false_alarms(const std::string& name, std::size_t n, double second_sd) {
  Normals normals(n);
  int found = 0, tried = 0;
  for (int i = 0; i < kRepetitions; ++i) {
    const auto first = normals.draw(n), second = normals.draw(n, second_sd);
    const PairedTest test = compare(hypothesis_test(name), first, second);
    if (!test.p) continue;
    ++tried;
    found += *test.p <= kSignificance;
  }
  REQUIRE(tried == kRepetitions);
  return static_cast<double>(found) / tried;
}

}  // namespace

TEST_CASE("95% intervals hold the true mean in 95 of 100 cases", "[property]") {
  for (const std::size_t n : {3U, 5U, 10U}) {
    Normals normals(n);
    int holds = 0, holds_difference = 0;
    for (int i = 0; i < kRepetitions; ++i) {
      const auto first = normals.draw(n), second = normals.draw(n);
      const Summary s = summarize(first);
      holds += std::abs(s.mean) <= *s.half;
      const PairedTest welch = compare(hypothesis_test("welch"), first, second);
      holds_difference += std::abs(welch.mean_difference) <= *welch.half;
    }
    CAPTURE(n);
    CHECK(static_cast<double>(holds) / kRepetitions == Approx(0.95).margin(margin(0.95)));
    // Welch's interval is a little wide with few values, by its degrees of freedom.
    CHECK(static_cast<double>(holds_difference) / kRepetitions > 0.95 - margin(0.95));
    CHECK(static_cast<double>(holds_difference) / kRepetitions < 0.975);
  }
}

TEST_CASE("tests find what is not there as often as their level says", "[property]") {
  CHECK(false_alarms("paired_t", 5, 1) == Approx(0.05).margin(margin(0.05)));
  CHECK(false_alarms("paired_t", 5, 3) == Approx(0.05).margin(margin(0.05)));
  const double welch = false_alarms("welch", 8, 3);
  CHECK(welch > 0.04);
  CHECK(welch < 0.05 + margin(0.05));
  // Exact tests have the greatest level below 5% that their outcomes allow: of 8 signs 10 in 256,
  // of four and four values 2 in 70.
  CHECK(false_alarms("wilcoxon", 8, 1) == Approx(10.0 / 256).margin(margin(0.04)));
  CHECK(false_alarms("mann_whitney", 4, 1) == Approx(2.0 / 70).margin(margin(0.03)));
}

}  // namespace tandem::test::analysis_coverage_property
