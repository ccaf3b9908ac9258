// The identity and the bound of sparse attention on trained models (arXiv 2511.20102, Theorem 1),
// in double, for each attention method:
//   h_full - h_sparse = delta (h_drop - h_sparse), |h_full - h_sparse| <= delta (max |v| +
//   |h_sparse|)
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "methods/method.h"
#include "nn/attention/metrics.h"
#include "nn/attention/module.h"
#include "nn/attention/view.h"
#include "train/trainer.h"

namespace tandem::test::train_attention_identity_numeric {

namespace {

Config tiny_lm(const std::string& attention) {
  return Config::resolve({{"data", "bytes"},
                          {"model", "transformer"},
                          {"optimizer", "adamw"},
                          {"attention", attention},
                          {"context", "48"},
                          {"layers", "2"},
                          {"width", "16"},
                          {"heads", "4"},
                          {"kv_heads", "2"},
                          {"block_size", "4"},
                          {"blocks", "2"},
                          {"batch", "4"},
                          {"steps", "40"},
                          {"lr", "0.01"},
                          {"dtype", "float64"},
                          {"evaluation_windows", "4"}});
}

struct Seen {
  at::Tensor weights, selected, values;
};

AttentionClaims claims(const Config& config) {
  const std::vector<Config> configs = {config};
  const ModelShape shape;
  AttentionPlace place{"layer0", configs, shape, 8, 2, 1, 4, {}};
  place.setting.block_size = config.integer("block_size");
  const std::string module = policies_of(config, Level::kAttention).module;
  return attention_modules().at("attention_module", module).make(place)->claims();
}

// What the attention of each layer offers on one batch of the trained model, and both streams
// there.
void check_trained(const std::string& attention) {
  TrainerOptions options;
  options.dtype = torch::kFloat64;
  Trainer trainer({tiny_lm(attention)}, options);
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < 40; ++s) trainer.advance(0, s, 1);

  at::NoGradGuard no_grad;
  std::map<std::string, Seen> seen;
  std::map<std::string, at::Tensor> difference;
  Context context;
  context.plans.attention.wanted = StreamsWanted::kBoth;
  context.plans.attention.full_runs = torch::ones({1}, torch::kBool);
  context.plans.attention.running = RunningStream::kFull;
  const at::Tensor queries = torch::arange(48);
  context.observe_attention = [&](const std::string& layer, const AttentionView& view) {
    seen[layer] = {view.weights(queries), selected_keys(view.chosen(queries), queries, 4, 4, 48),
                   view.v};
  };
  context.observe_site = [&](const Site& site, const at::Tensor& full, const at::Tensor& sparse) {
    if (site.level == Level::kAttention) difference[site.layer] = full - sparse;
  };
  const auto& windows = trainer.data().validation;
  const Batch batch = trainer.batches().make({{windows[0], windows[1]}}, 2, OutputsOf::kAll);
  trainer.model().forward(batch.x, context);

  REQUIRE(seen.size() == 2);
  for (const auto& [layer, tensors] : seen) {
    CAPTURE(attention, layer);
    const StreamGap gap = stream_gap(tensors.weights, tensors.selected, tensors.values, queries);
    const at::Tensor dropped = dropped_mass(tensors.weights, tensors.selected);
    REQUIRE(dropped.max().item<double>() > 1e-3);  // the budget does drop something
    REQUIRE((gap.error <= gap.bound + 1e-10).all().item<bool>());
    REQUIRE(torch::allclose(gap.error, dropped * gap.drop_distance, 1e-8, 1e-10));
    if (!claims(trainer.run(0).config).gap_is_dropped) continue;
    // The streams that training sees are those of the identity: [R,B,T,H,D] -> [R,B,H,T].
    const at::Tensor norm = difference.at(layer).norm(2, {-1}).transpose(2, 3);
    REQUIRE(torch::allclose(norm, gap.error, 1e-8, 1e-10));
  }
}

}  // namespace

TEST_CASE("the dropped mass explains the gap of trained models", "[numeric]") {
  for (const auto& [name, factory] : attention_methods().all()) check_trained(name);
}

}  // namespace tandem::test::train_attention_identity_numeric
