// Choices that are drawn: in proportion to scores, and at random among what was never active.
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>

#include "core/error.h"
#include "data/tensor.h"
#include "support/train_support.h"
#include "topology/masked_connections.h"
#include "topology/sampled_choice.h"
#include "topology/select_rows.h"
#include "topology/sparse_connections.h"
#include "topology/topology_update.h"
#include "train/trainer.h"

namespace tandem::test::topology_draws_numeric {

using namespace tandem::test;

namespace {

using Kind = TopologyOperation::Kind;

// Probability that each is among k draws without replacement, by all orders of drawing.
void enumerate(const std::vector<double>& weights, std::vector<char>& taken, int left, double p,
               std::vector<double>& inclusion) {
  if (left == 0) {
    for (std::size_t i = 0; i < weights.size(); ++i) inclusion[i] += taken[i] ? p : 0;
    return;
  }
  double rest = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) rest += taken[i] ? 0 : weights[i];
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (taken[i] || weights[i] == 0) continue;
    taken[i] = 1;
    enumerate(weights, taken, left - 1, p * weights[i] / rest, inclusion);
    taken[i] = 0;
  }
}

std::vector<double> inclusion_of(std::vector<double> scores, double sharpness, int k) {
  for (double& score : scores) score = std::pow(score, sharpness);
  std::vector<double> inclusion(scores.size(), 0);
  std::vector<char> taken(scores.size(), 0);
  enumerate(scores, taken, k, 1, inclusion);
  return inclusion;
}

// A binomial share of `draws` is within five standard deviations.
void require_share(std::int64_t count, std::int64_t draws, double p) {
  const double share = static_cast<double>(count) / static_cast<double>(draws);
  CAPTURE(share, p);
  if (p == 0 || p > 1 - 1e-12) {
    REQUIRE(share == Approx(p));
    return;
  }
  REQUIRE(std::abs(share - p) < 5 * std::sqrt(p * (1 - p) / static_cast<double>(draws)));
}

at::Tensor row_of(const std::vector<double>& scores) {
  return torch::tensor(scores, torch::kDouble).unsqueeze(0);
}

at::Tensor taken(const at::Tensor& scores, double sharpness, RandomStream stream, std::int64_t k) {
  return select_rows(sampling_keys(scores, {}, {sharpness}, {stream}), {}, {k}, true)[0];
}

}  // namespace

TEST_CASE("draws without replacement are in proportion to score^sharpness", "[numeric]") {
  const std::vector<double> scores = {0.3, 1, 0, 2.5, 0.05, 1.4};
  const at::Tensor row = row_of(scores);
  constexpr std::int64_t kDraws = 20000;
  for (const double sharpness : {0.5, 1.0, 3.0}) {
    for (const int k : {1, 2, 4, 5}) {
      CAPTURE(sharpness, k);
      const auto expected = inclusion_of(scores, sharpness, k);
      std::vector<std::int64_t> counts(scores.size(), 0);
      for (std::int64_t draw = 0; draw < kDraws; ++draw) {
        const RandomStream stream =
            draw_stream(topology_key(17, 3, draw), draw % 2 ? Draw::kDrop : Draw::kGrow);
        const at::Tensor chosen = taken(row, sharpness, stream, k);
        REQUIRE(chosen.sum().item<std::int64_t>() == k);
        for (std::size_t i = 0; i < scores.size(); ++i) {
          counts[i] += chosen.data_ptr<std::uint8_t>()[i];
        }
      }
      for (std::size_t i = 0; i < scores.size(); ++i) require_share(counts[i], kDraws, expected[i]);
    }
  }
}

TEST_CASE("scores of zero are drawn last, alike among themselves", "[numeric]") {
  const at::Tensor row = row_of({0, 1e-30, 0, 4, 0, 1e-9});
  constexpr std::int64_t kDraws = 6000;
  std::vector<std::int64_t> counts(6, 0);
  for (std::int64_t draw = 0; draw < kDraws; ++draw) {
    const at::Tensor chosen = taken(row, 1, draw_stream(topology_key(5, 0, draw), Draw::kGrow), 4);
    for (std::size_t i = 0; i < 6; ++i) counts[i] += chosen.data_ptr<std::uint8_t>()[i];
  }
  for (const std::size_t i : {1, 3, 5}) REQUIRE(counts[i] == kDraws);
  for (const std::size_t i : {0, 2, 4}) require_share(counts[i], kDraws, 1.0 / 3);
}

TEST_CASE("an update's drop and growth draw independently of each other", "[numeric]") {
  const at::Tensor row = row_of({1, 1, 1, 1});
  constexpr std::int64_t kDraws = 20000;
  std::int64_t both = 0;
  for (std::int64_t draw = 0; draw < kDraws; ++draw) {
    const std::uint64_t key = topology_key(23, 1, draw);
    const at::Tensor dropped = taken(row, 1, draw_stream(key, Draw::kDrop), 1);
    both += torch::equal(dropped, taken(row, 1, draw_stream(key, Draw::kGrow), 1));
  }
  require_share(both, kDraws, 0.25);
}

namespace {

constexpr std::int64_t kInputs = 12, kOutputs = 9, kPositions = kInputs * kOutputs;

// One layer with the same weights in either storage.
struct OneLayer {
  Parameter parameter;
  std::unique_ptr<Connections> connections;

  OneLayer(bool masked, const at::Tensor& w, const at::Tensor& flags) {
    parameter.name = "layer";
    if (masked) {
      parameter.value = (w * flags).view({1, kInputs, kOutputs}).clone().requires_grad_(true);
      auto made = std::make_unique<MaskedConnections>(parameter, flags.unsqueeze(0));
      made->set_zero_dormant(true);
      connections = std::move(made);
      return;
    }
    const at::Tensor places = flags.nonzero().view(-1);
    const std::vector<std::int64_t> positions(places.data_ptr<std::int64_t>(),
                                              places.data_ptr<std::int64_t>() + places.numel());
    parameter.value = w.index_select(0, places).clone().requires_grad_(true);
    const std::vector<std::vector<std::int64_t>> of_replicas = {positions};
    connections = std::make_unique<SparseConnections>(parameter, kInputs, kOutputs, of_replicas);
  }

  std::vector<UpdateCounts> update(const TopologyRule& rule, double progress, std::uint64_t key) {
    Start start;
    start.density = 0.4;
    TopologyUpdater updater({connections.get()}, {{"layer", kInputs, kOutputs}}, {rule}, {start},
                            {key});
    return updater.update({{1}, {progress}, {1}}, true);
  }
};

TopologyRule drawn_rule() {
  TopologyRule rule;
  rule.operations = {{Kind::kDrop, "magnitude"}, {Kind::kGrow, "ch3_l3_plain"}};
  rule.operations[0].sampled = rule.operations[1].sampled = true;
  rule.operations[0].sharpness_final = 3;
  rule.drop_fraction = 0.4;
  rule.drop_schedule = TopologyRule::DropSchedule::kConstant;
  return rule;
}

}  // namespace

TEST_CASE("soft removal and growth by hand, the same in both storages, counts exact", "[numeric]") {
  torch::manual_seed(7);
  const at::Tensor w = torch::randn({kPositions}, torch::kDouble);
  const at::Tensor flags = torch::rand({kPositions}, torch::kDouble).lt(0.35).to(torch::kByte);
  const std::int64_t active = flags.sum().item<std::int64_t>();
  const std::int64_t moved = static_cast<std::int64_t>(0.4 * static_cast<double>(active));
  std::set<std::string> results;
  for (const double progress : {0.0, 0.5, 1.0}) {
    for (const std::uint64_t run : {1, 2, 3}) {
      CAPTURE(progress, run);
      const std::uint64_t key = topology_key(run, 0, 1);
      const auto keys = [&](const at::Tensor& scores, double sharpness, Draw draw) {
        at::Tensor all = torch::zeros({kPositions}, torch::kDouble);
        for (std::int64_t i = 0; i < kPositions; ++i) {
          all[i] = sampling_key(scores[i].item<double>(), sharpness, draw_stream(key, draw), i);
        }
        return all.unsqueeze(0);
      };
      // Who stays is drawn: the lowest keys go.
      const at::Tensor dropped = select_rows(keys(w.abs(), 1 + 2 * progress, Draw::kDrop),
                                             flags.unsqueeze(0), {moved}, false)[0];
      const at::Tensor left = flags - dropped;
      const at::Tensor kept = left.nonzero().view(-1);
      const ActiveSet set = ActiveSet::of_positions(std::vector<std::int64_t>(
          kept.data_ptr<std::int64_t>(), kept.data_ptr<std::int64_t>() + kept.numel()));
      const at::Tensor predicted =
          criterion("ch3_l3_plain").of_topology({set, kInputs, kOutputs, 0});
      const at::Tensor grown =
          select_rows(keys(predicted, 1, Draw::kGrow), (1 - left).unsqueeze(0), {moved}, true)[0];
      for (const bool masked : {true, false}) {
        OneLayer layer(masked, w, flags);
        const auto counts = layer.update(drawn_rule(), progress, run);
        REQUIRE(torch::equal(layer.connections->dense_flags()[0], left + grown));
        REQUIRE(counts[0].nnz[0] == active);
        results.insert(counts[0].mask_hash[0]);
      }
    }
  }
  REQUIRE(results.size() == 9);
}

TEST_CASE("relative importance is a weight's share of its input's and of its unit's", "[numeric]") {
  torch::manual_seed(2);
  const at::Tensor w = torch::randn({kInputs, kOutputs}, torch::kDouble);
  const at::Tensor flags = torch::rand({kInputs, kOutputs}, torch::kDouble).lt(0.4);
  const at::Tensor own = (w * flags).abs();
  const at::Tensor expected =
      own / own.sum(1, true).clamp_min(1e-300) + own / own.sum(0, true).clamp_min(1e-300);
  const at::Tensor places = flags.view(-1).nonzero().view(-1);
  const ActiveSet set = ActiveSet::of_positions(std::vector<std::int64_t>(
      places.data_ptr<std::int64_t>(), places.data_ptr<std::int64_t>() + places.numel()));
  const at::Tensor scores =
      criterion("relative_importance")
          .of_topology({set, kInputs, kOutputs, 0, w.view(-1).index_select(0, places)});
  REQUIRE(torch::allclose(scores, expected.view(-1), 1e-12, 1e-12));
  TopologyRule rule;
  rule.operations = {{Kind::kDrop, "relative_importance"}};
  rule.drop_fraction = 0.25;
  rule.drop_schedule = TopologyRule::DropSchedule::kConstant;
  const at::Tensor mask = flags.view(-1).to(torch::kByte);
  const std::int64_t lowest = mask.sum().item<std::int64_t>() / 4;
  const at::Tensor gone =
      select_rows(expected.view({1, -1}), mask.unsqueeze(0), {lowest}, false)[0];
  for (const bool masked : {true, false}) {
    OneLayer layer(masked, w.view(-1), mask);
    layer.update(rule, 0, 1);
    REQUIRE(torch::equal(layer.connections->dense_flags()[0], mask - gone));
  }
}

TEST_CASE("draws that nothing can be in proportion to are config errors", "[numeric]") {
  const at::Tensor w = torch::ones({kPositions}, torch::kDouble);
  OneLayer layer(true, w, torch::ones({kPositions}, torch::kByte));
  for (const std::string name : {"random", "set_signed"}) {
    TopologyRule rule = drawn_rule();
    rule.operations[0].criterion = name;
    REQUIRE_THROWS_WITH(layer.update(rule, 0, 1), Catch::Contains("no scores to draw"));
  }
  TopologyRule rule = drawn_rule();
  rule.operations[0].whole_net = true;
  REQUIRE_THROWS_WITH(layer.update(rule, 0, 1), Catch::Contains("within a layer"));
}

TEST_CASE("ITOP's random_unfired covers as much as it can, and knows what fired", "[numeric]") {
  Settings said = busy_method("itop", "sgd", 60, 4);
  said["grow_by"] = "random_unfired";
  said["drop_fraction"] = "0.4";
  said["drop_schedule"] = "constant";
  said["density"] = "0.25";
  said["budget"] = "uniform";
  Trainer trainer({small_run(said)}, {});
  trainer.begin_stage(0);
  const std::vector<Linear*> linears = trainer.model().linears();
  const auto flags_of = [&](std::size_t l) {
    return linears[l]->connections->dense_flags()[0].clone();
  };
  std::vector<at::Tensor> fired, mask;
  std::vector<std::int64_t> covered;
  for (std::size_t l = 0; l < linears.size(); ++l) {
    mask.push_back(flags_of(l));
    fired.push_back(mask[l].clone());
    covered.push_back(mask[l].sum().item<std::int64_t>());
    REQUIRE(torch::equal(linears[l]->weight.slot("fired").ne(0), mask[l].ne(0)));
  }
  int updates = 0, exhausted = 0;
  for (std::int64_t step = 0; step < 60; ++step) {
    if (!trainer.advance(0, step, 1).updated[0]) continue;
    ++updates;
    for (std::size_t l = 0; l < linears.size(); ++l) {
      CAPTURE(step, l);
      const std::int64_t n = linears[l]->connections->positions();
      const at::Tensor now = flags_of(l);
      const std::int64_t active = mask[l].sum().item<std::int64_t>();
      REQUIRE(now.sum().item<std::int64_t>() == active);
      const auto grown = static_cast<std::int64_t>(std::floor(0.4 * static_cast<double>(active)));
      const std::int64_t unfired = n - covered[l];
      const std::int64_t new_ones = (now * (1 - fired[l])).sum().item<std::int64_t>();
      REQUIRE(new_ones == std::min(grown, unfired));  // none that has fired, while there are others
      fired[l] = fired[l].bitwise_or(now);
      covered[l] = std::min(n, covered[l] + grown);
      REQUIRE(fired[l].sum().item<std::int64_t>() == covered[l]);
      REQUIRE(torch::equal(linears[l]->weight.slot("fired").ne(0), fired[l].ne(0)));
      exhausted += covered[l] == n;
      mask[l] = now;
    }
  }
  REQUIRE(updates == 14);
  REQUIRE(exhausted > 3);
  REQUIRE(exhausted < 3 * updates);
}

TEST_CASE("random_unfired grows every unfired position alike", "[numeric]") {
  const at::Tensor w = torch::ones({kPositions}, torch::kDouble);
  at::Tensor flags = torch::zeros({kPositions}, torch::kByte);
  flags.narrow(0, 0, kPositions / 2).fill_(1);
  TopologyRule rule;
  rule.operations = {{Kind::kGrow, "random_unfired"}};
  rule.drop_fraction = 0.2;
  rule.drop_schedule = TopologyRule::DropSchedule::kConstant;
  constexpr std::int64_t kRuns = 4000;
  at::Tensor counts = torch::zeros({kPositions}, torch::kLong);
  for (std::uint64_t run = 0; run < kRuns; ++run) {
    OneLayer layer(true, w, flags);
    layer.update(rule, 0, run);
    counts += layer.connections->dense_flags()[0] - flags;
  }
  const double share = std::floor(0.2 * kPositions / 2) / (kPositions / 2);
  for (std::int64_t i = 0; i < kPositions; ++i) {
    require_share(counts[i].item<std::int64_t>(), kRuns, i < kPositions / 2 ? 0 : share);
  }
}

}  // namespace tandem::test::topology_draws_numeric
