// Coverage, churn and survival over updates that are written down.
#include "core/error.h"
#include "probes_fixture.h"

namespace tandem::test::probes_topology_unit {

namespace {

using Flags = std::vector<std::uint8_t>;

std::unique_ptr<Probe> topology_probe(std::size_t replicas) {
  return probes().at("probe", "topology")(std::vector<ReadoutRun>(replicas, zero_dormant_run(0.5)));
}

at::Tensor as_mask(const std::vector<Flags>& replicas) {
  std::vector<at::Tensor> rows;
  for (const Flags& flags : replicas) rows.push_back(torch::tensor(flags, torch::kByte));
  return torch::stack(rows);
}

ChainNet net_of(const std::vector<Flags>& replicas) {
  const at::Tensor mask = as_mask(replicas);
  return ChainNet({mask.to(torch::kDouble).view({mask.size(0), 2, -1})}, {mask});
}

const at::Tensor kNoInput = torch::zeros({1, 1, 1}, torch::kDouble);

}  // namespace

TEST_CASE("before any update, coverage is density", "[unit]") {
  ChainNet net = net_of({{1, 0, 0, 0}});
  const auto rows = measure("topology", net, {zero_dormant_run(0.25)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "coverage") == 0.25);
  CHECK(value(rows, 0, "weights", "coverage") == 0.25);
  for (const char* name : {"churn", "grown", "dropped", "survival"}) {
    CHECK_FALSE(has(rows, 0, "weights/layer0", name));
  }
}

TEST_CASE("coverage of {1,1,0,0} and {1,0,1,0} is .75, and half of the mask has turned", "[unit]") {
  ChainNet net = net_of({{1, 0, 1, 0}});
  const auto probe = topology_probe(1);
  CHECK(probe->watches_updates());
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0}), active_bits({1, 0, 1, 0}));
  const auto rows = measure(*probe, net, {zero_dormant_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "coverage") == 0.75);
  CHECK(value(rows, 0, "weights/layer0", "churn") == 0.5);
  CHECK(value(rows, 0, "weights/layer0", "grown") == 1);
  CHECK(value(rows, 0, "weights/layer0", "dropped") == 1);
  CHECK_FALSE(has(rows, 0, "weights/layer0", "survival"));
}

TEST_CASE("survival asks each newborn once, at the next update", "[unit]") {
  ChainNet net = net_of({{0, 0, 0, 1, 1, 1}});
  const auto probe = topology_probe(1);
  update(*probe, 0, "layer0", active_bits({1, 1, 1, 0, 0, 0}),
         active_bits({1, 0, 0, 1, 1, 0}));  // 3 and 4 born
  update(*probe, 0, "layer0", active_bits({1, 0, 0, 1, 1, 0}),
         active_bits({0, 1, 0, 1, 0, 1}));  // 3 lives, 4 doesn't
  auto rows = measure(*probe, net, {zero_dormant_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "survival") == 0.5);
  CHECK(value(rows, 0, "weights/layer0", "churn") == Approx(4.0 / 6));
  update(*probe, 0, "layer0", active_bits({0, 1, 0, 1, 0, 1}),
         active_bits({0, 0, 0, 1, 1, 1}));  // of 1, 5: 5 lives
  rows = measure(*probe, net, {zero_dormant_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "survival") == Approx(2.0 / 4));
  CHECK(value(rows, 0, "weights/layer0", "coverage") == 1);
  CHECK(value(rows, 0, "weights/layer0", "grown") == 1);
}

TEST_CASE("replicas and layers have memories of their own; totals are over layers", "[unit]") {
  const at::Tensor m0 = as_mask({{1, 0, 1, 0}, {1, 1, 0, 0}});
  const at::Tensor m1 = as_mask({{1, 1, 1, 1, 0, 0, 0, 0}, {1, 1, 1, 1, 0, 0, 0, 0}});
  ChainNet net({m0.to(torch::kDouble).view({2, 2, 2}), m1.to(torch::kDouble).view({2, 2, 4})},
               {m0, m1});
  const auto probe = topology_probe(2);
  update(*probe, 0, "layer0", active_bits({1, 1, 0, 0}), active_bits({1, 0, 1, 0}));
  const auto rows = measure(*probe, net, {zero_dormant_run(0.5), zero_dormant_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer1", "coverage") == 0.5);
  CHECK(value(rows, 0, "weights", "coverage") == Approx(7.0 / 12));
  CHECK(value(rows, 0, "weights", "grown") == 1);
  CHECK(value(rows, 1, "weights", "coverage") == 0.5);
  CHECK_FALSE(has(rows, 1, "weights", "churn"));
}

TEST_CASE("pruning without growth: churn is relative to both masks", "[unit]") {
  ChainNet net = net_of({{1, 0, 0, 0}});
  const auto probe = topology_probe(1);
  update(*probe, 0, "layer0", active_bits({1, 1, 1, 0}), active_bits({1, 0, 0, 0}));
  const auto rows = measure(*probe, net, {zero_dormant_run(0.5)}, kNoInput);
  CHECK(value(rows, 0, "weights/layer0", "churn") == 0.5);
  CHECK(value(rows, 0, "weights/layer0", "dropped") == 2);
  CHECK(value(rows, 0, "weights/layer0", "grown") == 0);
}

TEST_CASE("a memory of listed positions says the same as one of bits", "[unit]") {
  const std::vector<Flags> masks = {
      {1, 1, 1, 0, 0, 0}, {1, 0, 0, 1, 1, 0}, {0, 1, 0, 1, 0, 1}, {0, 0, 0, 1, 1, 1}};
  ChainNet net = net_of({masks.back()});
  const std::vector<ReadoutRun> runs = {zero_dormant_run(0.5)};
  const auto bits = topology_probe(1), lists = topology_probe(1), saved = topology_probe(1);
  for (std::size_t u = 0; u + 1 < masks.size(); ++u) {
    const ActiveSet before = active_bits(masks[u]), after = active_bits(masks[u + 1]);
    update(*bits, 0, "layer0", before, after);
    update(*lists, 0, "layer0", ActiveSet::of_positions(before.positions()),
           ActiveSet::of_positions(after.positions()));
  }
  for (const auto& [name, values] : lists->save(0)) {
    CHECK(values.size() <= 7);  // no more than its form and the positions seen
    saved->load(0, name, values);
  }
  const auto expected = measure(*bits, net, runs, kNoInput);
  for (const auto& probe : {lists.get(), saved.get()}) {
    const auto rows = measure(*probe, net, runs, kNoInput);
    for (const char* name : {"coverage", "churn", "grown", "dropped", "survival"}) {
      CHECK(value(rows, 0, "weights/layer0", name) == value(expected, 0, "weights/layer0", name));
    }
  }
  CHECK_THROWS_AS(saved->load(0, "layer0/ever", {1, 5, 2}), StoreError);
}

TEST_CASE("a memory that was saved and loaded goes on as if nothing had happened", "[unit]") {
  // 130 positions: the lists hold more than two words, the last one partly used.
  Flags a(130, 0), b(130, 0), c(130, 0);
  for (std::size_t i = 0; i < 130; i += 2) a[i] = 1;
  for (std::size_t i = 0; i < 130; i += 3) b[i] = 1;
  for (std::size_t i = 63; i < 130; ++i) c[i] = 1;
  ChainNet net = net_of({c});
  const std::vector<ReadoutRun> runs = {zero_dormant_run(0.5)};
  const auto straight = topology_probe(1);
  update(*straight, 0, "layer0", active_bits(a), active_bits(b));
  const auto resumed = topology_probe(1);
  for (const auto& [name, values] : straight->save(0)) resumed->load(0, name, values);
  update(*straight, 0, "layer0", active_bits(b), active_bits(c));
  update(*resumed, 0, "layer0", active_bits(b), active_bits(c));
  const auto expected = measure(*straight, net, runs, kNoInput);
  const auto rows = measure(*resumed, net, runs, kNoInput);
  REQUIRE(rows[0].size() == expected[0].size());
  for (std::size_t i = 0; i < rows[0].size(); ++i) {
    CHECK(rows[0][i].name == expected[0][i].name);
    CHECK(rows[0][i].value == expected[0][i].value);
  }
  CHECK(has(rows, 0, "weights/layer0", "survival"));
  CHECK_THROWS_AS(resumed->load(0, "nonsense", {}), StoreError);
  CHECK_THROWS_AS(resumed->load(0, "layer0/counts", {1, 2}), StoreError);
}

}  // namespace tandem::test::probes_topology_unit
