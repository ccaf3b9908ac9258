// Random rows whose eligible positions the caller has counted are those that are counted here.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "topology/select_rows.h"

namespace tandem::test::topology_known_counts_parity {

TEST_CASE("counts that are known draw what counts that are looked up draw", "[parity]") {
  const std::int64_t rows = 5, n = 173;
  std::vector<RandomStream> streams;
  for (std::uint64_t q = 0; q < 5; ++q) streams.push_back({1000 + 17 * q});
  const at::Tensor all = torch::ones({rows, n}, torch::kByte);
  at::Tensor some = all.clone();
  some.slice(1, 0, n, 3).zero_();
  some[1].fill_(1);
  for (const at::Tensor& eligible : {all, some}) {
    const at::Tensor sums = eligible.sum(1);
    const std::vector<std::int64_t> held(sums.data_ptr<std::int64_t>(),
                                         sums.data_ptr<std::int64_t>() + rows);
    for (const std::vector<std::int64_t>& counts :
         {std::vector<std::int64_t>{0, 1, 2, 60, held[4]}, std::vector<std::int64_t>(5, 33)}) {
      const at::Tensor known = random_rows(eligible, counts, streams, held);
      CHECK(torch::equal(known, random_rows(eligible, counts, streams)));
      CHECK(known.gt(eligible).sum().item<std::int64_t>() == 0);
      for (std::int64_t q = 0; q < rows; ++q) {
        CHECK(known[q].sum().item<std::int64_t>() == counts[static_cast<std::size_t>(q)]);
      }
    }
  }
}

}  // namespace tandem::test::topology_known_counts_parity
