// What the policies of single methods do to a step, against the formulas in double precision.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "support/train_support.h"
#include "topology/active_set.h"
#include "topology/connections.h"
#include "train/trainer.h"

namespace tandem::test::train_policies_numeric {

using namespace tandem::test;

namespace {

// Plain gradient descent in double: what a step moves is the gradient times lr.
Settings plain(Settings said) {
  const Settings base = {{"momentum", "0"}, {"weight_decay", "0"}, {"clip", "0"},
                         {"lr", "0.1"},     {"steps", "40"},       {"optimizer", "sgd"}};
  said.insert(base.begin(), base.end());
  return said;
}

std::unique_ptr<Trainer> started(const Settings& said) {
  TrainerOptions options;
  options.dtype = torch::kDouble;
  auto trainer = std::make_unique<Trainer>(std::vector{small_run(said)}, options);
  trainer->begin_stage(0);
  return trainer;
}

std::vector<at::Tensor> values_of(Trainer& trainer) {
  std::vector<at::Tensor> all;
  for (Parameter* parameter : trainer.model().parameters()) {
    all.push_back(parameter->value.detach().clone());
  }
  return all;
}

void set_values(Trainer& trainer, const std::vector<at::Tensor>& values) {
  const at::NoGradGuard no_grad;
  std::size_t i = 0;
  for (Parameter* parameter : trainer.model().parameters()) parameter->value.copy_(values[i++]);
}

// dL/dw of the first batch at given weights, through a dense run's first step.
std::vector<at::Tensor> gradient_at(const std::vector<at::Tensor>& values) {
  auto dense = started(plain({{"weights", "dense"}}));
  set_values(*dense, values);
  dense->advance(0, 0, 1);
  std::vector<at::Tensor> gradients = values_of(*dense);
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    gradients[i] = (values[i] - gradients[i]) / 0.1;
  }
  return gradients;
}

at::Tensor flags_of(const Linear& layer) {
  return layer.connections->active_flags().view_as(layer.weight.value).ne(0).clone();
}

at::Tensor superset_of(const Linear& layer) {
  return layer.connections->superset_flags().view_as(layer.weight.value).ne(0).clone();
}

bool close(const at::Tensor& a, const at::Tensor& b) { return torch::allclose(a, b, 1e-9, 1e-10); }

std::int64_t total_active(Trainer& trainer) {
  std::int64_t sum = 0;
  for (const Linear* layer : trainer.model().linears()) sum += layer->connections->active(0);
  return sum;
}

}  // namespace

TEST_CASE("SAM's gradient is that at w + rho g / |g|", "[numeric]") {
  auto sam = started(plain({{"weights", "sam"}, {"radius", "0.3"}}));
  const auto start = values_of(*sam);
  const auto first = gradient_at(start);
  double squares = 0;
  for (const at::Tensor& g : first) squares += g.square().sum().item<double>();
  std::vector<at::Tensor> moved;
  for (std::size_t i = 0; i < start.size(); ++i) {
    moved.push_back(start[i] + first[i] * (0.3 / std::sqrt(squares)));
  }
  const auto there = gradient_at(moved);
  sam->advance(0, 0, 1);
  const auto after = values_of(*sam);
  for (std::size_t i = 0; i < start.size(); ++i) {
    REQUIRE(close(after[i], start[i] - 0.1 * there[i]));
    REQUIRE_FALSE(close(after[i], start[i] - 0.1 * first[i]));
  }
}

TEST_CASE("CrAM's gradient is that at the pruned weights nearby, CrAM+ adds its own", "[numeric]") {
  const auto masked = [](const Parameter& parameter, const at::Tensor& values) {
    if (parameter.connections == nullptr) return values;
    return values * parameter.connections->active_flags().view_as(values);
  };
  for (const Settings& said :
       {Settings{}, Settings{{"cram_plus", "false"}}, Settings{{"cram_masked_gradient", "false"}},
        Settings{{"radius_of", "unit_gradient"}}}) {
    CAPTURE(said);
    Settings settings = plain({{"weights", "cram"}, {"radius", "0.3"}});
    for (const auto& [name, value] : said) settings[name] = value;
    auto cram = started(settings);
    const auto start = values_of(*cram);
    const auto first = gradient_at(start);
    double squares = 0;
    for (const at::Tensor& g : first) squares += g.square().sum().item<double>();
    const double radius = said.count("radius_of") != 0 ? 0.3 / std::sqrt(squares) : 0.3;
    std::vector<at::Tensor> moved;
    std::size_t i = 0;
    for (const Parameter* parameter : cram->model().parameters()) {
      moved.push_back(masked(*parameter, start[i] + first[i] * radius));
      ++i;
    }
    const auto there = gradient_at(moved);
    std::vector<at::Tensor> wanted;
    i = 0;
    for (const Parameter* parameter : cram->model().parameters()) {
      const bool cuts = said.count("cram_masked_gradient") == 0;
      at::Tensor g = cuts ? masked(*parameter, there[i]) : there[i];
      if (said.count("cram_plus") == 0) g = g + first[i];
      wanted.push_back(start[i] - 0.1 * g);
      ++i;
    }
    cram->advance(0, 0, 1);
    const auto after = values_of(*cram);
    for (i = 0; i < start.size(); ++i) REQUIRE(close(after[i], wanted[i]));
  }
}

TEST_CASE("powerpropagation descends along v, w = v |v|^(power - 1)", "[numeric]") {
  auto raised = started(plain({{"weights", "powerprop"}, {"power", "3"}}));
  auto dense = started(plain({{"weights", "dense"}}));
  const auto start = values_of(*raised), as_drawn = values_of(*dense);
  for (std::size_t i = 0; i < start.size(); ++i) REQUIRE(close(start[i], as_drawn[i]));
  const auto gradients = gradient_at(start);
  raised->advance(0, 0, 1);
  const auto after = values_of(*raised);
  std::size_t i = 0;
  for (const Parameter* parameter : raised->model().parameters()) {
    if (parameter->decays) {
      const at::Tensor v = start[i].sign() * start[i].abs().pow(1.0 / 3);
      const at::Tensor v_after = v - 0.1 * gradients[i] * 3 * v.square();
      REQUIRE(close(after[i], v_after.pow(3)));
    } else {
      REQUIRE(close(after[i], start[i] - 0.1 * gradients[i]));
    }
    ++i;
  }
}

TEST_CASE("SR-STE adds lambda w to the gradient of dormant weights only", "[numeric]") {
  const auto after_one = [](const std::string& lambda) {
    auto trainer = started(
        plain({{"weights", "srste"}, {"srste_lambda", lambda}, {"refresh_interval", "1000"}}));
    trainer->advance(0, 0, 1);
    return trainer;
  };
  auto fresh = started(plain({{"weights", "srste"}, {"refresh_interval", "1000"}}));
  const auto start = values_of(*fresh);
  auto without = after_one("0"), with = after_one("0.25");
  const auto a = values_of(*without), b = values_of(*with);
  std::size_t i = 0;
  for (const Parameter* parameter : with->model().parameters()) {
    at::Tensor expected = torch::zeros_like(a[i]);
    if (parameter->connections != nullptr) {
      const at::Tensor dormant = parameter->connections->active_flags().view_as(a[i]).eq(0);
      expected = -0.1 * 0.25 * start[i] * dormant;
    }
    REQUIRE(close(b[i] - a[i], expected));
    ++i;
  }
}

TEST_CASE("Top-KAST moves the superset alone and decays what the forward pass lacks", "[numeric]") {
  Settings said = plain({{"weights", "topkast"}, {"refresh_interval", "4"}, {"density", "0.1"}});
  said["weight_decay"] = "0.01";
  auto trainer = started(said);
  REQUIRE(policies_of(small_run(said), Level::kWeights).dormant.eta == Approx(0.01 * 9));
  for (std::int64_t step = 0; step < 12; ++step) {
    const auto before = values_of(*trainer);
    std::vector<at::Tensor> supersets, masks;
    for (const Linear* layer : trainer->model().linears()) {
      supersets.push_back(superset_of(*layer));
      masks.push_back(flags_of(*layer));
    }
    trainer->advance(0, step, 1);
    std::int64_t sum = 0, of_masks = 0, moved_outside_mask = 0;
    for (std::size_t l = 0; l < supersets.size(); ++l) {
      const Linear& layer = *trainer->model().linears()[l];
      const at::Tensor now = layer.weight.value.detach();
      const at::Tensor changed = now.ne(before[2 * l]);
      REQUIRE((changed & supersets[l].logical_not()).sum().item<std::int64_t>() == 0);
      REQUIRE((masks[l] & supersets[l].logical_not()).sum().item<std::int64_t>() == 0);
      moved_outside_mask += (changed & masks[l].logical_not()).sum().item<std::int64_t>();
      sum += supersets[l].sum().item<std::int64_t>();
      of_masks += masks[l].sum().item<std::int64_t>();
    }
    REQUIRE(moved_outside_mask > 0);
    REQUIRE(static_cast<double>(sum) == Approx(2 * of_masks).epsilon(0.02));
  }
}

TEST_CASE("AC/DC's phases: pruned to zero, then everything from empty momentum", "[numeric]") {
  auto trainer = started({{"weights", "acdc"},
                          {"phases", "0.25,0.5,0.75"},
                          {"steps", "40"},
                          {"lr_schedule", "constant"},
                          {"last_phase_lr", "0.5"}});
  const RunSchedule& run = trainer->run(0);
  REQUIRE(plan_replica(run, 0, 9).levels.weights.full);
  REQUIRE(plan_replica(run, 0, 9).enters_sparse);
  REQUIRE_FALSE(plan_replica(run, 0, 10).levels.weights.full);
  REQUIRE(plan_replica(run, 0, 19).enters_full);
  REQUIRE(plan_replica(run, 0, 29).lr == Approx(2 * plan_replica(run, 0, 30).lr));
  REQUIRE_FALSE(run.policies.weights.dormant_carry_values());
  const auto dormant_mass = [&] {
    double mass = 0;
    for (const Linear* layer : trainer->model().linears()) {
      mass += layer->weight.value.detach()
                  .masked_select(flags_of(*layer).logical_not())
                  .abs()
                  .sum()
                  .item<double>();
    }
    return mass;
  };
  for (std::int64_t step = 0; step < 40; ++step) {
    CAPTURE(step);
    const auto before = values_of(*trainer);
    const StepReport report = trainer->advance(0, step, 1);
    REQUIRE((report.updated[0] != 0) == (step == 9 || step == 29));
    const bool sparse_now = (step >= 9 && step < 20) || step >= 29;
    REQUIRE((dormant_mass() == 0) == sparse_now);
    if (step != 19) continue;
    for (Parameter* parameter : trainer->model().parameters()) {
      REQUIRE(parameter->slot("momentum").abs().sum().item<double>() == 0);
    }
  }
}

TEST_CASE("GraNet prunes to prune_end, and then regenerates, but not after the last step",
          "[numeric]") {
  auto trainer = started({{"weights", "granet"},
                          {"density", "0.2"},
                          {"update_interval", "5"},
                          {"prune_end", "0.55"},
                          {"steps", "40"}});
  std::vector<std::string> masks;
  std::vector<std::int64_t> active, changed;
  for (std::int64_t step = 0; step < 40; ++step) {
    trainer->advance(0, step, 1);
    std::string mask;
    for (const Linear* layer : trainer->model().linears()) {
      mask += layer->connections->active_set(0).hash();
    }
    if (!masks.empty() && mask != masks.back()) changed.push_back(step + 1);
    masks.push_back(mask);
    active.push_back(total_active(*trainer));
  }
  // Every five steps, and after step 22, where the budget's schedule ends between two of them.
  CHECK(changed == std::vector<std::int64_t>{5, 10, 15, 20, 22, 25, 30, 35});
  CHECK(active[20] > active[21]);
  CHECK(active[21] == active[39]);
}

TEST_CASE("a run ends at its budget: granet, gmp from a sparse start", "[numeric]") {
  for (const std::string method : {"granet", "gmp"}) {
    for (const std::string initial : {"0", "0.6"}) {
      CAPTURE(method, initial);
      Settings said = busy_method(method, "sgd", 40, 5);
      said["initial_density"] = initial;
      said["storage"] = "masked";
      auto trainer = started(said);
      const auto all = static_cast<double>(784 * 37 + 37 * 23 + 23 * 10);
      const double first = initial == "0" ? 1.0 : 0.6;
      REQUIRE(static_cast<double>(total_active(*trainer)) == Approx(first * all).epsilon(1e-3));
      for (std::int64_t step = 0; step < 40; ++step) trainer->advance(0, step, 1);
      REQUIRE(static_cast<double>(total_active(*trainer)) == Approx(0.2 * all).epsilon(1e-3));
    }
  }
}

TEST_CASE("SNFS: layers share growth by their averaged gradients, the total stays", "[numeric]") {
  Settings said = busy_method("snfs", "sgd", 40, 5);
  auto trainer = started(said);
  const std::int64_t total = total_active(*trainer);
  std::vector<std::int64_t> start;
  for (const Linear* layer : trainer->model().linears()) {
    start.push_back(layer->connections->active(0));
  }
  at::Tensor average;  // of the first layer, by hand
  for (std::int64_t step = 0; step < 4; ++step) trainer->advance(0, step, 1);
  average = trainer->model().linears()[0]->weight.slot("averaged_gradient").clone();
  const at::Tensor dormant = flags_of(*trainer->model().linears()[0]).logical_not().view(-1);
  REQUIRE(average.masked_select(dormant).abs().sum().item<double>() > 0);
  const StepReport report = trainer->advance(0, 4, 1);
  REQUIRE(report.updated[0]);
  REQUIRE(total_active(*trainer) == total);
  bool moved = false;
  for (std::size_t l = 0; l < start.size(); ++l) {
    moved = moved || trainer->model().linears()[l]->connections->active(0) != start[l];
  }
  REQUIRE(moved);
  said["redistribute"] = "false";
  auto fixed = started(said);
  for (std::int64_t step = 0; step < 20; ++step) fixed->advance(0, step, 1);
  for (std::size_t l = 0; l < start.size(); ++l) {
    REQUIRE(fixed->model().linears()[l]->connections->active(0) == start[l]);
  }
}

TEST_CASE("SNFS: what all layers drop grows by shares of mean |average|", "[numeric]") {
  Settings said = busy_method("snfs", "sgd", 40, 5);
  said["budget"] = "uniform";  // gaps enough in every layer
  said["drop_fraction"] = "0.02";
  said["drop_schedule"] = "constant";
  auto trainer = started(said);
  const std::vector<Linear*> linears = trainer->model().linears();
  std::vector<double> weights, active;  // as the update finds them
  trainer->before_update = [&](const std::vector<char>&) {
    for (const Linear* layer : linears) {
      const at::Tensor average = layer->weight.slots.at("averaged_gradient").values;
      const at::Tensor flags = flags_of(*layer).view(-1);
      weights.push_back(average.masked_select(flags).abs().mean().item<double>());
      active.push_back(static_cast<double>(layer->connections->active(0)));
    }
  };
  for (std::int64_t step = 0; step < 5; ++step) trainer->advance(0, step, 1);
  REQUIRE(weights.size() == 3);
  double total = 0, sum = 0;
  for (std::size_t l = 0; l < 3; ++l) {
    total += std::floor(0.02 * active[l]);
    sum += weights[l];
  }
  for (std::size_t l = 0; l < 3; ++l) {
    CAPTURE(l, total, weights);
    const double now = static_cast<double>(linears[l]->connections->active(0));
    const double grown = now - active[l] + std::floor(0.02 * active[l]);
    CHECK(std::abs(grown - total * weights[l] / sum) < 1);  // whole numbers by largest remainders
  }
}

TEST_CASE("a teacher is the dense net of the same seed, and its pupil learns from it",
          "[numeric]") {
  Settings said = plain({{"weights", "rigl_teacher"}, {"update_interval", "1000"}});
  auto taught = started(said);
  auto dense = started(plain({{"weights", "dense"}}));
  said["weights"] = "rigl";
  auto alone = started(said);
  for (std::int64_t step = 0; step < 10; ++step) {
    taught->advance(0, step, 1);
    dense->advance(0, step, 1);
    alone->advance(0, step, 1);
  }
  std::map<std::string, at::Tensor> saved;
  for (const auto& [name, tensor] : taught->save(0)) saved[name] = tensor;
  for (const Parameter* parameter : dense->model().parameters()) {
    REQUIRE(close(saved.at("parameter/teacher." + parameter->name), parameter->of_replica(0)));
  }
  REQUIRE_FALSE(close(taught->model().parameters()[0]->value.detach(),
                      alone->model().parameters()[0]->value.detach()));
  auto again = started(plain({{"weights", "rigl_teacher"}, {"update_interval", "1000"}}));
  again->load(0, taught->save(0));
  again->advance(0, 10, 1);
  taught->advance(0, 10, 1);
  const auto a = taught->save(0), b = again->save(0);
  for (std::size_t i = 0; i < a.size(); ++i) REQUIRE(torch::equal(a[i].second, b[i].second));
}

namespace {

double linear_weights(Trainer& trainer) {
  double count = 0;
  for (const Linear* layer : trainer.model().linears()) {
    count += static_cast<double>(layer->inputs() * layer->outputs());
  }
  return count;
}

}  // namespace

TEST_CASE("a small dense net has as many weights as the sparse one, within one unit's",
          "[numeric]") {
  for (const std::string density : {"0.5", "0.1", "0.02"}) {
    CAPTURE(density);
    auto small = started({{"weights", "small_dense"}, {"density", density}, {"widths", "100,80"}});
    const double wanted = std::stod(density) * (784 * 100 + 100 * 80 + 80 * 10);
    const auto linears = small->model().linears();
    REQUIRE(linears.size() == 3);
    // One more unit of the second hidden layer would be too many.
    const double unit = static_cast<double>(linears[1]->inputs() + linears[2]->outputs());
    REQUIRE(linear_weights(*small) <= wanted);
    REQUIRE(linear_weights(*small) > wanted - unit);
  }
}

TEST_CASE("a small dense transformer keeps its heads and has as many weights", "[numeric]") {
  const auto weights_of = [](const Settings& said) {
    Settings settings = small_transformer(said);
    settings["width"] = "64";
    settings["steps"] = "2";
    Trainer trainer({Config::resolve(settings)}, {});
    return linear_weights(trainer);
  };
  const double full = weights_of({{"weights", "dense"}, {"ff_width", "100"}});
  // 2 layers: q and o 64 x 64, k and v 64 x 32, three of 64 x 100.
  REQUIRE(full == 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 100));
  for (const std::string density : {"0.5", "0.1"}) {
    CAPTURE(density);
    const double small =
        weights_of({{"weights", "small_dense"}, {"density", density}, {"ff_width", "100"}});
    REQUIRE(small <= std::stod(density) * full);
    REQUIRE(small > std::stod(density) * full - 2 * 3 * 64);
  }
  REQUIRE_THROWS_WITH(weights_of({{"weights", "small_dense"}, {"density", "0.001"}}),
                      Catch::Contains("density") && Catch::Contains("4 heads"));
}

TEST_CASE("a mask of living weights shrinks from initial_density and stays from refresh_end on",
          "[numeric]") {
  for (const std::string method : {"ssa", "alternate", "ste", "srste", "sandwich"}) {
    CAPTURE(method);
    auto trainer = started({{"weights", method},
                            {"density", "0.2"},
                            {"budget", "uniform"},
                            {"initial_density", "0.6"},
                            {"refresh_interval", "5"},
                            {"refresh_end", "0.5"},
                            {"steps", "40"},
                            {"lr", "0.05"}});
    const Linear& layer = *trainer->model().linears().front();
    const double positions = static_cast<double>(layer.inputs() * layer.outputs());
    const auto share = [&] { return double(layer.connections->active(0)) / positions; };
    REQUIRE(share() == Approx(0.6).epsilon(1e-3));
    std::vector<std::string> masks;
    for (std::int64_t step = 0; step < 40; ++step) {
      trainer->advance(0, step, 1);
      masks.push_back(layer.connections->active_set(0).hash());
      // At step 10 half of the span is over: 0.2 + 0.4 (1 - 1/2)^3.
      if (step == 9) REQUIRE(share() == Approx(0.25).epsilon(1e-3));
      if (step >= 19) REQUIRE(share() == Approx(0.2).epsilon(1e-3));
    }
    REQUIRE(masks[18] != masks[19]);
    REQUIRE(std::count(masks.begin() + 19, masks.end(), masks[19]) == 21);
  }
  REQUIRE_THROWS_AS(started({{"weights", "ssa"}, {"density", "0.2"}, {"initial_density", "0.1"}}),
                    ConfigError);
  REQUIRE_THROWS_AS(
      started({{"weights", "ssa"}, {"initial_density", "0.5"}, {"weights_nested", "1,0.5"}}),
      ConfigError);
}

TEST_CASE("phases must ascend", "[numeric]") {
  REQUIRE_THROWS_WITH(
      policies_of(small_run({{"weights", "acdc"}, {"phases", "0.5,0.2"}}), Level::kWeights),
      Catch::Contains("must ascend"));
}

}  // namespace tandem::test::train_policies_numeric
