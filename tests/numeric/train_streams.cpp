// Steps of the trainer against the same steps written out in double: layers that draw streams of
// their own, a full stream within a superset, alpha steered by the gap.
#include <catch2/catch.hpp>
#include <cmath>

#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "support/step_support.h"
#include "topology/connections.h"
#include "train/trainer.h"

namespace tandem::test::train_streams_numeric {

using namespace tandem::test;

namespace {

// [in,out], 1 where set; undefined flags: everywhere.
at::Tensor flags_of(const at::Tensor& flags, const at::Tensor& like) {
  return flags.defined() ? flags.view_as(like).to(like.scalar_type()) : torch::ones_like(like);
}

struct Step {
  std::vector<at::Tensor> weights, gradients;  // of each layer before the step
};

// The step's gradients where layer l runs its full stream if bit l is set; with alpha both streams
// of every layer are pulled together before the activation.
Step written_out(Trainer& trainer, std::int64_t step, std::uint64_t bits, double alpha) {
  const Batch batch = batch_at(trainer, step);
  const std::vector<Linear*> layers = trainer.model().linears();
  Step out;
  std::vector<at::Tensor> leaves;
  at::Tensor h = batch.x[0], alignment = torch::zeros({}, torch::kFloat64);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const at::Tensor w = layers[l]->weight.value[0].detach().clone().requires_grad_(true);
    const at::Tensor mask = flags_of(layers[l]->connections->active_flags(), w.detach());
    const at::Tensor whole = flags_of(layers[l]->connections->superset_flags(), w.detach());
    const at::Tensor bias = layers[l]->bias.value[0].detach();
    const at::Tensor full = torch::matmul(h, w * whole) + bias;
    const at::Tensor sparse = torch::matmul(h, w * mask) + bias;
    alignment = alignment + torch::smooth_l1_loss(full, sparse.detach()) +
                torch::smooth_l1_loss(sparse, full.detach());
    const at::Tensor z = (bits >> l & 1) != 0 ? full : sparse;
    h = l + 1 < layers.size() ? torch::relu(z) : z;
    leaves.push_back(w);
    out.weights.push_back(w.detach());
  }
  const at::Tensor loss = torch::cross_entropy_loss(h, batch.target[0]) +
                          alpha / static_cast<double>(layers.size()) * alignment;
  out.gradients = torch::autograd::grad({loss}, leaves);
  return out;
}

// Steps until an update of the topology is due; returns the streams that the layers ran.
std::vector<std::uint64_t> require_as_written(const Config& config, std::int64_t steps,
                                              double alpha) {
  Trainer trainer({config}, in_double());
  trainer.begin_stage(0);
  const double lr = config.real("lr");
  std::vector<std::uint64_t> ran;
  for (std::int64_t s = 0; s < steps; ++s) {
    CAPTURE(s);
    const ReplicaPlan plan = plan_replica(trainer.run(0), 0, s);
    const bool layered = trainer.run(0).policies.weights.schedule.draws_per_layer();
    const std::uint64_t bits = (layered                    ? plan.levels.weights.full_layers
                                : plan.levels.weights.full ? ~0ull
                                                           : 0) &
                               7;
    const Step step = written_out(trainer, s, bits, alpha);
    trainer.advance(0, s, 1);
    for (std::size_t l = 0; l < step.weights.size(); ++l) {
      CAPTURE(l, bits);
      const at::Tensor now = trainer.model().linears()[l]->weight.value[0].detach();
      const at::Tensor moved = (step.weights[l] - now) / lr;
      REQUIRE(torch::allclose(moved, step.gradients[l], 1e-8, 1e-12));
    }
    ran.push_back(bits);
  }
  return ran;
}

bool any_mixed(const std::vector<std::uint64_t>& ran) {
  return std::any_of(ran.begin(), ran.end(),
                     [](std::uint64_t bits) { return bits != 0 && bits != 7; });
}

}  // namespace

TEST_CASE("layers that draw for themselves run and train their own streams", "[numeric]") {
  REQUIRE(any_mixed(
      require_as_written(plain_run({{"weights", "alternate"}, {"weights_draw", "layer"}}), 8, 0)));
  REQUIRE(any_mixed(require_as_written(
      plain_run({{"weights", "ssa"}, {"weights_draw", "layer"}, {"weights_alpha", "3"}}), 8, 3)));
}

TEST_CASE("a full stream within a superset uses and changes nothing outside of it", "[numeric]") {
  for (const char* random : {"false", "true"}) {
    for (const char* drawn : {"step", "layer"}) {
      CAPTURE(random, drawn);
      const Settings within = {{"superset_density", "0.5"},
                               {"superset_random", random},
                               {"weights_draw", drawn},
                               {"weights", "alternate"}};
      require_as_written(plain_run(within), 8, 0);
      Settings aligned = within;
      aligned["weights"] = "ssa";
      aligned["weights_alpha"] = "3";
      require_as_written(plain_run(aligned), 8, 3);
    }
  }
  Trainer trainer({plain_run({{"weights", "ssa"}, {"superset_density", "0.5"}})}, in_double());
  double share = 0;
  for (const Linear* layer : trainer.model().linears()) {
    const at::Tensor superset = layer->connections->superset_flags();
    REQUIRE(superset.defined());
    share += superset.sum().item<double>() / (784 * 37 + 37 * 23 + 23 * 10);
  }
  REQUIRE(share == Approx(0.5).epsilon(0.01));
}

TEST_CASE("replicas of one group draw their layers by their own seeds", "[numeric]") {
  const Settings said = {{"weights", "ssa"}, {"weights_draw", "layer"}};
  Settings other = said;
  other["seed"] = "2";
  const Config config = plain_run(said);
  Trainer alone({config}, in_double()), company({config, plain_run(other)}, in_double());
  alone.begin_stage(0);
  company.begin_stage(0);
  int differ = 0;
  for (std::int64_t s = 0; s < 8; ++s) {
    differ += (plan_replica(company.run(0), 0, s).levels.weights.full_layers & 7) !=
              (plan_replica(company.run(1), 0, s).levels.weights.full_layers & 7);
    alone.advance(0, s, 1);
    company.advance(0, s, 1);
  }
  REQUIRE(differ > 2);
  for (std::size_t l = 0; l < 3; ++l) {
    REQUIRE(torch::equal(alone.model().linears()[l]->weight.value[0],
                         company.model().linears()[l]->weight.value[0]));
  }
}

TEST_CASE("layers are charged with the stream that each ran", "[numeric]") {
  const Config config = plain_run({{"weights", "alternate"}, {"weights_draw", "layer"}});
  Trainer trainer({config}, {});
  trainer.begin_stage(0);
  double expected = 0;
  for (std::int64_t s = 0; s < 8; ++s) {
    const std::uint64_t bits = plan_replica(trainer.run(0), 0, s).levels.weights.full_layers;
    for (std::size_t l = 0; l < 3; ++l) {
      const Linear& layer = *trainer.model().linears()[l];
      const std::int64_t used =
          (bits >> l & 1) != 0 ? layer.inputs() * layer.outputs() : layer.connections->active(0);
      expected += 3 * 2 * 32 * static_cast<double>(used);
    }
    trainer.advance(0, s, 1);
  }
  REQUIRE(trainer.flops().training(0) == Approx(expected));
}

TEST_CASE("more layers than a step's numbers hold can't draw for themselves", "[numeric]") {
  std::string widths = "8";
  for (int i = 0; i < 52; ++i) widths += ",8";  // 54 layers
  REQUIRE_THROWS_AS(
      Trainer(
          {small_run({{"weights", "alternate"}, {"weights_draw", "layer"}, {"widths", widths}})},
          {}),
      ConfigError);
}

TEST_CASE("every q-th step aligns", "[numeric]") {
  const Config config = plain_run({{"weights", "ssa"}, {"weights_align_every", "3"}});
  Trainer trainer({config}, {});
  trainer.begin_stage(0);
  double sum = 0;
  for (std::int64_t s = 0; s < 8; ++s) {
    trainer.advance(0, s, 1);
    REQUIRE((trainer.state(0).alignment_sum > sum) == (s % 3 == 0));
    sum = trainer.state(0).alignment_sum;
  }
}

TEST_CASE("a steered alpha brings the gap to its target", "[numeric]") {
  // Geometric means, since steps multiply alpha by a power of the gap.
  const auto mean_gap = [](Trainer& trainer, std::int64_t first, std::int64_t end) {
    double sum = 0;
    for (std::int64_t s = first; s < end; ++s) {
      trainer.advance(0, s, 1);
      sum += std::log(trainer.state(0).weights.gap);
    }
    return std::exp(sum / static_cast<double>(end - first));
  };
  const std::pair<double, const char*> cases[] = {
      {0.05, "local"}, {0.1, "local"}, {0.1, "propagated"}};
  for (const auto& [target, counterpart] : cases) {
    CAPTURE(target, counterpart);
    Trainer trainer({small_run({{"weights", "ssa"},
                                {"train_examples", "6000"},
                                {"density", "0.05"},
                                {"steps", "1200"},
                                {"weights_alpha", "1"},
                                {"weights_gap_rate", "0.05"},
                                {"weights_gap_target", std::to_string(target)},
                                {"weights_counterpart", counterpart}})},
                    {});
    trainer.begin_stage(0);
    REQUIRE(mean_gap(trainer, 0, 50) > 2 * target);
    mean_gap(trainer, 50, 600);
    REQUIRE(mean_gap(trainer, 600, 1200) == Approx(target).epsilon(0.2));
    REQUIRE(trainer.state(0).weights.alpha_factor > 1e-3);
    REQUIRE(trainer.state(0).weights.alpha_factor < 1e3);
  }
}

TEST_CASE("an alpha that is not steered keeps its factor", "[numeric]") {
  Trainer trainer({plain_run({{"weights", "ssa"}})}, {});
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < 8; ++s) trainer.advance(0, s, 1);
  REQUIRE(trainer.state(0).weights.alpha_factor == 1);
  REQUIRE(trainer.state(0).weights.gap == 0);
}

}  // namespace tandem::test::train_streams_numeric
