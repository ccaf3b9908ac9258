// The byte model's yardstick does the work of the engine's model: from the same parameters and the
// same batch, the loss of both streams with its alignment and every gradient agree.
#include <catch2/catch.hpp>

#include "bench/bench.h"
#include "data/tensor.h"
#include "nn/model.h"

namespace tandem::test::bench_plain_unit {
namespace {

constexpr double kTolerance = 1e-4;

std::unique_ptr<Model> engine_model(const std::string& method) {
  const Config config = Config::resolve(engine_settings("bytes", method));
  auto model = models().at("model", "transformer")({config}, {.replicas = 1, .outputs = 256});
  // Far from uniform attention, so that a wrong mask shows.
  torch::NoGradGuard no_grad;
  for (Parameter* p : model->parameters()) p->value.add_(torch::randn_like(p->value), 0.2);
  return model;
}

PlainTransformer::NamedTensors without_replicas(Model& model, bool gradients) {
  PlainTransformer::NamedTensors named;
  for (Parameter* p : model.parameters()) {
    named.emplace_back(p->name, (gradients ? p->value.grad() : p->value).select(0, 0));
  }
  return named;
}

// Returns the loss of one replica in a running stream, with the coefficients of SSA's defaults.
at::Tensor engine_loss(Model& model, const at::Tensor& windows, bool aligns, bool full) {
  Context context;
  context.plans.attention.wanted = aligns ? StreamsWanted::kBoth : StreamsWanted::kFull;
  context.plans.attention.running = full ? RunningStream::kFull : RunningStream::kSparse;
  context.plans.attention.full_runs = torch::full({1}, full, torch::kBool);
  if (aligns) {
    const double share = 10.0 / static_cast<double>(model.sites(Level::kAttention));
    context.plans.attention.full_coefficient = context.plans.attention.sparse_coefficient =
        torch::full({1}, share);
  }
  const std::int64_t tokens = windows.size(1) - 1;
  const at::Tensor logits = model.forward(windows.narrow(1, 0, tokens).unsqueeze(0), context);
  const at::Tensor target = windows.narrow(1, 1, tokens).reshape({-1});
  const at::Tensor task = torch::cross_entropy_loss(logits.view({-1, 256}), target);
  return aligns ? task + context.alignment().sum() : task;
}

void compare(const std::string& method, bool full) {
  torch::manual_seed(3);
  const auto model = engine_model(method);
  PlainTransformer plain(method, {}, at::kCPU, without_replicas(*model, false));
  const at::Tensor windows = torch::randint(256, {3, 129}, torch::kInt64);
  const at::Tensor expected = engine_loss(*model, windows, method == "ssa", full);
  const at::Tensor loss = plain.loss(windows, full);
  CHECK(loss.item<double>() == Approx(expected.item<double>()).margin(kTolerance));
  expected.backward();
  loss.backward();
  const auto gradients = without_replicas(*model, true);
  REQUIRE(plain.parameters().size() == gradients.size());
  for (std::size_t i = 0; i < gradients.size(); ++i) {
    INFO(gradients[i].first);
    CHECK(plain.parameters()[i].first == gradients[i].first);
    const at::Tensor difference = plain.parameters()[i].second.grad() - gradients[i].second;
    CHECK(difference.abs().max().item<double>() <
          kTolerance * gradients[i].second.abs().max().item<double>());
  }
}

}  // namespace

TEST_CASE("the byte model's yardstick computes the engine's loss and gradients", "[unit]") {
  SECTION("full attention") { compare("full", true); }
  SECTION("ssa, the full stream running") { compare("ssa", true); }
  SECTION("ssa, the sparse stream running") { compare("ssa", false); }
}

TEST_CASE("the byte model's yardstick learns, on a corpus of its own", "[unit]") {
  for (const char* method : {"full", "ssa"}) {
    PlainTransformer plain(method, {.context = 16, .width = 16, .ff_width = 8, .batch = 4});
    PlainTransformer::NamedTensors before;
    for (const auto& [name, tensor] : plain.parameters()) {
      before.emplace_back(name, tensor.detach().clone());
    }
    plain.step();
    plain.step();
    for (std::size_t i = 0; i < before.size(); ++i) {
      INFO(before[i].first);
      const at::Tensor after = plain.parameters()[i].second.detach();
      CHECK(torch::isfinite(after).all().item<bool>());
      CHECK_FALSE(torch::equal(after, before[i].second));
    }
  }
}

TEST_CASE("a topology update counts once in its interval, whatever the rounds hold", "[unit]") {
  // A step takes 1 s, an update 50 s beyond it, the clock is off by 1 s once.
  CHECK(seconds_per_step({{2, 0}, {2, 0}, {3, 0}}, 2) == Approx(1));
  CHECK(seconds_per_step({{150, 1}, {150, 1}, {151, 1}}, 100) == Approx(1.5));
  CHECK(seconds_per_step({{25, 0}, {25, 0}, {75, 1}, {25, 0}, {26, 0}}, 25) == Approx(1.5));
  CHECK(seconds_per_step({{2, 0}, {52, 1}, {2, 0}}, 2) == Approx(1.5));
}

}  // namespace tandem::test::bench_plain_unit
