// Selection by sorting (what a GPU runs) against the kernel (what a CPU runs).
#include <catch2/catch.hpp>
#include <limits>
#include <random>

#include "data/tensor.h"
#include "topology/select_rows.h"

namespace tandem::test::topology_select_rows_parity {

TEST_CASE("sorting and the kernel choose the same positions", "[parity]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  torch::Generator generator = at::detail::createCPUGenerator(seed);
  for (const auto dtype : {torch::kFloat, torch::kDouble}) {
    for (const std::int64_t n : {1, 7, 64, 501}) {
      const std::int64_t rows = 4;
      // Few distinct values, so that ties abound; signed zeros, NaN and infinities among them.
      torch::Tensor scores = torch::randint(-3, 4, {rows, n}, generator).to(dtype);
      const torch::Tensor special = torch::randint(0, 12, {rows, n}, generator);
      scores.masked_fill_(special.eq(0), std::numeric_limits<double>::quiet_NaN());
      scores.masked_fill_(special.eq(1), -std::numeric_limits<double>::infinity());
      scores.masked_fill_(special.eq(2), std::numeric_limits<double>::infinity());
      scores.masked_fill_(special.eq(3), -0.0);
      const torch::Tensor eligible =
          torch::randint(0, 3, {rows, n}, generator).ne(0).to(torch::kByte);
      const torch::Tensor available = eligible.sum(1, false, torch::kLong);
      for (const bool largest : {true, false}) {
        for (const double share : {0.0, 0.3, 0.9, 1.0}) {
          std::vector<std::int64_t> counts, few;
          for (std::int64_t q = 0; q < rows; ++q) {
            counts.push_back(static_cast<std::int64_t>(share * static_cast<double>(n - q % n)));
            few.push_back(static_cast<std::int64_t>(
                share * static_cast<double>(available[q].item<std::int64_t>())));
          }
          CAPTURE(n, largest, share);
          CHECK(torch::equal(select_rows(scores, {}, counts, largest),
                             select_rows_by_sort(scores, {}, counts, largest)));
          CHECK(torch::equal(select_rows(scores, eligible, few, largest),
                             select_rows_by_sort(scores, eligible, few, largest)));
        }
      }
    }
  }
}

TEST_CASE("rows have counts and streams of their own", "[parity]") {
  const torch::Tensor eligible = torch::ones({3, 50}, torch::kByte);
  eligible.narrow(1, 0, 10).zero_();
  const std::vector<RandomStream> streams = {{1}, {2}, {1}};
  const torch::Tensor chosen = random_rows(eligible, {5, 0, 40}, streams);
  CHECK(chosen.sum(1).equal(torch::tensor({5, 0, 40})));
  CHECK(chosen.narrow(1, 0, 10).sum().item<int>() == 0);
  CHECK(chosen[0].equal(random_rows(eligible.narrow(0, 0, 1), {5}, {{1}})[0]));
}

}  // namespace tandem::test::topology_select_rows_parity
