// Topology updates that rank by batches of their own: what they choose, against gradients and
// inputs by plain autograd over the batches that the run's stream says; what they cost; and that
// nothing else of a run sees them.
#include <catch2/catch.hpp>
#include <numeric>

#include "config/seeds.h"
#include "core/error.h"
#include "data/tensor.h"
#include "methods/method.h"
#include "policy/criterion_facts.h"
#include "support/resume_support.h"
#include "support/train_support.h"
#include "topology/budgets.h"
#include "topology/criteria.h"
#include "train/trainer.h"

namespace tandem::test::train_fresh_numeric {

using namespace tandem::test;

namespace {

constexpr std::int64_t kSteps = 40;  // an update after each fifth; rigl's until the thirtieth

std::unique_ptr<Trainer> started(const std::vector<Config>& runs) {
  TrainerOptions options;
  options.dtype = torch::kDouble;
  auto trainer = std::make_unique<Trainer>(runs, options);
  trainer->begin_stage(0);
  return trainer;
}

// What an update of the first replica should read, per layer.
struct Reading {
  std::vector<at::Tensor> gradient;  // [in,out]
  std::vector<at::Tensor> squares;   // [in]
};

// Of update `number`, over `batches` batches at the weights as they are: the multi-layer perceptron
// of sparse weights, written out.
Reading read_by_hand(Trainer& trainer, std::int64_t number, std::int64_t batches) {
  const Config& config = trainer.run(0).config;
  const RandomStream stream{sub_key(run_key(config, "growth"), static_cast<std::uint64_t>(number))};
  const std::vector<std::int64_t>& examples = trainer.tasks(0).tasks.front().train.places();
  const std::int64_t size = config.integer("batch");
  const std::vector<Linear*> layers = trainer.model().linears();
  Reading reading;
  for (std::int64_t b = 0; b < batches; ++b) {
    std::vector<std::int64_t> own;
    for (std::int64_t i = 0; i < size; ++i) {
      const auto draw = static_cast<std::uint64_t>(b * size + i);
      own.push_back(examples[stream.below(draw, examples.size())]);
    }
    std::vector<std::vector<std::int64_t>> all(static_cast<std::size_t>(trainer.replicas()), own);
    const Batch batch = trainer.batches().make(all, size, OutputsOf::kAll);
    at::Tensor h = batch.x[0];
    std::vector<at::Tensor> weights;
    for (const Linear* layer : layers) {
      const at::Tensor flags = layer->connections->dense_flags()[0];
      const at::Tensor values = layer->connections->dense_values()[0];
      weights.push_back((values * flags.view_as(values)).detach().requires_grad_(true));
      if (b == 0) reading.squares.push_back(torch::zeros({layer->inputs()}, torch::kDouble));
      reading.squares[weights.size() - 1] +=
          h.detach().square().mean(0) / static_cast<double>(batches);
      h = h.mm(weights.back()) + layer->bias.value.detach()[0];
      if (layer != layers.back()) h = h.clamp_min(0);
    }
    const at::Tensor loss =
        -torch::log_softmax(h, -1).gather(1, batch.target[0].unsqueeze(1)).mean();
    const auto gradients = torch::autograd::grad({loss}, weights);
    for (std::size_t l = 0; l < layers.size(); ++l) {
      if (b == 0) reading.gradient.push_back(torch::zeros_like(gradients[l]));
      reading.gradient[l] += gradients[l] / static_cast<double>(batches);
    }
  }
  return reading;
}

// bool [n]: the `count` highest of those that are eligible, ties to the smaller position.
at::Tensor highest(const at::Tensor& scores, const at::Tensor& eligible, std::int64_t count) {
  const at::Tensor ranked = torch::where(eligible, scores, torch::full_like(scores, -1e300));
  const at::Tensor order = std::get<1>(ranked.sort(/*stable=*/true, 0, /*descending=*/true));
  return torch::zeros_like(eligible).index_fill_(0, order.narrow(0, 0, count), 1);
}

at::Tensor flags_of(const Linear& layer) { return layer.connections->dense_flags()[0].ne(0); }

at::Tensor values_of(const Linear& layer) {
  return layer.connections->dense_values()[0].reshape({-1}).clone();
}

// Masks that follow an update of the first replica, by layer.
using NextMasks = std::function<std::vector<at::Tensor>(Trainer&, std::int64_t step)>;

// Trains, and holds every update to `expected`. Returns how many there were.
int require_masks(Trainer& trainer, const NextMasks& expected) {
  std::vector<at::Tensor> next;
  std::int64_t step = 0;
  int updates = 0, moved = 0;
  trainer.before_update = [&](const std::vector<char>&) {
    at::AutoGradMode with_gradient(true);
    next = expected(trainer, step);
  };
  for (; step < kSteps; ++step) {
    CAPTURE(step);
    next.clear();
    std::vector<at::Tensor> before;
    for (const Linear* layer : trainer.model().linears()) before.push_back(flags_of(*layer));
    const StepReport report = trainer.advance(0, step, 1);
    if (report.updated[0] == 0) continue;
    ++updates;
    REQUIRE(next.size() == before.size());
    for (std::size_t l = 0; l < next.size(); ++l) {
      CAPTURE(l);
      const at::Tensor now = flags_of(*trainer.model().linears()[l]);
      REQUIRE(torch::equal(now, next[l]));
      moved += !torch::equal(now, before[l]);
    }
  }
  REQUIRE(moved > 0);
  return updates;
}

NextMasks dropped_and_grown(std::int64_t batches) {
  return [batches](Trainer& trainer, std::int64_t step) {
    const RunSchedule& run = trainer.run(0);
    const double fraction = drop_fraction_at(run.policies.weights.topology,
                                             plan_replica(run, 0, step).topology_progress);
    const Reading reading = read_by_hand(trainer, step + 1, batches);
    std::vector<at::Tensor> masks;
    for (const Linear* layer : trainer.model().linears()) {
      at::Tensor active = flags_of(*layer);
      const std::int64_t count = floor_count(fraction, active.sum().item<std::int64_t>());
      active = active & ~highest(-values_of(*layer).abs(), active, count);
      const at::Tensor scores = reading.gradient[masks.size()].reshape({-1}).abs();
      masks.push_back(active | highest(scores, ~active, count));
    }
    return masks;
  };
}

// The top of |g|, |w g| or |w| rms(input), as large as the mask is.
NextMasks ranked(const std::string& source, std::int64_t batches) {
  return [source, batches](Trainer& trainer, std::int64_t step) {
    const Reading reading = read_by_hand(trainer, step + 1, batches);
    std::vector<at::Tensor> masks;
    for (const Linear* layer : trainer.model().linears()) {
      const std::size_t l = masks.size();
      const at::Tensor magnitude = values_of(*layer).abs();
      const at::Tensor slope = reading.gradient[l].reshape({-1}).abs();
      const at::Tensor input = reading.squares[l].sqrt().repeat_interleave(layer->outputs());
      const at::Tensor scores = source == "gradient"   ? slope
                                : source == "saliency" ? magnitude * slope
                                                       : magnitude * input;
      const at::Tensor active = flags_of(*layer);
      masks.push_back(highest(scores, torch::ones_like(active), active.sum().item<std::int64_t>()));
    }
    return masks;
  };
}

Settings busy(const std::string& method, const Settings& more = {}) {
  Settings said = busy_method(method, "sgd", kSteps, 5);
  for (const auto& [name, value] : more) said[name] = value;
  return said;
}

std::vector<std::vector<at::Tensor>> values_of_all(Trainer& trainer, std::int64_t r) {
  std::vector<std::vector<at::Tensor>> all;
  for (Parameter* parameter : trainer.model().parameters()) {
    all.push_back({parameter->of_replica(r).detach().clone()});
    for (const auto& [name, slot] : parameter->slots) {
      all.back().push_back(parameter->segment(slot.values, r).clone());
    }
  }
  return all;
}

void require_equal(const std::vector<std::vector<at::Tensor>>& a,
                   const std::vector<std::vector<at::Tensor>>& b) {
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CAPTURE(i);
    REQUIRE(a[i].size() == b[i].size());
    for (std::size_t s = 0; s < a[i].size(); ++s) REQUIRE(torch::equal(a[i][s], b[i][s]));
  }
}

void train(Trainer& trainer, std::int64_t steps) {
  for (std::int64_t s = 0; s < steps; ++s) trainer.advance(0, s, 1);
}

}  // namespace

TEST_CASE("growth by batches of its own takes what they say, in both storages", "[numeric]") {
  for (const std::string order : {"step_then_update", "update_instead"}) {
    for (const std::string storage : {"masked", "sparse"}) {
      CAPTURE(order, storage);
      auto trainer = started({small_run(
          busy("rigl", {{"growth_batches", "3"}, {"update_order", order}, {"storage", storage}}))});
      REQUIRE(trainer->model().linears().front()->connections->is_dense() == (storage == "masked"));
      REQUIRE(require_masks(*trainer, dropped_and_grown(3)) == 6);
    }
  }
}

TEST_CASE("both storages keep the same masks under growth by batches of its own", "[numeric]") {
  for (const std::string method : {"rigl", "mest", "granet"}) {
    CAPTURE(method);
    Settings said = busy(method, {{"growth_batches", "3"}});
    if (method == "granet") said["initial_density"] = "0.5";
    said["storage"] = "masked";
    auto masked = started({small_run(said)});
    said["storage"] = "sparse";
    auto sparse = started({small_run(said)});
    int updates = 0;
    for (std::int64_t s = 0; s < kSteps; ++s) {
      CAPTURE(s);
      const StepReport mine = masked->advance(0, s, 1), other = sparse->advance(0, s, 1);
      REQUIRE(mine.updates.size() == other.updates.size());
      for (std::size_t l = 0; l < mine.updates.size(); ++l) {
        REQUIRE(mine.updates[l].mask_hash == other.updates[l].mask_hash);
      }
      updates += mine.updated[0];
    }
    REQUIRE(updates >= 5);
  }
}

TEST_CASE("a mask ranked by inputs takes their mean square over all batches", "[numeric]") {
  auto trainer = started({small_run(busy(
      "alternate",
      {{"mask_source", "magnitude_input"}, {"growth_batches", "3"}, {"refresh_interval", "5"}}))});
  REQUIRE(require_masks(*trainer, ranked("magnitude_input", 3)) >= 5);
}

TEST_CASE("a gradient that the step cuts is read from a batch of the update's own", "[numeric]") {
  const std::vector<std::pair<std::string, Settings>> cut = {
      {"alternate", {{"weights_draw", "layer"}}},
      {"alternate", {{"superset_density", "0.6"}}},
      {"ssa", {}},
      {"ssa", {{"weights_counterpart", "propagated"}}},
      {"ssa", {{"weights_align_every", "3"}}},
      {"sandwich", {}}};
  for (const auto& [method, more] : cut) {
    for (const std::string source : {"gradient", "saliency"}) {
      CAPTURE(method, more, source);
      Settings said = busy(method, more);
      said["mask_source"] = source;
      REQUIRE(policies_of(small_run(said), Level::kWeights).topology.fresh_batches == 1);
      auto trainer = started({small_run(said)});
      REQUIRE(require_masks(*trainer, ranked(source, 1)) >= 5);
      said["growth_batches"] = "4";
      REQUIRE(policies_of(small_run(said), Level::kWeights).topology.fresh_batches == 4);
      said["mask_source"] = "magnitude";
      said.erase("growth_batches");
      REQUIRE(policies_of(small_run(said), Level::kWeights).topology.fresh_batches == 0);
    }
  }
  const Config whole = small_run(busy("alternate", {{"mask_source", "gradient"}}));
  REQUIRE(policies_of(whole, Level::kWeights).topology.fresh_batches == 0);
}

TEST_CASE("criteria that read gradients are known where methods are filled", "[numeric]") {
  for (const auto& [name, each] : criteria().all()) {
    CAPTURE(name);
    CHECK(criterion_facts(name).gradient == each.needs_gradient);
    CHECK(criterion_facts(name).inputs == each.needs_inputs);
  }
}

TEST_CASE("batches of an update are the run's own, whoever is due beside it", "[numeric]") {
  const std::vector<std::pair<std::string, Settings>> cases = {
      {"rigl", {{"growth_batches", "3"}}},
      {"rigl", {{"growth_batches", "2"}, {"storage", "sparse"}}},
      {"alternate", {{"mask_source", "magnitude_input"}, {"growth_batches", "2"}}},
      {"alternate", {{"mask_source", "saliency"}, {"weights_draw", "layer"}}}};
  for (const auto& [method, more] : cases) {
    CAPTURE(method, more);
    Settings first = busy(method, more), second = first;
    second["seed"] = "2";
    second["density"] = "0.4";
    if (method == "rigl") second["update_interval"] = "3";
    const std::vector<Config> runs = {small_run(first), small_run(second)};
    REQUIRE(group_key(runs[0]) == group_key(runs[1]));
    auto together = started(runs);
    train(*together, kSteps);
    for (std::int64_t r = 0; r < 2; ++r) {
      auto alone = started({runs[static_cast<std::size_t>(r)]});
      train(*alone, kSteps);
      require_equal(values_of_all(*together, r), values_of_all(*alone, 0));
    }
  }
}

TEST_CASE("attention follows its own draws in the batches of an update", "[numeric]") {
  Settings said = small_transformer({{"steps", "12"},
                                     {"attention", "ssa"},
                                     {"weights", "rigl"},
                                     {"update_interval", "3"},
                                     {"growth_batches", "2"},
                                     {"evaluation_windows", "4"}});
  Settings other = said;
  other["seed"] = "2";
  const std::vector<Config> runs = {Config::resolve(said), Config::resolve(other)};
  auto together = started(runs);
  int differ = 0;  // updates at which the two draw different streams
  for (std::int64_t s = 0; s < 12; ++s) {
    const ReplicaPlan a = plan_replica(together->run(0), 0, s),
                      b = plan_replica(together->run(1), 0, s);
    differ += a.updates() && a.levels.attention.full != b.levels.attention.full;
    together->advance(0, s, 1);
  }
  REQUIRE(differ > 0);
  for (std::int64_t r = 0; r < 2; ++r) {
    auto alone = started({runs[static_cast<std::size_t>(r)]});
    train(*alone, 12);
    require_equal(values_of_all(*together, r), values_of_all(*alone, 0));
  }
}

TEST_CASE("a run that draws batches for its updates resumes to the same bits", "[numeric]") {
  require_resumable(pair_of(busy("rigl", {{"growth_batches", "3"}})), 7);
  Settings sequence = small_sequence();
  sequence["weights"] = "rigl";
  sequence["growth_batches"] = "2";
  sequence["update_interval"] = "4";
  require_resumable(pair_of(sequence), 11);
}

TEST_CASE("batches of an update shift nothing else of a run", "[numeric]") {
  for (const std::string order : {"step_then_update", "update_instead"}) {
    for (const std::string storage : {"masked", "sparse"}) {
      CAPTURE(order, storage);
      const auto after = [&](const std::string& batches) {
        // Nothing is dropped, so that the choice can't differ.
        auto trainer = started({small_run(busy("rigl", {{"growth_batches", batches},
                                                        {"update_order", order},
                                                        {"storage", storage},
                                                        {"drop_fraction", "0"}}))});
        train(*trainer, kSteps);
        return values_of_all(*trainer, 0);
      };
      require_equal(after("0"), after("4"));
    }
  }
}

namespace {

struct Ledger {
  double total, dense, sparse;  // training; forward of one batch in either stream
  int updates = 0, full = 0;    // steps
};

Ledger ledger_of(Settings said) {
  said["batch"] = "10";
  auto trainer = started({small_run(said)});
  Ledger ledger{};
  ledger.dense = 10 * trainer->flops().forward(0, true, true);
  ledger.sparse = 10 * trainer->flops().forward(0, true, false);
  for (std::int64_t s = 0; s < kSteps; ++s) {
    ledger.full += plan_replica(trainer->run(0), 0, s).levels.weights.full;
    ledger.updates += trainer->advance(0, s, 1).updated[0];
  }
  ledger.total = trainer->flops().training(0);
  return ledger;
}

}  // namespace

TEST_CASE("an update pays for each of its batches, its step for no dense gradient", "[numeric]") {
  const Ledger after =
      ledger_of(busy("rigl", {{"growth_batches", "4"}, {"update_order", "step_then_update"}}));
  REQUIRE(after.updates == 6);
  REQUIRE(after.total ==
          Approx(kSteps * 3 * after.sparse + 6 * 4 * (2 * after.sparse + after.dense)));
  // In place of a step the step's own batch has no part in it: (3 f_S dT + n (2 f_S + f_D)) / (dT +
  // 1), which is RigL's closed form at n = 1.
  const Ledger instead =
      ledger_of(busy("rigl", {{"growth_batches", "4"}, {"update_order", "update_instead"}}));
  REQUIRE(instead.total ==
          Approx((kSteps - 6) * 3 * instead.sparse + 6 * 4 * (2 * instead.sparse + instead.dense)));
  const Ledger own = ledger_of(busy("rigl")),
               one = ledger_of(busy("rigl", {{"growth_batches", "1"}}));
  REQUIRE(one.total == Approx(own.total));
  const Ledger inputs =
      ledger_of(busy("alternate", {{"mask_source", "magnitude_input"}, {"growth_batches", "2"}}));
  const double steps = 3 * (inputs.full * inputs.dense + (kSteps - inputs.full) * inputs.sparse);
  REQUIRE(inputs.updates >= 5);
  REQUIRE(inputs.total == Approx(steps + inputs.updates * 2 * inputs.sparse));
}

// An epoch's last batch is a short one, and the update comes after it.
TEST_CASE("batches of an update cost what they hold, whatever the step's own holds", "[numeric]") {
  constexpr std::int64_t kBatch = 7, kDrawn = 4;
  auto trainer = started({small_run(busy("rigl", {{"growth_batches", std::to_string(kDrawn)},
                                                  {"update_order", "step_then_update"},
                                                  {"update_interval_epochs", "1"},
                                                  {"batch", std::to_string(kBatch)},
                                                  {"steps", "0"},
                                                  {"epochs", "2"}}))});
  const auto examples = static_cast<std::int64_t>(trainer->tasks(0).tasks[0].train.size());
  REQUIRE(examples % kBatch != 0);
  std::int64_t updates = 0;
  for (std::int64_t s = 0; s < trainer->stage_steps(0); ++s) {
    updates += trainer->advance(0, s, 1).updated[0];
  }
  REQUIRE(updates == 1);
  const double dense = trainer->flops().forward(0, true, true),
               sparse = trainer->flops().forward(0, true, false);
  const double steps = static_cast<double>(2 * examples) * 3 * sparse;
  const double drawn = static_cast<double>(kDrawn * kBatch) * (2 * sparse + dense);
  REQUIRE(trainer->flops().training(0) == Approx(steps + drawn).epsilon(1e-12));
}

TEST_CASE("a schedule stretched to equal operations counts an update's batches", "[numeric]") {
  const auto total = [](const std::string& method, Settings more) {
    Settings said = {{"weights", method}, {"match", "train_flops"}, {"steps", "60"},
                     {"batch", "8"},      {"lr", "0.001"},          {"density", "0.2"}};
    said.merge(more);
    auto trainer = started({small_run(said)});
    train(*trainer, trainer->stage_steps(0));
    return std::pair(trainer->flops().training(0), trainer->stage_steps(0));
  };
  const auto dense = total("dense", {});
  const auto few = total("rigl", {{"update_interval", "6"}});
  const auto many = total("rigl", {{"update_interval", "6"}, {"growth_batches", "8"}});
  CHECK(few.first == Approx(dense.first).epsilon(0.02));
  CHECK(many.first == Approx(dense.first).epsilon(0.02));
  CHECK(many.second < few.second);
}

TEST_CASE("batches that no criterion would read are refused", "[numeric]") {
  const std::vector<std::pair<std::string, Settings>> blind = {
      {"set", {}},       {"cht", {}},
      {"snfs", {}},      {"itop", {}},
      {"ssa", {}},       {"itop", {{"grow_by", "averaged_gradient"}}},
      {"alternate", {}}, {"ste", {{"mask_source", "random"}}}};
  for (const auto& [method, more] : blind) {
    CAPTURE(method, more);
    Settings said = busy(method, more);
    said["growth_batches"] = "2";
    const Config config = small_run(said);
    REQUIRE_THROWS_WITH(Trainer({config}, {}), Catch::Contains("--growth-batches 2"));
  }
  REQUIRE_THROWS_AS(small_run({{"weights", "rigl"}, {"growth_batches", "-1"}}), ConfigError);
  REQUIRE_THROWS_AS(small_run({{"weights", "rigl"}, {"growth_batches", "1025"}}), ConfigError);
  REQUIRE_THROWS_AS(small_run({{"weights", "sam"}, {"growth_batches", "2"}}), ConfigError);
}

}  // namespace tandem::test::train_fresh_numeric
