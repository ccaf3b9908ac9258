// What single options mean, against loops over what a trainer holds before and after.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <set>

#include "core/files.h"
#include "support/step_support.h"
#include "topology/connections.h"

namespace tandem::test::train_options_numeric {

using namespace tandem::test;

namespace {

std::vector<double> list_of(const at::Tensor& values) {
  const at::Tensor flat = values.detach().to(torch::kFloat64).contiguous().view(-1);
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

std::set<std::int64_t> active_of(const Linear& layer) {
  const std::vector<std::int64_t> positions = layer.connections->active_set(0).positions();
  return {positions.begin(), positions.end()};
}

}  // namespace

TEST_CASE("mest_lambda weighs the gradient in what MEST drops", "[numeric]") {
  std::vector<std::set<std::int64_t>> dropped_at;
  for (const double lambda : {0.0, 0.01, 50.0}) {
    CAPTURE(lambda);
    const Config config = plain_run({{"weights", "mest"},
                                     {"mest_lambda", std::to_string(lambda)},
                                     {"update_interval_epochs", "0"},
                                     {"update_interval", "3"},
                                     {"drop_fraction", "0.3"},
                                     {"regrow_dropped", "exclude"},
                                     {"storage", "masked"}});
    Trainer trainer({config}, in_double());
    trainer.begin_stage(0);
    const Linear& layer = *trainer.model().linears()[1];
    std::vector<double> weight, gradient;
    std::set<std::int64_t> before;
    trainer.before_update = [&](const std::vector<char>&) {
      weight = list_of(layer.weight.value);
      gradient = list_of(layer.weight.value.grad());
      before = active_of(layer);
    };
    for (std::int64_t step = 0; step < 3; ++step) trainer.advance(0, step, 1);
    REQUIRE_FALSE(before.empty());
    const std::set<std::int64_t> after = active_of(layer);
    double worst_dropped = 0, best_kept = 1e300;
    std::set<std::int64_t> dropped;
    for (const std::int64_t p : before) {
      const auto i = static_cast<std::size_t>(p);
      const double score = std::abs(weight[i]) + lambda * std::abs(gradient[i]);
      if (after.count(p) == 0) {
        dropped.insert(p);
        worst_dropped = std::max(worst_dropped, score);
      } else {
        best_kept = std::min(best_kept, score);
      }
    }
    REQUIRE(dropped.size() > before.size() / 5);
    REQUIRE(worst_dropped <= best_kept);
    dropped_at.push_back(dropped);
  }
  REQUIRE(dropped_at.front() != dropped_at.back());
}

TEST_CASE("granularity_block is the side of the squares that go together", "[numeric]") {
  for (const std::int64_t side : {2, 3, 5}) {
    CAPTURE(side);
    const Config config = small_run({{"weights", "static"},
                                     {"granularity", "block"},
                                     {"budget", "uniform"},
                                     {"granularity_block", std::to_string(side)}});
    Trainer trainer({config}, {});
    for (const Linear* layer : trainer.model().linears()) {
      const std::set<std::int64_t> active = active_of(*layer);
      std::map<std::pair<std::int64_t, std::int64_t>, std::pair<int, int>> blocks;  // active, all
      for (std::int64_t i = 0; i < layer->inputs(); ++i) {
        for (std::int64_t o = 0; o < layer->outputs(); ++o) {
          auto& [held, all] = blocks[{i / side, o / side}];
          held += static_cast<int>(active.count(i * layer->outputs() + o));
          ++all;
        }
      }
      std::size_t whole = 0;
      for (const auto& [block, counts] : blocks) {
        REQUIRE((counts.first == 0 || counts.first == counts.second));
        whole += counts.first != 0;
      }
      REQUIRE(whole > 0);
      REQUIRE(whole < blocks.size());
    }
  }
}

TEST_CASE("widths_match = density narrows any method's layers, none leaves them", "[numeric]") {
  const auto hidden = [](const Settings& said) {
    Trainer trainer({small_run(said)}, {});
    std::vector<std::int64_t> widths;
    for (const Linear* layer : trainer.model().linears()) widths.push_back(layer->outputs());
    return widths;
  };
  const std::vector<std::int64_t> full = {37, 23, 10};
  for (const std::string method : {"dense", "rigl", "small_dense"}) {
    CAPTURE(method);
    CHECK(hidden({{"weights", method}, {"widths_match", "none"}}) == full);
    const auto narrow = hidden({{"weights", method}, {"widths_match", "density"}});
    const auto count = [](const std::vector<std::int64_t>& w) {
      return 784 * w[0] + w[0] * w[1] + w[1] * w[2];
    };
    CHECK(narrow[2] == 10);
    CHECK(static_cast<double>(count(narrow)) <= 0.2 * static_cast<double>(count(full)));
    CHECK(narrow[0] < full[0]);
    // One unit more of a hidden layer that is not whole would be too many.
    for (std::size_t l = 0; l < 2; ++l) {
      std::vector<std::int64_t> wider = narrow;
      if (narrow[l] == full[l]) continue;
      ++wider[l];
      CHECK(static_cast<double>(count(wider)) > 0.2 * static_cast<double>(count(full)));
    }
  }
}

namespace {

// d(mover, target) over everything, the mean's denominator apart; vectors of `width` components.
double distance(const std::vector<double>& mover, const std::vector<double>& target,
                std::size_t width, const std::string& name) {
  double sum = 0, squares = 0;
  for (std::size_t i = 0; i < mover.size(); ++i) {
    const double d = std::abs(mover[i] - target[i]);
    if (name == "smooth_l1") sum += d < 1 ? d * d / 2 : d - 0.5;
    if (name == "mse" || name == "relative_mse") sum += d * d;
    squares += target[i] * target[i];
  }
  if (name == "relative_mse") return sum / (squares + 1e-12);
  if (name != "cosine") return sum / static_cast<double>(mover.size());
  for (std::size_t begin = 0; begin < mover.size(); begin += width) {
    double ab = 0, aa = 0, bb = 0;
    for (std::size_t i = begin; i < begin + width; ++i) {
      ab += mover[i] * target[i];
      aa += mover[i] * mover[i];
      bb += target[i] * target[i];
    }
    sum += aa > 0 && bb > 0 ? 1 - ab / std::sqrt(aa * bb) : 0;
  }
  return sum / static_cast<double>(mover.size() / width);
}

}  // namespace

TEST_CASE("attention_distance and both lambdas make up attention's alignment", "[numeric]") {
  TemporaryFolder folder("tandem-corpus");
  std::string text;
  for (int i = 0; i < 20000; ++i) text.push_back(static_cast<char>(i * i % 97 + i % 13));
  atomic_write(folder / "text", text);
  for (const std::string name : {"smooth_l1", "mse", "relative_mse", "cosine"}) {
    CAPTURE(name);
    const Config config = Config::resolve(small_transformer({{"attention", "ssa"},
                                                             {"attention_distance", name},
                                                             {"attention_alpha", "3"},
                                                             {"attention_lambda_full", "0.5"},
                                                             {"attention_lambda_sparse", "2"},
                                                             {"attention_p", "1"},
                                                             {"weights", "dense"},
                                                             {"steps", "2"},
                                                             {"corpus", folder / "text"}}));
    Trainer trainer({config}, in_double());
    trainer.begin_stage(0);
    const Dataset& data = trainer.data();
    const ByteSampler sampler(run_key(config, "data"), 0,
                              WindowStarts(data.train, config.integer("context")),
                              config.integer("batch"));
    const Batch batch =
        trainer.batches().make({sampler.batch(0)}, config.integer("batch"), OutputsOf::kAll);
    double expected = 0;
    std::int64_t sites = 0;
    Context context;
    context.plans.attention.wanted = StreamsWanted::kBoth;
    context.plans.attention.running = RunningStream::kFull;
    context.observe_site = [&](const Site& site, const at::Tensor& full, const at::Tensor& sparse) {
      if (site.level != Level::kAttention) return;
      ++sites;
      const auto width = static_cast<std::size_t>(full.size(-1));
      const std::vector<double> a = list_of(full), b = list_of(sparse);
      expected += 0.5 * distance(a, b, width, name) + 2 * distance(b, a, width, name);
    };
    {
      const at::NoGradGuard no_grad;
      trainer.model().forward(batch.x, context);
    }
    REQUIRE(sites == 2);
    trainer.advance(0, 0, 1);
    REQUIRE(trainer.state(0).alignment_sum == Approx(3 * expected / 2).epsilon(1e-9));
    REQUIRE(expected > 1e-6);
  }
}

// The gradients are those of plain descent from the same start; by hand from there.
TEST_CASE("Adagrad divides by the root of the sum of squares, and its epsilon", "[numeric]") {
  const auto weights_after = [](const Settings& more, std::int64_t steps) {
    Settings said = {{"weights", "dense"}, {"lr", "1"}};
    for (const auto& [name, value] : more) said[name] = value;
    if (more.count("optimizer") == 0) said["momentum"] = "0";
    said.insert({{"weight_decay", "0"}, {"clip", "0"}, {"steps", "8"}});
    Trainer trainer({small_run(said)}, in_double());
    trainer.begin_stage(0);
    for (std::int64_t s = 0; s < steps; ++s) trainer.advance(0, s, 1);
    return trainer.model().parameters().front()->value.detach().clone();
  };
  const at::Tensor start = weights_after({}, 0), gradient = start - weights_after({}, 1);
  REQUIRE(gradient.abs().max().item<double>() > 1e-3);
  const Settings rule = {{"optimizer", "adagrad"}, {"lr", "0.3"}, {"adagrad_epsilon", "0.01"}};
  const at::Tensor once = weights_after(rule, 1);
  CHECK(torch::allclose(once, start - 0.3 * gradient / (gradient.abs() + 0.01), 1e-10, 1e-13));
  Settings finer = rule;
  finer["adagrad_epsilon"] = "1e-10";
  const at::Tensor signs = weights_after(finer, 1) - start;
  const at::Tensor there = gradient.abs().gt(1e-5);
  CHECK(torch::allclose(signs.masked_select(there), -0.3 * gradient.masked_select(there).sign(),
                        1e-4, 1e-6));
}

}  // namespace tandem::test::train_options_numeric
