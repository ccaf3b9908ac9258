// Units that are inhibited by the largest one below the winners, and the switch from excitation to
// inhibition (Bricken et al. 2023), written out once more in double precision: outputs, gradients,
// steps, and which examples a unit's count counts.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "core/error.h"
#include "eval/evaluate.h"
#include "jobs/run_check.h"
#include "methods/method.h"
#include "nn/elementwise.h"
#include "support/step_support.h"

namespace tandem::test::train_switch_numeric {

using namespace tandem::test;

namespace {

// One example's row of z, with g of each unit: outputs, and the gradient of their sum weighted by
// `of`.
struct Unit {
  double out, gradient;
};

std::vector<Unit> by_hand(const std::vector<double>& z, const std::vector<double>& g,
                          std::size_t count, const std::vector<double>& of) {
  std::vector<double> sorted;
  for (const double each : z) sorted.push_back(each > 0 ? each : 0);
  const std::vector<double> a = sorted;
  std::sort(sorted.rbegin(), sorted.rend());
  const double inhibition = count < sorted.size() ? sorted[count] : 0;
  std::vector<Unit> units;
  for (std::size_t u = 0; u < z.size(); ++u) {
    const double out = a[u] - g[u] * inhibition;
    units.push_back({out > 0 ? out : 0, out > 0 && z[u] > 0 ? of[u] : 0});
  }
  return units;
}

std::vector<double> numbers_of(const at::Tensor& row) {
  const at::Tensor plain = row.detach().to(torch::kFloat64).contiguous();
  const auto* begin = plain.const_data_ptr<double>();
  return {begin, begin + plain.numel()};
}

// Outputs of the net [n,C], weights and biases in turn, and of each hidden layer [n,U].
at::Tensor outputs_of(const std::vector<at::Tensor>& values, const std::vector<at::Tensor>& counts,
                      double share, double switch_after, const at::Tensor& x,
                      std::vector<at::Tensor>& hidden) {
  at::Tensor h = x;
  for (std::size_t l = 0; l < values.size(); l += 2) {
    h = h.mm(values[l]) + values[l + 1];
    if (l + 2 == values.size()) break;
    const at::Tensor a = h * h.gt(0);
    const auto units = static_cast<double>(a.size(1));
    const auto count = static_cast<std::int64_t>(std::max(1.0, std::round(share * units)));
    const at::Tensor inhibition =
        std::get<0>(a.detach().sort(1, /*descending=*/true)).select(1, count).unsqueeze(1);
    at::Tensor g = torch::ones({a.size(1)}, torch::kFloat64);
    if (switch_after > 0) g = (counts[l / 2] * (2 / switch_after) - 1).clamp(-1, 1);
    h = a - inhibition * g;
    h = h * h.gt(0);  // no gradient where it is 0, as at the unit that inhibits
    hidden.push_back(h.detach());
  }
  return h;
}

at::Tensor counts_in(const Trainer& trainer, const std::string& name, std::int64_t r = 0) {
  for (const auto& [key, values] : trainer.save(r)) {
    if (key == name) return values;
  }
  FAIL("no tensor " << name);
  return {};
}

Settings switching(Settings said) {
  const Settings own = {{"activation", "k_subtract"}, {"winners", "0.2"}};
  said.insert(own.begin(), own.end());
  return said;
}

}  // namespace

TEST_CASE("inhibition and its gradient, unit by unit", "[numeric]") {
  torch::manual_seed(5);
  const std::int64_t replicas = 2, rows = 9, units = 11;
  const auto real = torch::dtype(torch::kFloat64);
  const at::Tensor z = torch::randn({replicas, rows, units}, real).requires_grad_(true);
  const at::Tensor of = torch::randn({replicas, rows, units}, real);
  const at::Tensor g = torch::rand({replicas, 1, units}, real) * 2 - 1;
  for (const std::int64_t count : {1, 4, 10, 11, 30}) {
    for (const bool told : {true, false}) {
      CAPTURE(count, told);
      const at::Tensor out = inhibited(z, count, told ? g : at::Tensor());
      const at::Tensor gradient = torch::autograd::grad({(out * of).sum()}, {z}).front();
      for (std::int64_t r = 0; r < replicas; ++r) {
        const std::vector<double> strength =
            told ? numbers_of(g[r][0]) : std::vector<double>(static_cast<std::size_t>(units), 1);
        for (std::int64_t i = 0; i < rows; ++i) {
          const auto expected = by_hand(numbers_of(z[r][i]), strength,
                                        static_cast<std::size_t>(count), numbers_of(of[r][i]));
          const std::vector<double> outs = numbers_of(out[r][i]),
                                    slopes = numbers_of(gradient[r][i]);
          for (std::size_t u = 0; u < expected.size(); ++u) {
            CHECK(outs[u] == Approx(expected[u].out).margin(1e-14));
            CHECK(slopes[u] == Approx(expected[u].gradient).margin(1e-14));
          }
        }
      }
    }
  }
  // Without a switch as many units stay as are meant to, or fewer.
  CHECK(inhibited(z, 3, {}).gt(0).sum(-1).max().item<std::int64_t>() == 3);
}

// Full stream, sparse stream, and both, of which the full one counts.
TEST_CASE("steps and counts by the formula, where a batch is padded", "[numeric]") {
  for (const std::string weights : {"dense", "static", "sandwich"}) {
    for (const std::string after : {"0", "60"}) {
      CAPTURE(weights, after);
      const double switch_after = std::stod(after), share = 0.2;
      Settings said = switching({{"weights", weights},
                                 {"steps", "14"},
                                 {"switch_after", after},
                                 {"lr", "0.1"},
                                 {"init_scale", "dense"}});
      if (weights == "sandwich") said["weights_alpha"] = "0";
      if (weights != "static") said.erase("init_scale");
      Trainer trainer({plain_run(said)}, in_double());
      trainer.begin_stage(0);
      const std::vector<Linear*> layers = trainer.model().linears();
      std::vector<at::Tensor> counts;
      for (std::size_t l = 0; l + 1 < layers.size(); ++l) {
        counts.push_back(torch::zeros({layers[l]->outputs()}, torch::kFloat64));
      }
      double least = 1, most = -1;  // g that was met
      for (std::int64_t step = 0; step < 14; ++step) {
        CAPTURE(step);
        std::vector<at::Tensor> values, flags;
        for (const Linear* layer : layers) {
          const at::Tensor dense = layer->connections->dense_values()[0].clone();
          flags.push_back(layer->connections->dense_flags()[0].view_as(dense).ne(0));
          values.push_back(weights == "static" ? dense * flags.back() : dense);
          values.push_back(layer->bias.value.detach()[0].clone());
        }
        for (at::Tensor& each : values) each = each.detach().requires_grad_(true);
        const Batch batch = batch_at(trainer, step);
        std::vector<at::Tensor> hidden, sparse_hidden;
        const at::Tensor out = outputs_of(values, counts, share, switch_after, batch.x[0], hidden);
        at::Tensor loss = torch::nll_loss(torch::log_softmax(out, 1), batch.target[0]);
        if (weights == "sandwich") {
          std::vector<at::Tensor> within = values;
          for (std::size_t l = 0; l < flags.size(); ++l) within[2 * l] = values[2 * l] * flags[l];
          const at::Tensor sparse =
              outputs_of(within, counts, share, switch_after, batch.x[0], sparse_hidden);
          loss = trainer.policies().schedule.loss_full * loss +
                 trainer.policies().schedule.loss_sparse *
                     torch::nll_loss(torch::log_softmax(sparse, 1), batch.target[0]);
        }
        const auto gradients = torch::autograd::grad({loss}, values);
        trainer.advance(0, step, 1);
        for (std::size_t l = 0; l < counts.size(); ++l) {
          const at::Tensor g = counts[l] * 2 / std::max(1.0, switch_after) - 1;
          least = std::min(least, g.min().item<double>());
          most = std::max(most, g.max().item<double>());
          counts[l] = counts[l] + hidden[l].gt(0).sum(0);
          if (switch_after == 0) continue;
          const at::Tensor own =
              counts_in(trainer, "buffer/layer" + std::to_string(l) + ".active_count");
          CHECK(own.scalar_type() == torch::kInt64);
          CHECK(own.equal(counts[l].to(torch::kInt64)));
        }
        // Magnitudes that are ranked anew at every step are the sandwich's own matter.
        for (std::size_t l = 0; l < layers.size() && weights != "sandwich"; ++l) {
          const at::Tensor now = layers[l]->connections->dense_values()[0];
          at::Tensor expected = values[2 * l].detach() - 0.1 * gradients[2 * l];
          if (weights == "static") expected = expected * flags[l];
          CHECK((now - expected).abs().max().item<double>() < 1e-12);
          CHECK((layers[l]->bias.value.detach()[0] - values[2 * l + 1].detach() +
                 0.1 * gradients[2 * l + 1])
                    .abs()
                    .max()
                    .item<double>() < 1e-12);
        }
      }
      if (switch_after == 0) {
        CHECK(trainer.model().buffers().empty());
      } else {
        CHECK(least == -1);
        CHECK(most > 1);  // some units are inhibited wholly, and their g is cut at 1
      }
    }
  }
}

// A unit that is excited is active wherever the layer's (count + 1)-th unit is, so that its count
// is the number of examples that counted: whatever a method or a strategy does beside its step's
// own passes must not be among them.
TEST_CASE("every example that is trained counts once, under every weights method", "[numeric]") {
  for (const auto& [name, factory] : weights_methods().all()) {
    for (const std::string storage : {"masked", "sparse"}) {
      CAPTURE(name, storage);
      Settings said = busy_method(name, "sgd", 25, 6);
      said["lr"] = "0.001";
      said["density"] = "0.5";
      said["storage"] = storage;
      said["winners"] = "0.03";
      said["switch_after"] = "1000000000000";
      said["probes"] = "all";
      const auto& uses = part("weights", name).uses;
      if (std::count(uses.begin(), uses.end(), "growth_batches")) said["growth_batches"] = "2";
      const Config run = small_run(switching(said));
      try {
        RunCheck("cpu").check(run);
      } catch (const ConfigError&) {
        continue;
      }
      Trainer trainer({run}, {});
      trainer.begin_stage(0);
      std::int64_t trained = 0;
      for (std::int64_t step = 0; step < 25; ++step) {
        trained += batch_at(trainer, step).x.size(1);
        trainer.advance(0, step, 1);
        if (step % 10 == 0) evaluate(trainer, {0, "validation", true, {1}});
      }
      for (const auto& [key, values] : trainer.save(0)) {
        if (key.rfind("buffer/", 0) != 0) continue;
        CAPTURE(key);
        CHECK(values.min().item<std::int64_t>() == trained);
        CHECK(values.max().item<std::int64_t>() == trained);
      }
    }
  }
}

TEST_CASE("replayed examples of a step's batch count, those beside it do not", "[numeric]") {
  // Replays in the batch of each step, once there is something to replay.
  const std::map<std::string, std::int64_t> replays = {
      {"finetune", 0},      {"er", 1},         {"er_ace", 1}, {"der", 1},  {"derpp", 2},
      {"mir", 1},           {"cls_er", 1},     {"gem", 0},    {"agem", 0}, {"ewc", 0},
      {"ewc_empirical", 0}, {"ewc_online", 0}, {"si", 0},     {"mas", 0},  {"lwf", 0}};
  for (const auto& [strategy, count] : replays) {
    CAPTURE(strategy);
    Settings said = switching({{"strategy", strategy},
                               {"scenario", "class_il"},
                               {"tasks", "2"},
                               {"batch", "8"},
                               {"steps", "6"},
                               {"lr", "0.001"},
                               {"winners", "0.03"},
                               {"switch_after", "1000000000000"}});
    const auto& uses = part("strategy", strategy).uses;
    for (const auto& [option, value] :
         Settings{{"buffer", "20"}, {"replay_batch", "5"}, {"mir_candidates", "12"}}) {
      if (std::count(uses.begin(), uses.end(), option)) said[option] = value;
    }
    Trainer trainer({small_run(said)}, {});
    std::int64_t steps = 0;
    for (std::int64_t stage = 0; stage < 2; ++stage) {
      trainer.begin_stage(stage);
      for (std::int64_t step = 0; step < 6; ++step, ++steps) trainer.advance(stage, step, 1);
      trainer.end_stage(stage);
      evaluate(trainer, {stage + 1, "validation", true, {1}});
    }
    const at::Tensor own = counts_in(trainer, "buffer/layer0.active_count");
    CHECK(own.min().item<std::int64_t>() == 8 * steps + 5 * count * (steps - 1));
    CHECK(own.max().item<std::int64_t>() == 8 * steps + 5 * count * (steps - 1));
  }
}

TEST_CASE("a net that a task left keeps the counts of its time", "[numeric]") {
  Trainer trainer({small_run(switching({{"strategy", "lwf"},
                                        {"scenario", "class_il"},
                                        {"tasks", "2"},
                                        {"steps", "5"},
                                        {"switch_after", "100"}}))},
                  {});
  trainer.begin_stage(0);
  for (std::int64_t step = 0; step < 5; ++step) trainer.advance(0, step, 1);
  const at::Tensor left = counts_in(trainer, "buffer/layer0.active_count");
  trainer.end_stage(0);
  trainer.begin_stage(1);
  for (std::int64_t step = 0; step < 5; ++step) trainer.advance(1, step, 1);
  CHECK(left.max().item<std::int64_t>() > 0);
  CHECK(counts_in(trainer, "snapshot/0/layer0.active_count").equal(left));
  CHECK_FALSE(counts_in(trainer, "buffer/layer0.active_count").equal(left));
}

TEST_CASE("a network that begins afresh with each task begins with its counts", "[numeric]") {
  Trainer trainer({small_run(switching({{"strategy", "gdumb"},
                                        {"scenario", "class_il"},
                                        {"tasks", "2"},
                                        {"batch", "8"},
                                        {"buffer", "20"},
                                        {"steps", "4"},
                                        {"switch_after", "100"}}))},
                  {});
  trainer.begin_stage(0);
  for (std::int64_t step = 0; step < 4; ++step) trainer.advance(0, step, 1);
  trainer.end_stage(0);
  CHECK(counts_in(trainer, "buffer/layer0.active_count").max().item<std::int64_t>() > 0);
  trainer.begin_stage(1);
  CHECK(counts_in(trainer, "buffer/layer0.active_count").max().item<std::int64_t>() == 0);
}

// Under k-winners a unit that is no winner in any example gets no gradient any more. Under the
// switch it learns first, and what is active in few examples goes on being inhibited little.
TEST_CASE("units that die under k-winners live under the switch", "[numeric]") {
  const auto dead_share = [](const Settings& more) {
    Settings said = {{"weights", "dense"},   {"widths", "150"},
                     {"winners", "0.05"},    {"normalize", "standardized"},
                     {"layer_norm", "true"}, {"steps", "300"},
                     {"lr", "0.1"}};
    said.insert(more.begin(), more.end());
    Trainer trainer({plain_run(said)}, {});
    trainer.begin_stage(0);
    for (std::int64_t step = 0; step < 300; ++step) trainer.advance(0, step, 1);
    if (more.count("switch_after") != 0) {  // it is complete where it should be
      const at::Tensor counts = counts_in(trainer, "buffer/layer0.active_count");
      CHECK(counts.max().item<std::int64_t>() >= std::stol(more.at("switch_after")));
    }
    const std::vector<std::int64_t> all = trainer.tasks(0).tasks.front().train.places();
    const at::NoGradGuard no_grad;
    Context context;
    at::Tensor hidden;
    context.observe_tensor = [&hidden](const std::string&, const std::string&,
                                       const at::Tensor& value) { hidden = value; };
    const Batch batch =
        trainer.batches().make({all}, static_cast<std::int64_t>(all.size()), OutputsOf::kAll);
    trainer.model().forward(batch.x, context);
    return hidden[0].gt(0).any(0).logical_not().to(torch::kFloat64).mean().item<double>();
  };
  const double winners = dead_share({{"activation", "k_winners"}});
  const double switched = dead_share({{"activation", "k_subtract"}, {"switch_after", "5000"}});
  CAPTURE(winners, switched);
  CHECK(winners > 0.4);
  CHECK(switched < winners / 4);
}

}  // namespace tandem::test::train_switch_numeric
