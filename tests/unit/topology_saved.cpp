// Topologies in checkpoints: what they say of themselves, and those of before, which say less.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "data/tensor.h"
#include "topology/saved_topology.h"

namespace tandem::test::topology_saved_unit {
namespace {

using Positions = std::vector<std::int64_t>;

at::Tensor bytes(const std::vector<int>& values) { return torch::tensor(values).to(torch::kByte); }

SavedTopology loaded(const at::Tensor& saved) { return SavedTopology::load(saved, "w", 3, 4); }

}  // namespace

TEST_CASE("a saved topology says which mask is which", "[unit]") {
  SavedTopology nested{3, 4, ActiveSet::of_bits({0x0F, 0x01})};
  nested.nested = {ActiveSet::of_bits({0x07, 0x00}), ActiveSet::of_bits({0x01, 0x00})};
  const SavedTopology again = loaded(nested.save());
  CHECK(again.mask.positions() == Positions{0, 1, 2, 3, 8});
  CHECK_FALSE(again.superset.known());
  CHECK_FALSE(again.listed);
  REQUIRE(again.nested.size() == 2);
  CHECK(again.nested[0].positions() == Positions{0, 1, 2});
  CHECK(again.nested[1].positions() == Positions{0});

  SavedTopology stored{3, 4, ActiveSet::of_positions({2, 5})};
  stored.superset = ActiveSet::of_positions({2, 4, 5, 11});
  const SavedTopology list = loaded(stored.save());
  CHECK(list.listed);
  CHECK(list.mask.positions() == Positions{2, 5});
  CHECK(list.superset.positions() == Positions{2, 4, 5, 11});
  CHECK(SavedTopology::shape_in(stored.save()) == std::pair<std::int64_t, std::int64_t>{3, 4});
}

TEST_CASE("topologies of before are read", "[unit]") {
  const SavedTopology mask = loaded(bytes({0x0F, 0x01}));
  CHECK(mask.mask.positions() == Positions{0, 1, 2, 3, 8});
  CHECK(mask.untold.empty());
  CHECK(loaded(bytes({0x0F, 0x01, 0xFF, 0x03, 0x01, 0x00})).untold.size() == 2);
  const SavedTopology list = loaded(torch::tensor(Positions{3, 4, 2, 5}));
  CHECK(list.mask.positions() == Positions{2, 5});
  CHECK_FALSE(list.superset.known());
  const SavedTopology flagged = loaded(torch::tensor(Positions{-3, 4, 5, 8, 11}));
  CHECK(flagged.mask.positions() == Positions{2, 5});
  CHECK(flagged.superset.positions() == Positions{2, 4, 5});
  CHECK(SavedTopology::shape_in(torch::tensor(Positions{-3, 4, 5})) ==
        std::pair<std::int64_t, std::int64_t>{3, 4});
  CHECK_FALSE(SavedTopology::shape_in(bytes({0x0F, 0x01})).has_value());
}

TEST_CASE("a damaged topology is refused by name", "[unit]") {
  using Catch::Matchers::Contains;
  const at::Tensor whole = SavedTopology{3, 4, ActiveSet::of_bits({0x0F, 0x01})}.save();
  const auto changed = [&](std::int64_t at, std::int64_t value) {
    at::Tensor other = whole.clone();
    other[at] = value;
    return other;
  };
  for (const at::Tensor& damaged :
       {changed(1, 9), changed(2, 5), changed(4, 2), changed(6, 99), changed(8, 1),
        whole.narrow(0, 0, 6), bytes({0x0F}), bytes({}), torch::tensor(Positions{3, 4, 12}),
        torch::tensor(Positions{3, 4, 5, 5}), torch::tensor(Positions{4, 3, 1}),
        torch::tensor({1.0})}) {
    CHECK_THROWS_AS(loaded(damaged), StoreError);
    CHECK_THROWS_WITH(loaded(damaged),
                      Contains("of w in a checkpoint") && Contains("3 inputs and 4 outputs"));
  }
}

}  // namespace tandem::test::topology_saved_unit
