// A run's result does not depend on the company it keeps: the same rows, to the bit, alone and in a
// group whose other members differ in all that may differ.
#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "data/tensor.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "train/trainer.h"

namespace tandem::test::train_company_parity {

using namespace tandem::test;

namespace {

void require_same_results(const std::vector<Config>& group) {
  GroupSpec together;
  together.runs = group;
  MemorySink company;
  run_group(together, company);
  for (const Config& config : group) {
    GroupSpec single;
    single.runs = {config};
    MemorySink alone;
    run_group(single, alone);
    std::size_t compared = 0;
    const auto in_company = company.results();
    for (const auto& [key, line] : alone.results()) {
      CAPTURE(key.second);
      REQUIRE(in_company.at(key) == line);
      ++compared;
    }
    REQUIRE(compared > 5);
  }
}

}  // namespace

TEST_CASE("every weights method gives the same bits alone and in company", "[parity]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    CAPTURE(name);
    const Settings base = {{"weights", name}, {"epochs", "2"}, {"curve", "true"}};
    Settings second = base, third = base;
    second["seed"] = "2";
    second["lr"] = "0.02";
    third["seed"] = "3";
    third["density"] = "0.4";
    third["weight_decay"] = "0.001";
    if (group_key(small_run(third)) != group_key(small_run(base))) third.erase("density");
    require_same_results({small_run(base), small_run(second), small_run(third)});
  }
}

TEST_CASE("every kind of draw and alignment gives the same bits alone and in company", "[parity]") {
  const std::vector<Settings> kinds = {
      {{"weights_draw", "layer"}, {"weights_distance", "cosine"}},
      {{"weights_draw", "layer"}, {"weights_align_every", "3"}, {"superset_density", "0.6"}},
      {{"superset_density", "0.6"}, {"superset_outside", "zero"}, {"storage", "sparse"}},
      {{"weights_gap_target", "0.05"}, {"layer_norm", "true"}, {"weights_site", "norm"}},
      {{"weights_gap_target", "0.05"}, {"weights_counterpart", "propagated"}},
      {{"weights_shuffle_target", "true"}, {"weights_distance", "relative_mse"}},
      {{"weights_nested", "1,0.5,0.2"}, {"refresh_interval", "5"}, {"weights_align_every", "2"}},
      {{"weights_nested", "1,0.5"}, {"weights_detach", "true"}, {"weights_draw", "layer"}},
      {{"weights_detach", "true"}, {"weights_distance", "cosine"}, {"weights_site", "post"}},
      {{"dormant_decay", "0.01"}, {"dormant_decay_when", "always"}},
      {{"weights_draw_steps", "3"}, {"weights_p_schedule", "linear"}}};
  for (Settings base : kinds) {
    CAPTURE(base);
    base["weights"] = "ssa";
    base["epochs"] = "2";
    Settings second = base, third = base;
    second["seed"] = "2";
    second["weights_alpha"] = "3";
    second["weights_p"] = "0.2";
    third["seed"] = "3";
    third["density"] = "0.4";
    if (base.count("weights_gap_target") != 0) third["weights_gap_target"] = "0.2";
    if (base.count("dormant_decay") != 0) third["dormant_decay"] = "0.1";
    require_same_results({small_run(base), small_run(second), small_run(third)});
  }
}

TEST_CASE("a run that nobody wants any more stands still, and the others go on", "[parity]") {
  const Config frozen = small_run({{"weights", "set"}}),
               wanted = small_run({{"weights", "set"}, {"seed", "2"}});
  MemorySink alone, company;
  GroupSpec spec;
  spec.runs = {wanted};
  run_group(spec, alone);
  spec.runs = {frozen, wanted};
  spec.frozen = {frozen.id()};
  run_group(spec, company);
  REQUIRE(alone.results().size() > 5);
  REQUIRE(company.results() == alone.results());
  Trainer trainer({frozen, wanted}, {});
  trainer.freeze(0);
  const at::Tensor weight = trainer.model().linears().front()->weight.value.detach();
  const at::Tensor before = weight.clone();
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < 15; ++s) trainer.advance(0, s, 1);
  REQUIRE(torch::equal(weight[0], before[0]));
  REQUIRE(trainer.steps_of(0) == 0);
  REQUIRE_FALSE(torch::equal(weight[1], before[1]));
  REQUIRE(trainer.steps_of(1) == 15);
}

TEST_CASE("a batch of one and a class order of its own change nothing either", "[parity]") {
  require_same_results({small_run({{"batch", "1"}, {"steps", "20"}}),
                        small_run({{"batch", "1"}, {"steps", "20"}, {"seed", "5"}})});
  const Settings split = {
      {"scenario", "class_il"}, {"class_order", "random"}, {"strategy", "er"}, {"buffer", "20"},
      {"replay_batch", "8"},    {"epochs", "1"},           {"batch", "8"}};
  Settings other = split;
  other["seed"] = "9";
  require_same_results({small_run(split), small_run(other)});
}

// The length of a task's split, by which a batch of evaluation is filled, differs from run to run.
TEST_CASE("splits of other sizes in a group change no row", "[parity]") {
  for (const auto& [scenario, factory] : scenarios().all()) {
    const std::vector<std::string>& uses = part("scenario", scenario).uses;
    if (std::count(uses.begin(), uses.end(), "class_order") == 0) continue;
    for (const auto& [weights, strategy] :
         {std::pair("ssa", "er"), std::pair("rigl_teacher", "finetune")}) {
      CAPTURE(scenario, weights, strategy);
      Settings said = {{"scenario", scenario}, {"class_order", "random"}, {"weights", weights},
                       {"strategy", strategy}, {"epochs", "1"},           {"batch", "16"},
                       {"curve", "true"},      {"validation", "0.0004"}};
      if (said["strategy"] == "er") said.insert({{"buffer", "20"}, {"replay_batch", "8"}});
      std::vector<Config> runs;
      std::set<std::size_t> sizes;
      for (const std::string seed : {"1", "2", "3"}) {
        said["seed"] = seed;
        runs.push_back(small_run(said));
        const TaskSequence own = make_tasks(runs.back(), *load_dataset(runs.back()));
        for (const Task& task : own.tasks) sizes.insert(task.validation.size());
      }
      REQUIRE(sizes.size() > 4);
      require_same_results(runs);
    }
  }
}

TEST_CASE("a transformer's run is the same alone and in company", "[parity]") {
  const Settings base = small_transformer({{"steps", "8"},
                                           {"attention", "ssa"},
                                           {"weights", "rigl"},
                                           {"update_interval", "3"},
                                           {"evaluation_windows", "6"}});
  Settings other = base;
  other["seed"] = "2";
  require_same_results({Config::resolve(base), Config::resolve(other)});
}

}  // namespace tandem::test::train_company_parity
