// Random sequences of topology updates against what must hold after each of them, and a run alone
// against the same run in company.
#include <catch2/catch.hpp>
#include <memory>
#include <random>

#include "data/tensor.h"
#include "support/topology_support.h"
#include "topology/granularity.h"
#include "topology/masked_connections.h"
#include "topology/random_ranks.h"
#include "topology/topology_update.h"

namespace tandem::test::topology_updates_property {
namespace {

using Kind = TopologyOperation::Kind;

// One layer of a group; replica r belongs to run runs[r], which keys all that is random about it.
struct Group {
  std::vector<std::int64_t> runs;
  Parameter parameter;
  std::unique_ptr<MaskedConnections> connections;
  std::vector<std::uint64_t> keys;
  LayerShape shape{"layer", 13, 9, false};
  std::vector<Start> starts;

  Group(std::vector<std::int64_t> run_numbers, std::uint64_t seed, const Granularity& granularity)
      : runs(std::move(run_numbers)) {
    const bool shared = granularity.kind == Granularity::Kind::kNm;
    std::vector<at::Tensor> values;
    for (const std::int64_t run : runs) {
      keys.push_back(stream_key(seed + static_cast<std::uint64_t>(run), "topology"));
      values.push_back(normal(run, 0));
      Start start;
      start.pattern = Start::Pattern::kRandom;
      start.budget = Start::Budget::kUniform;
      start.density = shared ? 0.5 : 0.2 + 0.1 * static_cast<double>(run);
      start.granularity = granularity;
      starts.push_back(start);
    }
    parameter.name = "layer.weight";
    parameter.value = torch::stack(values).requires_grad_(true);
    connections = std::make_unique<MaskedConnections>(
        parameter, test::start_masks(starts, {shape}, {parameter.value}, keys)[0]);
    connections->set_zero_dormant(true);
    connections->set_granularity(granularity);
    parameter.slot("momentum");
    parameter.slot("age", 3);
  }
  // Draws of a run for one purpose, [in,out].
  at::Tensor normal(std::int64_t run, std::int64_t purpose) const {
    at::Tensor draws = torch::empty({shape.positions()}, torch::kDouble);
    for (std::int64_t i = 0; i < shape.positions(); ++i) {
      const auto key = sub_key(stream_key(run, "test"), purpose);
      draws.data_ptr<double>()[i] = normal_at({key}, i);
    }
    return draws.view({shape.inputs, shape.outputs});
  }
  // What training does between updates: the active values move, slots follow, G is dense.
  void train(std::int64_t update) {
    std::vector<at::Tensor> steps, gradients;
    for (const std::int64_t run : runs) {
      steps.push_back(normal(run, 2 * update + 1));
      gradients.push_back(normal(run, 2 * update + 2));
    }
    const at::Tensor step = torch::stack(steps).view(-1) * connections->active_flags();
    parameter.flat().add_(step);
    parameter.slot("momentum").add_(step);
    parameter.value.mutable_grad() = torch::stack(gradients);
  }
  at::Tensor row(const at::Tensor& flat, std::int64_t r) const {
    return flat.view({static_cast<std::int64_t>(runs.size()), -1})[r].clone();
  }
};

Granularity random_granularity(std::mt19937_64& random) {
  const Granularity all[] = {{},
                             {.kind = Granularity::Kind::kFanIn},
                             {.kind = Granularity::Kind::kNm, .n = 2, .m = 4},
                             {.kind = Granularity::Kind::kBlock, .block = 4}};
  return all[random() % 4];
}

// Those that the granularity can carry.
std::vector<TopologyOperation> random_operations(std::mt19937_64& random,
                                                 const Granularity& granularity) {
  const bool blocks = granularity.kind == Granularity::Kind::kBlock;
  const bool whole_net = blocks || granularity.kind == Granularity::Kind::kElement;
  const std::size_t signed_too = blocks ? 2 : 3;
  const std::string drops[] = {"magnitude", "random", "set_signed"};
  const std::string grows[] = {"gradient", "random"};
  switch (random() % 4) {
    case 0:
      return {{Kind::kDrop, drops[random() % signed_too], false},
              {Kind::kGrow, grows[random() % 2], false}};
    case 1:
      return {{Kind::kGrow, grows[random() % 2], false}, {Kind::kDrop, drops[random() % 2], false}};
    case 2:
      return {{Kind::kDrop, drops[random() % 2], whole_net},
              {Kind::kGrow, grows[random() % 2], whole_net}};
    default:
      if (granularity.kind == Granularity::Kind::kNm) return {{Kind::kRank, "magnitude", false}};
      return {{Kind::kPruneTo, drops[random() % 2], false},
              {Kind::kDrop, drops[random() % signed_too], false},
              {Kind::kGrow, grows[random() % 2], false}};
  }
}

// What every update leaves: as many items as before, and every group at its quota.
void check_granularity_of(const Group& group, const Granularity& granularity, std::int64_t r,
                          const at::Tensor& before, const at::Tensor& now) {
  const Grouping grouping(granularity, group.shape.inputs, group.shape.outputs);
  const at::Tensor was = before.to(torch::kByte).unsqueeze(0),
                   is = now.to(torch::kByte).unsqueeze(0);
  const at::Tensor items = grouping.item_flags(is);
  CHECK(items.sum().equal(grouping.item_flags(was).sum()));
  CHECK(group.connections->active_items(r) == items.sum().item<std::int64_t>());
  CHECK(grouping.position_flags(items).equal(is));
  if (!grouping.has_quotas()) return;
  CHECK(grouping.held(is).equal(grouping.quotas({group.connections->active(r)})));
}

UpdateMoment moment_of(const std::vector<std::int64_t>& runs, std::int64_t update) {
  UpdateMoment moment;
  for (const std::int64_t run : runs) {
    moment.due.push_back((update + run) % 3 != 0);  // runs have intervals of their own
    moment.progress.push_back(static_cast<double>(update) / 12);
    moment.number.push_back(update);
  }
  return moment;
}

}  // namespace

TEST_CASE("masks, values and slots agree after any sequence of updates", "[property]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int sequence = 0; sequence < 24; ++sequence) {
    TopologyRule rule;
    const Granularity granularity = random_granularity(random);
    rule.operations = random_operations(random, granularity);
    rule.drop_fraction = 0.1 + 0.2 * static_cast<double>(random() % 4);
    rule.regrown = random() % 2 ? TopologyRule::Regrown::kKeep : TopologyRule::Regrown::kZero;
    rule.newborn_sd = random() % 2 ? 0.1 : 0;
    Group group({0, 1, 2}, seed, granularity);
    TopologyUpdater updater({group.connections.get()}, {group.shape},
                            std::vector<TopologyRule>(3, rule), group.starts, group.keys);
    for (std::int64_t update = 1; update <= 10; ++update) {
      CAPTURE(sequence, update, static_cast<int>(granularity.kind), rule.operations[0].criterion,
              rule.operations.back().criterion);
      group.train(update);
      const auto flags = group.connections->active_flags().clone();
      const auto values = group.parameter.flat().clone();
      const auto momentum = group.parameter.slot("momentum").clone();
      const auto moment = moment_of(group.runs, update);
      const auto report = updater.update(moment, true)[0];
      for (std::int64_t r = 0; r < 3; ++r) {
        const auto before = group.row(flags, r).ne(0);
        const auto now = group.row(group.connections->active_flags(), r).ne(0);
        const auto w = group.row(group.parameter.flat(), r);
        const auto m = group.row(group.parameter.slot("momentum"), r);
        CHECK(group.connections->active(r) == now.sum().item<std::int64_t>());
        CHECK(report.nnz[r] == group.connections->active(r));
        CHECK(report.dropped[r] == (before & ~now).sum().item<std::int64_t>());
        CHECK(report.grown[r] == (now & ~before).sum().item<std::int64_t>());
        check_granularity_of(group, granularity, r, before, now);
        CHECK(w.masked_select(~now).eq(0).all().item<bool>());
        CHECK(m.masked_select(~now).eq(0).all().item<bool>());
        CHECK(group.row(group.parameter.slot("age"), r)
                  .masked_select(now & ~before)
                  .eq(3)
                  .all()
                  .item<bool>());
        CHECK(m.masked_select(now & ~before).eq(0).all().item<bool>());
        const auto born = w.masked_select(now & ~before);
        CHECK(born.eq(0).all().item<bool>() == (rule.newborn_sd == 0 || born.numel() == 0));
        const auto unchanged = w.eq(group.row(values, r)) & m.eq(group.row(momentum, r));
        if (!moment.due[r]) {
          CHECK(now.equal(before));
          CHECK(unchanged.all().item<bool>());
        } else if (rule.regrown == TopologyRule::Regrown::kKeep) {
          CHECK(unchanged.masked_select(now & before).all().item<bool>());
        }
      }
    }
  }
}

TEST_CASE("a run's updates do not depend on its company", "[property]") {
  const auto seed = std::random_device{}();
  CAPTURE(seed);
  std::mt19937_64 random(seed);
  for (int sequence = 0; sequence < 24; ++sequence) {
    TopologyRule rule;
    const Granularity granularity = random_granularity(random);
    rule.operations = random_operations(random, granularity);
    rule.newborn_sd = random() % 2 ? 0.1 : 0;
    const std::vector<std::int64_t> runs = {0, 1, 2};
    std::vector<std::unique_ptr<Group>> groups;  // all three together, then each alone
    groups.push_back(std::make_unique<Group>(runs, seed, granularity));
    for (const std::int64_t run : runs) {
      groups.push_back(std::make_unique<Group>(std::vector<std::int64_t>{run}, seed, granularity));
    }
    std::vector<TopologyUpdater> updaters;
    for (const auto& group : groups) {
      updaters.emplace_back(std::vector<Connections*>{group->connections.get()},
                            std::vector<LayerShape>{group->shape},
                            std::vector<TopologyRule>(group->runs.size(), rule), group->starts,
                            group->keys);
    }
    for (std::int64_t update = 1; update <= 6; ++update) {
      CAPTURE(sequence, update, static_cast<int>(granularity.kind), rule.operations[0].criterion,
              rule.operations.back().criterion);
      std::vector<UpdateCounts> reports;
      for (std::size_t g = 0; g < groups.size(); ++g) {
        groups[g]->train(update);
        reports.push_back(updaters[g].update(moment_of(groups[g]->runs, update), true)[0]);
      }
      for (std::int64_t r = 0; r < 3; ++r) {
        const Group& alone = *groups[r + 1];
        CHECK(groups[0]->connections->active_set(r).positions() ==
              alone.connections->active_set(0).positions());
        CHECK(groups[0]->row(groups[0]->parameter.flat(), r).equal(alone.parameter.flat()));
        CHECK(groups[0]
                  ->row(groups[0]->parameter.slots.at("momentum").values, r)
                  .equal(alone.parameter.slots.at("momentum").values));
        CHECK(reports[0].mask_hash[r] == reports[r + 1].mask_hash[0]);
      }
    }
  }
}

}  // namespace tandem::test::topology_updates_property
