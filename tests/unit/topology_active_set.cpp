// Active sets by hand: forms, hashes and what a checkpoint keeps of them.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "topology/active_set.h"

namespace tandem::test::topology_active_set_unit {

using Positions = std::vector<std::int64_t>;

TEST_CASE("an active set is bits or a list, and hashes alike", "[unit]") {
  const ActiveSet bits = ActiveSet::of_bits({0x89, 0x06});
  const ActiveSet list = ActiveSet::of_positions({0, 3, 7, 9, 10});
  CHECK(bits.known());
  CHECK(list.known());
  CHECK_FALSE(ActiveSet().known());
  CHECK(bits.positions() == list.positions());
  CHECK(bits.count() == 5);
  CHECK(list.count() == 5);
  CHECK(bits.hash() == list.hash());
  CHECK(bits.hash().size() == 16);
  CHECK(bits.hash() != ActiveSet::of_positions({0, 3, 7, 9, 11}).hash());
}

TEST_CASE("the hash of {0} is the first draw of SplitMix64 from 0", "[unit]") {
  CHECK(ActiveSet::of_positions({}).hash() == "0000000000000000");
  CHECK(ActiveSet::of_bits({}).hash() == "0000000000000000");
  CHECK(ActiveSet::of_bits({0x01}).hash() == "e220a8397b1dcdaf");
  // {0, 1}: mix(0) + mix(1) modulo 2^64.
  CHECK(ActiveSet::of_positions({1}).hash() == "910a2dec89025cc1");
  CHECK(ActiveSet::of_positions({0, 1}).hash() == "732ad62604202a70");
  CHECK(ActiveSet::of_positions({0, 3}).hash() != ActiveSet::of_positions({1, 2}).hash());
}

TEST_CASE("lists stay lists, bits stay bits", "[unit]") {
  const ActiveSet a = ActiveSet::of_positions({1, 5, 70}), b = ActiveSet::of_positions({5, 6});
  CHECK(a.united(b).save() == Positions{1, 1, 5, 6, 70});
  CHECK(a.without(b).save() == Positions{1, 1, 70});
  const ActiveSet c = ActiveSet::of_bits({0x22}), d = ActiveSet::of_bits({0x60});
  CHECK(c.united(d).save() == Positions{0, 1, 0x62});
  CHECK(c.without(d).save() == Positions{0, 1, 0x02});
  CHECK(ActiveSet::of_positions({0}).united(c).positions() == Positions{0, 1, 5});
}

TEST_CASE("damaged sets of a checkpoint are refused", "[unit]") {
  CHECK_FALSE(ActiveSet::load({}).known());
  CHECK(ActiveSet::load({1}).known());
  CHECK(ActiveSet::load({1, 4, 9}).positions() == Positions{4, 9});
  CHECK(ActiveSet::load({0, 2, 0x8101}).positions() == Positions{0, 8, 15});
  const std::vector<Positions> damaged = {{2, 1},       {1, 9, 4},     {1, 4, 4}, {1, -1, 4},
                                          {0},          {0, 2},        {0, 9, 1}, {0, -1},
                                          {0, 2, 1, 1}, {0, 1, 0x100}, {0, 0, 1}};
  for (const Positions& saved : damaged) {
    CAPTURE(saved);
    CHECK_THROWS_AS(ActiveSet::load(saved), StoreError);
  }
}

}  // namespace tandem::test::topology_active_set_unit
