// Task-incremental training: every term of the loss sees the head of an example's own task and no
// other. Slopes of the output biases against loops over that head in double; and beside them, that
// each of two nets in one replica is clipped by its own norm.
#include <catch2/catch.hpp>
#include <cmath>

#include "methods/method.h"
#include "plan/stages.h"
#include "support/layer_state.h"
#include "support/step_support.h"

namespace tandem::test::train_own_head_numeric {

using namespace tandem::test;

namespace {

using Row = std::vector<double>;
using Rows = std::vector<Row>;
constexpr std::int64_t kHead = 2;  // outputs of a task; task t has [2t, 2t + 2)

Settings with(Settings said, const Settings& more) {
  for (const auto& [name, value] : more) said[name] = value;
  return said;
}

// All five tasks at once, so that the heads differ within a batch.
std::unique_ptr<Trainer> joint(const Settings& said) {
  const Settings plain = {{"scenario", "task_il"}, {"strategy", "joint"}, {"tasks", "5"},
                          {"momentum", "0"},       {"weight_decay", "0"}, {"clip", "0"},
                          {"lr", "0.1"},           {"steps", "2"},        {"batch", "24"}};
  auto trainer = std::make_unique<Trainer>(std::vector{small_run(with(plain, said))}, in_double());
  trainer->begin_stage(0);
  return trainer;
}

Batch first_batch(const Trainer& trainer) {
  const std::vector<std::int64_t> of_stage = trainer.stages_of(0).examples(0);
  const Config& config = trainer.run(0).config;
  EpochSampler sampler(run_key(config, "data"), 0, static_cast<std::int64_t>(of_stage.size()),
                       config.integer("batch"));
  std::vector<std::int64_t> examples = sampler.batch(0);
  for (std::int64_t& each : examples) each = of_stage[static_cast<std::size_t>(each)];
  return trainer.batches().make({examples}, static_cast<std::int64_t>(examples.size()),
                                OutputsOf::kAll);
}

Rows logits_of(Trainer& trainer, const Batch& batch, StreamsWanted wanted) {
  const at::NoGradGuard no_grad;
  Context context;
  context.plans.weights.wanted = wanted;
  const at::Tensor logits = trainer.model().forward(batch.x, context)[0];
  Rows rows;
  for (std::int64_t n = 0; n < logits.size(0); ++n) {
    const at::Tensor own = logits[n].contiguous();
    rows.emplace_back(own.data_ptr<double>(), own.data_ptr<double>() + own.numel());
  }
  return rows;
}

std::size_t head_begin(const Batch& batch, std::size_t n) {
  const auto label = batch.target[0][static_cast<std::int64_t>(n)].item<std::int64_t>();
  return static_cast<std::size_t>(label / kHead * kHead);
}

// Of the row's own head, 0 elsewhere.
Row shares(const Row& logits, std::size_t first, double temperature = 1) {
  double sum = 0;
  Row result(logits.size(), 0);
  for (std::size_t c = first; c < first + kHead; ++c) sum += std::exp(logits[c] / temperature);
  for (std::size_t c = first; c < first + kHead; ++c) {
    result[c] = std::exp(logits[c] / temperature) / sum;
  }
  return result;
}

at::Tensor output_bias(Trainer& trainer) {
  return trainer.model().linears().back()->bias.value.detach()[0].clone();
}

// What the first step's gradient of the output biases was.
Row slope_of_first_step(Trainer& trainer) {
  const at::Tensor before = output_bias(trainer);
  trainer.advance(0, 0, 1);
  const at::Tensor slope = (before - output_bias(trainer)) / trainer.run(0).config.real("lr");
  const at::Tensor flat = slope.contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

// Mean over rows of f(row, its head's first output), of cross-entropy and what else there is.
template <class Slope>
Row mean_slope(const Batch& batch, std::size_t rows, const Slope& of_row) {
  Row sum(10, 0);
  for (std::size_t n = 0; n < rows; ++n) {
    const Row own = of_row(n, head_begin(batch, n));
    for (std::size_t c = 0; c < sum.size(); ++c) sum[c] += own[c] / static_cast<double>(rows);
  }
  return sum;
}

Row cross_entropy_slope(const Row& logits, const Batch& batch, std::size_t n, std::size_t first) {
  Row slope = shares(logits, first);
  slope[static_cast<std::size_t>(
      batch.target[0][static_cast<std::int64_t>(n)].item<std::int64_t>())] -= 1;
  return slope;
}

void require_close(const Row& got, const Row& expected) {
  double largest = 0;
  for (std::size_t c = 0; c < got.size(); ++c) {
    CAPTURE(c);
    REQUIRE(got[c] == Approx(expected[c]).epsilon(1e-9).margin(1e-12));
    largest = std::max(largest, std::abs(got[c]));
  }
  REQUIRE(largest > 1e-3);
}

}  // namespace

TEST_CASE("a teacher's distillation is T^2 KL over the example's own head", "[numeric]") {
  const Settings said = {{"weights", "rigl_teacher"},
                         {"teacher_alpha", "0.7"},
                         {"teacher_temperature", "2.5"},
                         {"update_interval", "100"}};
  auto taught = joint(said);
  auto dense = joint({{"weights", "dense"}});  // the teacher is the dense net of the same seed
  const Batch batch = first_batch(*taught);
  const Rows own = logits_of(*taught, batch, StreamsWanted::kSparse);
  const Rows teacher = logits_of(*dense, batch, StreamsWanted::kFull);
  const Row expected = mean_slope(batch, own.size(), [&](std::size_t n, std::size_t first) {
    Row slope = cross_entropy_slope(own[n], batch, n, first);
    const Row p = shares(own[n], first, 2.5), q = shares(teacher[n], first, 2.5);
    for (std::size_t c = 0; c < slope.size(); ++c) slope[c] += 0.7 * 2.5 * (p[c] - q[c]);
    return slope;
  });
  require_close(slope_of_first_step(*taught), expected);
}

TEST_CASE("the sandwich distils over the example's own head", "[numeric]") {
  auto trainer = joint({{"weights", "sandwich"}, {"weights_alpha", "1.5"}});
  const Batch batch = first_batch(*trainer);
  const Rows full = logits_of(*trainer, batch, StreamsWanted::kFull);
  const Rows sparse = logits_of(*trainer, batch, StreamsWanted::kSparse);
  const Row expected = mean_slope(batch, full.size(), [&](std::size_t n, std::size_t first) {
    Row slope = cross_entropy_slope(full[n], batch, n, first);
    const Row p = shares(sparse[n], first), q = shares(full[n], first);
    for (std::size_t c = 0; c < slope.size(); ++c) slope[c] += 1.5 * (p[c] - q[c]);
    return slope;
  });
  require_close(slope_of_first_step(*trainer), expected);
}

TEST_CASE("alignment at the logits is a mean over the examples' own heads", "[numeric]") {
  const double alpha = 3, to_full = 1, to_sparse = 0.25;
  for (const std::string distance : {"smooth_l1", "mse", "relative_mse", "logit_kl"}) {
    CAPTURE(distance);
    auto trainer = joint({{"weights", "ssa"},
                          {"weights_site", "logits"},
                          {"weights_counterpart", "propagated"},
                          {"weights_distance", distance},
                          {"weights_p", "1"},
                          {"weights_alpha", "3"},
                          {"weights_lambda_full", "1"},
                          {"weights_lambda_sparse", "0.25"},
                          {"weights_gap_target", "0.5"}});
    const Batch batch = first_batch(*trainer);
    const Rows full = logits_of(*trainer, batch, StreamsWanted::kFull);
    const Rows sparse = logits_of(*trainer, batch, StreamsWanted::kSparse);
    double gap = 0, of_full = 0, of_sparse = 0;
    for (std::size_t n = 0; n < full.size(); ++n) {
      const std::size_t first = head_begin(batch, n);
      for (std::size_t c = first; c < first + kHead; ++c) {
        gap += std::pow(full[n][c] - sparse[n][c], 2);
        of_full += full[n][c] * full[n][c];
        of_sparse += sparse[n][c] * sparse[n][c];
      }
    }
    const auto rows = static_cast<double>(full.size());
    const Row expected = mean_slope(batch, full.size(), [&](std::size_t n, std::size_t first) {
      Row slope = cross_entropy_slope(full[n], batch, n, first);
      const Row p = shares(full[n], first), q = shares(sparse[n], first);
      for (std::size_t c = first; c < first + kHead; ++c) {
        const double d = full[n][c] - sparse[n][c];
        // How d(full, sparse) moves with the full output, and with the sparse one, times rows.
        double by_full = 2 * d / kHead, by_sparse = -by_full;
        if (distance == "smooth_l1") by_full = std::clamp(d, -1.0, 1.0) / kHead;
        if (distance == "smooth_l1") by_sparse = -by_full;
        if (distance == "relative_mse") by_full = 2 * d * rows / of_sparse;
        if (distance == "relative_mse") by_sparse = -2 * d * rows / of_full;
        if (distance == "logit_kl") by_full = p[c] - q[c];
        if (distance == "logit_kl") by_sparse = q[c] - p[c];
        slope[c] += alpha * (to_full * by_full + to_sparse * by_sparse);
      }
      return slope;
    });
    require_close(slope_of_first_step(*trainer), expected);
    REQUIRE(trainer->state(0).weights.gap == Approx(gap / of_full).epsilon(1e-9));
  }
}

namespace {

// Trains two tasks and requires that the biases of heads not yet reached keep every bit.
void require_untouched(const Settings& said) {
  const Config config = small_run(with({{"scenario", "task_il"},
                                        {"tasks", "5"},
                                        {"weight_decay", "0"},
                                        {"steps", "8"},
                                        {"batch", "12"}},
                                       said));
  Trainer trainer({config}, {});
  const at::Tensor start = output_bias(trainer);
  for (std::int64_t stage = 0; stage < 2; ++stage) {
    trainer.begin_stage(stage);
    for (std::int64_t step = 0; step < trainer.stage_steps(stage); ++step) {
      trainer.advance(stage, step, 1);
    }
    trainer.end_stage(stage);
    const std::int64_t reached = kHead * (stage + 1);
    const at::Tensor now = output_bias(trainer);
    REQUIRE(now.slice(0, reached).equal(start.slice(0, reached)));
    REQUIRE_FALSE(
        now.slice(0, reached - kHead, reached).equal(start.slice(0, reached - kHead, reached)));
  }
}

}  // namespace

TEST_CASE("no method's loss reaches the head of a task that has not begun", "[numeric]") {
  for (const auto& [method, factory] : weights_methods().all()) {
    DYNAMIC_SECTION(method) { require_untouched(busy_method(method, "sgd", 8, 3)); }
  }
}

TEST_CASE("no strategy's loss and no variant of alignment does", "[numeric]") {
  for (const auto& [strategy, factory] : strategies().all()) {
    if (strategy == "joint") continue;  // begins all tasks at once
    DYNAMIC_SECTION(strategy) { require_untouched({{"weights", "ssa"}, {"strategy", strategy}}); }
  }
  const Settings ssa = {{"weights", "ssa"},
                        {"weights_site", "logits"},
                        {"weights_counterpart", "propagated"},
                        {"refresh_interval", "3"}};
  for (const std::string distance : {"smooth_l1", "mse", "relative_mse", "cosine", "logit_kl"}) {
    for (const std::string shuffled : {"false", "true"}) {
      DYNAMIC_SECTION(distance << " shuffled " << shuffled) {
        require_untouched(
            with(ssa, {{"weights_distance", distance}, {"weights_shuffle_target", shuffled}}));
      }
    }
  }
}

namespace {

std::map<std::string, at::Tensor> saved_values(const Trainer& trainer) {
  std::map<std::string, at::Tensor> values;
  for (const auto& [name, tensor] : trainer.save(0)) {
    if (name.rfind("parameter/", 0) == 0) values[name.substr(10)] = tensor;
  }
  return values;
}

}  // namespace

TEST_CASE("teacher and pupil are each clipped by their own norm", "[numeric]") {
  // A teacher that teaches nothing leaves its pupil RigL, and is itself dense training.
  const auto trained = [](const std::string& method, const std::string& clip) {
    Settings said = {{"weights", method},
                     {"momentum", "0.9"},
                     {"weight_decay", "0"},
                     {"clip", clip},
                     {"steps", "6"}};
    if (method != "dense") said["update_interval"] = "100";
    if (method == "rigl_teacher") said["teacher_alpha"] = "1e-300";
    Trainer trainer({small_run(said)}, in_double());
    trainer.begin_stage(0);
    for (std::int64_t step = 0; step < 6; ++step) trainer.advance(0, step, 1);
    REQUIRE_FALSE(trainer.diverged(0));
    return saved_values(trainer);
  };
  const auto both = trained("rigl_teacher", "0.05");
  const auto rigl = trained("rigl", "0.05"), dense = trained("dense", "0.05");
  for (const auto& [name, value] : rigl) {
    CAPTURE(name);
    REQUIRE(torch::allclose(both.at(name), value, 1e-11, 1e-13));
  }
  for (const auto& [name, value] : dense) {
    CAPTURE(name);
    REQUIRE(torch::allclose(both.at("teacher." + name), value, 1e-11, 1e-13));
  }
  REQUIRE(both.size() == rigl.size() + dense.size());
  REQUIRE_FALSE(torch::allclose(dense.at("layer2.bias"), trained("dense", "0").at("layer2.bias")));
}

TEST_CASE("a teacher that is not finite ends the run before its pupil has moved", "[numeric]") {
  const Config config = small_run({{"weights", "rigl_teacher"}, {"clip", "0"}, {"steps", "6"}});
  Trainer trainer({config}, in_double());
  trainer.begin_stage(0);
  SavedState state = trainer.save(0);
  for (auto& [name, tensor] : state) {
    if (name.find("teacher.") != std::string::npos) {
      tensor.fill_(std::numeric_limits<double>::quiet_NaN());
    }
  }
  trainer.load(0, state);
  trainer.advance(0, 0, 1);
  REQUIRE(trainer.diverged(0));
  for (const auto& [name, value] : saved_values(trainer)) {
    if (name.rfind("teacher.", 0) != 0) REQUIRE(value.isfinite().all().item<bool>());
  }
}

TEST_CASE("a loss that is not finite at perturbed weights ends the run before it has moved",
          "[numeric]") {
  for (const std::string method : {"sam", "cram"}) {
    CAPTURE(method);
    Trainer trainer({small_run({{"weights", method}, {"radius", "1e300"}, {"clip", "0"}})},
                    in_double());
    trainer.begin_stage(0);
    const auto before = saved_values(trainer);
    trainer.advance(0, 0, 1);
    REQUIRE(trainer.diverged(0));
    for (const auto& [name, value] : saved_values(trainer)) {
      CAPTURE(name);
      REQUIRE(value.equal(before.at(name)));
    }
  }
}

}  // namespace tandem::test::train_own_head_numeric
