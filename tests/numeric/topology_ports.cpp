// Options of a topology update on which published ports disagree: what may regrow, what dormant
// weights hold and newborn ones start from, whose optimizer state is emptied, and how old Adam
// takes a newborn for.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <iterator>

#include "core/error.h"
#include "data/tensor.h"
#include "support/train_support.h"
#include "topology/active_set.h"
#include "topology/connections.h"
#include "topology/storage.h"
#include "train/trainer.h"

namespace tandem::test::topology_ports_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kUpdateAfter = 5;  // steps

// A trainer of one small run, stopped right before its first topology update.
struct AtUpdate {
  explicit AtUpdate(Settings said, Storage storage = Storage::kMasked) {
    const Settings base = {{"steps", "40"},
                           {"update_interval", std::to_string(kUpdateAfter)},
                           {"update_interval_epochs", "0"},
                           {"update_order", "step_then_update"},
                           {"drop_schedule", "constant"}};
    said.insert(base.begin(), base.end());
    TrainerOptions options;
    options.dtype = torch::kDouble;
    options.storage = std::vector<Storage>(3, storage);
    trainer = std::make_unique<Trainer>(std::vector{small_run(said)}, options);
    trainer->begin_stage(0);
    for (std::int64_t s = 0; s + 1 < kUpdateAfter; ++s) trainer->advance(0, s, 1);
  }
  void update() {
    const StepReport report = trainer->advance(0, kUpdateAfter - 1, 1);
    REQUIRE(report.updated[0]);
  }
  Linear& layer() const { return *trainer->model().linears().front(); }
  at::Tensor values() const { return layer().weight.flat().detach().clone(); }
  at::Tensor active() const { return layer().connections->active_flags().ne(0).clone(); }
  // Positions, whatever the storage.
  std::vector<std::int64_t> positions() const {
    return layer().connections->active_sets({1})[0].positions();
  }
  std::unique_ptr<Trainer> trainer;
};

std::int64_t count(const at::Tensor& flags) { return flags.sum().item<std::int64_t>(); }

std::int64_t common(const std::vector<std::int64_t>& a, const std::vector<std::int64_t>& b) {
  std::vector<std::int64_t> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return static_cast<std::int64_t>(both.size());
}

}  // namespace

TEST_CASE("what an update drops may regrow in it, or not", "[numeric]") {
  for (const std::string method : {"rigl", "set"}) {
    for (const Storage storage : {Storage::kMasked, Storage::kSparse}) {
      CAPTURE(method, storage_name(storage));
      const auto survivors = [&](const std::string& said) {
        Settings settings = {{"weights", method},
                             {"density", "0.4"},
                             {"drop_fraction", "0.5"},
                             {"regrow_dropped", said}};
        if (method == "set") settings["drop_rule"] = "magnitude";
        AtUpdate run(settings, storage);
        const auto before = run.positions();
        run.update();
        const auto after = run.positions();
        REQUIRE(after.size() == before.size());
        return std::pair(common(before, after), static_cast<std::int64_t>(before.size()));
      };
      const auto [excluded, k] = survivors("exclude");
      CHECK(excluded == k - k / 2);  // drops int(k / 2), and none of them is back
      CHECK(survivors("zero").first > excluded);
    }
  }
}

TEST_CASE("growth that passes over the dropped chooses alike in both storages", "[numeric]") {
  for (const std::string method : {"rigl", "set"}) {
    std::vector<std::vector<std::int64_t>> chosen;
    for (const Storage storage : {Storage::kMasked, Storage::kSparse}) {
      AtUpdate run({{"weights", method}, {"density", "0.4"}, {"regrow_dropped", "exclude"}},
                   storage);
      run.update();
      chosen.push_back(run.positions());
    }
    CHECK(chosen[0] == chosen[1]);
  }
}

TEST_CASE("an update drops no more than may grow, where the dropped may not", "[numeric]") {
  for (const std::string rule : {"magnitude", "set_signed"}) {
    AtUpdate run({{"weights", "set"},
                  {"drop_rule", rule},
                  {"density", "0.8"},
                  {"budget", "uniform"},
                  {"drop_fraction", "0.6"},
                  {"regrow_dropped", "exclude"}});
    const auto before = run.positions();
    run.update();
    const auto after = run.positions();
    const auto free = run.layer().connections->positions() - std::int64_t(before.size());
    CHECK(after.size() == before.size());
    CHECK(common(before, after) == std::int64_t(before.size()) - free);
  }
  CHECK_THROWS_AS(AtUpdate(Settings{{"weights", "mest"},
                                    {"mest_order", "soft_bound"},
                                    {"drop_schedule", "linear"},
                                    {"regrow_dropped", "exclude"}}),
                  ConfigError);
  CHECK_THROWS_AS(AtUpdate(Settings{{"weights", "snfs"}, {"regrow_dropped", "exclude"}}),
                  ConfigError);
}

TEST_CASE("dormant weights hold their value where told to, and newborn ones may resume it",
          "[numeric]") {
  for (const std::string init : {"stale", "zero"}) {
    AtUpdate run({{"weights", "rigl"},
                  {"regrow_dropped", "zero"},
                  {"dormant_value", "hold"},
                  {"grow_init", init}});
    const at::Tensor dormant = run.active().logical_not();
    const at::Tensor held = run.values();
    CHECK(held.masked_select(dormant).abs().min().item<double>() > 0);
    run.update();
    const at::Tensor now = run.values();
    const at::Tensor still = dormant.logical_and(run.active().logical_not());
    CHECK(torch::equal(now.masked_select(still), held.masked_select(still)));
    const at::Tensor born = dormant.logical_and(run.active());
    REQUIRE(count(born) > 0);
    const at::Tensor wanted = init == "stale" ? held : torch::zeros_like(held);
    CHECK(torch::equal(now.masked_select(born), wanted.masked_select(born)));
  }
  AtUpdate zero(Settings{{"weights", "rigl"}});
  CHECK(zero.values().masked_select(zero.active().logical_not()).abs().max().item<double>() == 0);
  CHECK_THROWS_AS(AtUpdate(Settings{{"weights", "rigl"}, {"grow_init", "stale"}}), ConfigError);
}

TEST_CASE("an update empties the newborn's optimizer state, or all of its layers'", "[numeric]") {
  for (const Storage storage : {Storage::kMasked, Storage::kSparse}) {
    for (const std::string whose : {"newborn", "all"}) {
      AtUpdate run({{"weights", "set"}, {"update_slots", whose}}, storage);
      run.update();
      const at::Tensor momentum = run.layer().weight.slots.at("momentum").values;
      CHECK((count(momentum.ne(0)) == 0) == (whose == "all"));
    }
  }
}

TEST_CASE("Adam corrects a newborn by its own age, or as if it were as old as the run",
          "[numeric]") {
  // A first step of age 1 is lr g / |g|; at the run's age t it is
  // lr (1 - b1) / (1 - b1^t) sqrt(1 - b2^t) / sqrt(1 - b2).
  const double b1 = 0.9, b2 = 0.999, t = double(kUpdateAfter) + 1;
  const double as_old =
      (1 - b1) / (1 - std::pow(b1, t)) * std::sqrt(1 - std::pow(b2, t)) / std::sqrt(1 - b2);
  for (const auto& [age, wanted] : {std::pair("weight", 1.0), std::pair("run", as_old)}) {
    AtUpdate run({{"weights", "rigl"},
                  {"regrow_dropped", "zero"},
                  {"optimizer", "adamw"},
                  {"lr", "0.01"},
                  {"weight_decay", "0"},
                  {"clip", "0"},
                  {"adam_epsilon", "1e-30"},
                  {"adam_age", age}});
    const at::Tensor dormant = run.active().logical_not();
    run.update();
    const at::Tensor born = dormant.logical_and(run.active());
    const at::Tensor before = run.values();
    run.trainer->advance(0, kUpdateAfter, 1);
    const at::Tensor moved = (run.values() - before).masked_select(born).abs();
    const at::Tensor stepped = moved.masked_select(moved.gt(0));  // inputs may be blank
    REQUIRE(stepped.numel() > 0);
    CHECK(stepped.min().item<double>() == Approx(0.01 * wanted).epsilon(1e-6));
    CHECK(stepped.max().item<double>() == Approx(0.01 * wanted).epsilon(1e-6));
  }
}

}  // namespace tandem::test::topology_ports_numeric
