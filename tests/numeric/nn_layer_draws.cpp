// Layers of attention that each run a stream of their own, and the gap of attention's streams that
// alpha is steered by.
#include <catch2/catch.hpp>
#include <map>

#include "data/tensor.h"
#include "nn/model.h"
#include "nn/outline.h"
#include "support/train_support.h"
#include "train/trainer.h"

namespace tandem::test::nn_layer_draws_numeric {

using namespace tandem::test;

namespace {

struct Sites {
  at::Tensor logits;
  std::map<std::string, std::pair<at::Tensor, at::Tensor>> outputs;  // full and sparse
};

// One pass of two runs whose layers have these streams: flags [R][L].
Sites pass(Model& model, const at::Tensor& x, const std::vector<std::vector<int>>& full,
           StreamsWanted wanted) {
  const at::NoGradGuard no_grad;
  Context context;
  LevelPlan& plan = context.plans.attention;
  plan.wanted = wanted;
  plan.running = RunningStream::kMixed;
  std::vector<at::Tensor> rows;
  for (const std::vector<int>& each : full) rows.push_back(torch::tensor(each).to(torch::kBool));
  plan.layer_full_runs = torch::stack(rows);
  Sites seen;
  context.observe_site = [&](const Site& site, const at::Tensor& f, const at::Tensor& s) {
    if (site.level == Level::kAttention) seen.outputs[site.layer] = {f, s};
  };
  seen.logits = model.forward(x, context);
  return seen;
}

std::unique_ptr<Model> two_layers(const std::string& attention) {
  std::vector<Config> configs;
  for (const char* seed : {"1", "2"}) {
    configs.push_back(Config::resolve(
        small_transformer({{"attention", attention}, {"dtype", "float64"}, {"seed", seed}})));
  }
  ModelShape shape;
  shape.replicas = 2;
  shape.outputs = 256;
  shape.dtype = torch::kDouble;
  return models().at("model", "transformer")(configs, shape);
}

}  // namespace

TEST_CASE("each layer of attention runs the stream that it drew", "[numeric]") {
  for (const char* method : {"ssa", "nsa"}) {
    CAPTURE(method);
    const auto model = two_layers(method);
    torch::manual_seed(6);
    const at::Tensor x = torch::randint(0, 256, {2, 2, 32}, torch::kInt64);
    const Sites full = pass(*model, x, {{1, 1}, {1, 1}}, StreamsWanted::kBoth);
    const Sites sparse = pass(*model, x, {{0, 0}, {0, 0}}, StreamsWanted::kBoth);
    const Sites mixed = pass(*model, x, {{1, 0}, {0, 1}}, StreamsWanted::kBoth);
    const auto of = [](const Sites& sites, std::int64_t r) {
      const auto& [f, s] = sites.outputs.at("layer1.attention");
      return std::pair(f[r], s[r]);
    };
    // What reaches the second layer is the first one's stream.
    CHECK(torch::equal(of(mixed, 0).second, of(full, 0).second));
    CHECK(torch::equal(of(mixed, 1).first, of(sparse, 1).first));
    CHECK_FALSE(torch::equal(of(mixed, 0).second, of(sparse, 0).second));
    // And what leaves it is its own.
    for (const std::int64_t r : {0, 1}) {
      CHECK_FALSE(torch::allclose(mixed.logits[r], full.logits[r], 1e-6, 1e-9));
      CHECK_FALSE(torch::allclose(mixed.logits[r], sparse.logits[r], 1e-6, 1e-9));
    }
    const Sites selected = pass(*model, x, {{1, 0}, {0, 1}}, StreamsWanted::kSelected);
    CHECK(torch::allclose(selected.logits, mixed.logits, 1e-10, 1e-12));
  }
}

TEST_CASE("attention's alpha is steered by the gap of its own streams", "[numeric]") {
  const auto trained = [](const Settings& more) {
    Settings said = small_transformer({{"attention", "ssa"}, {"steps", "6"}, {"lr", "0.001"}});
    for (const auto& [name, value] : more) said[name] = value;
    auto trainer =
        std::make_unique<Trainer>(std::vector<Config>{Config::resolve(said)}, TrainerOptions{});
    trainer->begin_stage(0);
    for (std::int64_t s = 0; s < 6; ++s) trainer->advance(0, s, 1);
    return trainer;
  };
  const auto above = trained({{"attention_gap_target", "1e-9"}});
  CHECK(above->state(0).attention.gap > 1e-6);
  CHECK(above->state(0).attention.alpha_factor > 1);
  CHECK(above->state(0).weights.alpha_factor == 1);
  CHECK(trained({{"attention_gap_target", "1e6"}})->state(0).attention.alpha_factor < 1);
  CHECK(trained({})->state(0).attention.alpha_factor == 1);
  CHECK(trained({})->state(0).attention.gap == 0);
}

TEST_CASE("phases of attention are full first", "[numeric]") {
  Settings said = small_transformer(
      {{"attention", "phased"}, {"attention_phases", "0.25,0.75"}, {"steps", "8"}});
  const Config config = Config::resolve(said);
  Trainer trainer({config}, TrainerOptions{});
  std::string streams;
  for (std::int64_t s = 0; s < 8; ++s) {
    const ReplicaPlan plan = plan_replica(trainer.run(0), 0, s);
    streams += plan.levels.attention.full ? 'f' : 's';
    CHECK(plan.levels.weights.full);
    CHECK_FALSE(plan.updates());
  }
  CHECK(streams == "ffssssff");
}

}  // namespace tandem::test::nn_layer_draws_numeric
