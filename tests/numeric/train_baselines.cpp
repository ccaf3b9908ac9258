// Controls and baselines step by step: random masks, phases, the warm-up of alignment, the decay of
// powerpropagation.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "data/tensor.h"
#include "methods/method.h"
#include "support/layer_state.h"
#include "support/method_rules.h"
#include "support/step_support.h"
#include "topology/active_set.h"
#include "topology/connections.h"
#include "train/trainer.h"

namespace tandem::test::train_baselines_numeric {

using namespace tandem::test;

namespace {

std::unique_ptr<Trainer> started(const Settings& said, const TrainerOptions& options = {}) {
  auto trainer = std::make_unique<Trainer>(std::vector{small_run(said)}, options);
  trainer->begin_stage(0);
  return trainer;
}

at::Tensor weight_of(const Linear& layer) {
  return layer.weight.value.detach().reshape({-1}).clone();
}

at::Tensor flags_of(const Linear& layer) { return layer.connections->dense_flags()[0].ne(0); }

std::int64_t count(const at::Tensor& flags) { return flags.sum().item<std::int64_t>(); }

}  // namespace

TEST_CASE("random masks: another one of the exact budget at every step", "[numeric]") {
  const Settings said = {{"weights", "random_masks"}, {"steps", "12"}};
  Settings reseeded = said;
  reseeded["seed_topology"] = "7";
  auto own = started(said), same = started(said), other = started(reseeded);
  REQUIRE(
      torch::equal(weight_of(*own->model().linears()[0]), weight_of(*other->model().linears()[0])));
  // Layers of 784 x 37, 37 x 23 and 23 x 10 share 0.2 x 30089 weights in proportion to 821, 60 and
  // 33 inputs and outputs, of 914: 5405.5, 395.04 and 217.3, rounded up.
  const std::vector<std::int64_t> budget = {5406, 396, 218};
  std::vector<std::set<std::string>> seen(budget.size());
  at::Tensor before;
  for (std::int64_t step = 0; step < 12; ++step) {
    CAPTURE(step);
    for (std::size_t l = 0; l < budget.size(); ++l) {
      const Linear& layer = *own->model().linears()[l];
      REQUIRE(layer.connections->active(0) == budget[l]);
      REQUIRE(count(flags_of(layer)) == budget[l]);
      REQUIRE(seen[l].insert(layer.connections->active_set(0).hash()).second);
      REQUIRE(other->model().linears()[l]->connections->active_set(0).hash() !=
              layer.connections->active_set(0).hash());
    }
    // Two draws of 5406 of 29008 share 5406^2 / 29008 = 1007.5 on average, standard deviation 26.
    const at::Tensor flags = flags_of(*own->model().linears()[0]);
    if (step > 0) REQUIRE(std::abs(count(flags.logical_and(before)) - 1007.5) < 5 * 26);
    before = flags;
    REQUIRE(mask_hashes(*own) == mask_hashes(*same));
    own->advance(0, step, 1);
    same->advance(0, step, 1);
    other->advance(0, step, 1);
  }
}

namespace {

struct Phased {
  std::string method;
  std::string course;                      // the stream of each step: full or sparse
  std::vector<std::int64_t> pruned_after;  // steps
  bool whole_net = false;
};

// Phases begin at their shares of 40 steps, rounded.
std::vector<Phased> phased_methods() {
  return {
      // 0.333 x 40 = 13.3, 0.667 x 40 = 26.7.
      {"dsd", "FFFFFFFFFFFFFSSSSSSSSSSSSSSFFFFFFFFFFFFF", {12}},
      {"prune_finetune", "FFFFFFFFFFFFFFFFFFFFSSSSSSSSSSSSSSSSSSSS", {19}},
      // 4, 6, 8, .. 30 and 34.
      {"acdc", "FFFFSSFFSSFFSSFFSSFFSSFFSSFFSSFFFFSSSSSS", {3, 7, 11, 15, 19, 23, 27, 33}, true},
  };
}

std::unique_ptr<Trainer> started(const Phased& phased, const TrainerOptions& options = {}) {
  return started({{"weights", phased.method}, {"steps", "40"}}, options);
}

// |w| of what a pruning kept and of what it dropped, in one layer.
struct Pruned {
  double smallest_kept = 0, largest_dropped = 0;
};

Pruned pruned(const at::Tensor& found, const at::Tensor& kept) {
  return {found.masked_select(kept).abs().min().item<double>(),
          found.masked_select(kept.logical_not()).abs().max().item<double>()};
}

// A pruning keeps the largest weights of each layer, or of the net.
void require_largest_kept(const std::vector<Pruned>& layers, bool whole_net) {
  Pruned net = layers.front();
  for (const Pruned& layer : layers) {
    if (!whole_net) REQUIRE(layer.smallest_kept >= layer.largest_dropped);
    net.smallest_kept = std::min(net.smallest_kept, layer.smallest_kept);
    net.largest_dropped = std::max(net.largest_dropped, layer.largest_dropped);
  }
  REQUIRE((net.smallest_kept >= net.largest_dropped) == whole_net);
}

bool all_zero(const at::Tensor& values, const at::Tensor& where) {
  return !values.ne(0).logical_and(where).any().item<bool>();
}

}  // namespace

TEST_CASE("phases: streams, prunings, and dormant weights that come back at zero", "[numeric]") {
  for (const Phased& phased : phased_methods()) {
    CAPTURE(phased.method);
    auto trainer = started(phased);
    std::vector<at::Tensor> found;  // weights as an update finds them
    trainer->before_update = [&](const std::vector<char>&) {
      for (const Linear* layer : trainer->model().linears()) found.push_back(weight_of(*layer));
    };
    std::string course;
    std::vector<std::int64_t> pruned_after;
    std::size_t changes = 0;  // of masks; two full steps need not bring forth another order
    for (std::int64_t step = 0; step < 40; ++step) {
      CAPTURE(step);
      const std::string masks = mask_hashes(*trainer);
      const auto before = layer_states(*trainer, 0);
      const bool begins_full = step > 0 && phased.course.substr(step - 1, 2) == "SF";
      const StepReport report = trainer->advance(0, step, 1);
      const auto after = layer_states(*trainer, 0);
      bool dormant_move = false;
      std::vector<Pruned> layers;
      for (std::size_t l = 0; l < before.size(); ++l) {
        const at::Tensor dormant = before[l].active.logical_not();
        if (begins_full) REQUIRE(all_zero(before[l].values, dormant));
        dormant_move = dormant_move || !same_bits(before[l].values, after[l].values, dormant);
        if (report.updated[0] == 0) continue;
        REQUIRE(all_zero(after[l].values, after[l].active.logical_not()));
        REQUIRE(all_zero(after[l].slots.at("momentum").values, after[l].active.logical_not()));
        layers.push_back(pruned(found[l], after[l].active));
      }
      course += dormant_move ? 'F' : 'S';
      if (report.updated[0] == 0) {
        REQUIRE(mask_hashes(*trainer) == masks);
        continue;
      }
      changes += mask_hashes(*trainer) != masks;
      pruned_after.push_back(step);
      require_largest_kept(layers, phased.whole_net);
      found.clear();
    }
    REQUIRE(course == phased.course);
    REQUIRE(pruned_after == phased.pruned_after);
    REQUIRE(changes >= std::min<std::size_t>(2, pruned_after.size()));
  }
}

TEST_CASE("phases are planned as they run, momentum is emptied by AC/DC alone", "[numeric]") {
  for (const Phased& phased : phased_methods()) {
    CAPTURE(phased.method);
    auto trainer = started(phased);
    const RunSchedule& run = trainer->run(0);
    for (std::int64_t step = 0; step < 40; ++step) {
      CAPTURE(step);
      const std::string own = phased.course.substr(step, 2);
      const ReplicaPlan plan = plan_replica(run, 0, step);
      REQUIRE(plan.levels.weights.full == (own[0] == 'F'));
      REQUIRE(plan.enters_sparse == (own == "FS"));
      REQUIRE(plan.enters_full == (own == "SF"));
      // The last of DSD's phases begins with step 27 at a tenth of lr = 0.05.
      REQUIRE(plan.lr == Approx(phased.method == "dsd" && step >= 27 ? 0.005 : 0.05));
      trainer->advance(0, step, 1);
      if (own != "SF") continue;
      double momentum = 0;
      for (Parameter* parameter : trainer->model().parameters()) {
        momentum += parameter->slot("momentum").abs().sum().item<double>();
      }
      REQUIRE((momentum == 0) == (phased.method == "acdc"));
    }
  }
}

TEST_CASE("DSD's last phase steps a tenth as far", "[numeric]") {
  Settings said = {{"weights", "dsd"}, {"steps", "40"}};
  auto own = std::make_unique<Trainer>(std::vector{plain_run(said)}, in_double());
  said["last_phase_lr"] = "1";
  auto undamped = std::make_unique<Trainer>(std::vector{plain_run(said)}, in_double());
  own->begin_stage(0);
  undamped->begin_stage(0);
  for (std::int64_t step = 0; step < 27; ++step) {
    own->advance(0, step, 1);
    undamped->advance(0, step, 1);
  }
  std::vector<at::Tensor> before;
  for (Parameter* parameter : own->model().parameters()) {
    before.push_back(parameter->value.detach().clone());
  }
  own->advance(0, 27, 1);
  undamped->advance(0, 27, 1);
  for (std::size_t i = 0; i < before.size(); ++i) {
    REQUIRE(torch::equal(own->model().parameters()[i]->value.detach() - before[i] != 0,
                         undamped->model().parameters()[i]->value.detach() - before[i] != 0));
    const at::Tensor step = own->model().parameters()[i]->value.detach() - before[i];
    const at::Tensor whole = undamped->model().parameters()[i]->value.detach() - before[i];
    REQUIRE(whole.abs().max().item<double>() > 0);
    REQUIRE(torch::allclose(step, 0.1 * whole, 1e-9, 1e-12));
  }
}

namespace {

RunSchedule planned(const Config& config) {
  return {config, policies_of(config), make_timeline(config, {320})};
}

}  // namespace

TEST_CASE("alpha warms up by (step + 1) / warm-up and then stays", "[numeric]") {
  const RunSchedule weights =
      planned(small_run({{"weights", "ssa"}, {"steps", "20"}, {"weights_alpha_warmup", "4"}}));
  const std::vector<double> alphas = {2.5, 5, 7.5, 10, 10, 10};  // of 10
  for (std::size_t s = 0; s < alphas.size(); ++s) {
    CAPTURE(s);
    CHECK(plan_replica(weights, 0, static_cast<std::int64_t>(s)).levels.weights.alpha == alphas[s]);
  }
  CHECK(plan_replica(weights, 0, 19).levels.weights.alpha == 10);
  // Steps that don't align count too.
  const RunSchedule rare = planned(small_run({{"weights", "sandwich"},
                                              {"weights_alpha", "8"},
                                              {"weights_align_every", "3"},
                                              {"weights_alpha_warmup", "8"},
                                              {"steps", "20"}}));
  const std::vector<double> of_rare = {1, 0, 0, 4, 0, 0, 7, 0, 0, 8, 0, 0, 8};
  for (std::size_t s = 0; s < of_rare.size(); ++s) {
    CAPTURE(s);
    CHECK(plan_replica(rare, 0, static_cast<std::int64_t>(s)).levels.weights.alpha == of_rare[s]);
  }
  const RunSchedule attention = planned(Config::resolve(
      small_transformer({{"attention", "ssa"}, {"steps", "20"}, {"attention_alpha_warmup", "5"}})));
  CHECK(plan_replica(attention, 0, 0).levels.attention.alpha == 2);
  CHECK(plan_replica(attention, 0, 3).levels.attention.alpha == 8);
  CHECK(plan_replica(attention, 0, 4).levels.attention.alpha == 10);
  CHECK(plan_replica(attention, 0, 19).levels.attention.alpha == 10);
  // Without a warm-up the first step has all of it.
  CHECK(plan_replica(planned(small_run({{"weights", "ssa"}})), 0, 0).levels.weights.alpha == 10);
}

TEST_CASE("a step in the warm-up is that of a run with its alpha", "[numeric]") {
  const auto after_one = [](const Settings& said) {
    Settings all = {{"weights", "ssa"}};
    all.insert(said.begin(), said.end());
    Trainer trainer({plain_run(all)}, in_double());
    trainer.begin_stage(0);
    trainer.advance(0, 0, 1);
    return weight_of(*trainer.model().linears()[1]);
  };
  // 8 x 1 / 4 = 2.
  const at::Tensor warming = after_one({{"weights_alpha", "8"}, {"weights_alpha_warmup", "4"}});
  REQUIRE(torch::equal(warming, after_one({{"weights_alpha", "2"}})));
  REQUIRE_FALSE(torch::allclose(warming, after_one({{"weights_alpha", "8"}})));
}

TEST_CASE("powerpropagation decays v, w = v |v|", "[numeric]") {
  const Settings said = {{"weights", "powerprop"}, {"lr", "0.1"}};
  Settings decayed = said;
  decayed["weight_decay"] = "0.5";
  auto with = std::make_unique<Trainer>(std::vector{plain_run(decayed)}, in_double());
  auto without = std::make_unique<Trainer>(std::vector{plain_run(said)}, in_double());
  with->begin_stage(0);
  without->begin_stage(0);
  const Linear& decays = *with->model().linears()[0];
  const at::Tensor start = weight_of(decays);
  with->advance(0, 0, 1);
  without->advance(0, 0, 1);
  // v <- v - 0.1 (2 |v| g + 0.5 v): what differs from the run without decay is 0.05 v.
  const auto root = [](const at::Tensor& w) { return w.sign() * w.abs().sqrt(); };
  const at::Tensor after = weight_of(decays);
  const at::Tensor apart = root(weight_of(*without->model().linears()[0])) - root(after);
  REQUIRE(torch::allclose(apart, 0.05 * root(start), 1e-9, 1e-12));
  // Where the gradient is zero, v is 0.95 of itself and w 0.9025; decay of w would leave 0.95.
  const at::Tensor still = weight_of(*without->model().linears()[0]).eq(start);
  REQUIRE(count(still) > 0);
  REQUIRE(torch::allclose(after.masked_select(still), 0.9025 * start.masked_select(still), 1e-9,
                          1e-12));
}

}  // namespace tandem::test::train_baselines_numeric
