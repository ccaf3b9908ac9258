// The masked and the sparse storage train the same network: equal masks after every update, equal
// values and slots up to the order of additions; in single precision the same accuracy.
#include <catch2/catch.hpp>
#include <cmath>

#include "analysis/statistics.h"
#include "data/tensor.h"
#include "eval/evaluate.h"
#include "support/train_support.h"
#include "topology/active_set.h"
#include "train/trainer.h"

namespace tandem::test::train_storage_parity {

using namespace tandem::test;

namespace {

constexpr std::int64_t kSteps = 150, kInterval = 10;
constexpr std::int64_t kLearningSteps = 300;  // until single precision has learnt something

std::vector<Config> stored(const Settings& said, const std::string& storage) {
  Settings settings = said;
  settings["storage"] = storage;
  std::vector<Config> runs;
  for (const char* density : {"0.1", "0.3"}) {  // one group, segments of different length
    settings["density"] = density;
    settings["seed"] = density == std::string("0.1") ? "3" : "4";
    runs.push_back(small_run(settings));
  }
  return runs;
}

// What the two storages say of one replica's layer, in position order: where it is active, or in
// its superset.
at::Tensor stored_part(const Parameter& parameter, const at::Tensor& flat, std::int64_t r) {
  const at::Tensor own = parameter.segment(flat, r);
  const at::Tensor superset = parameter.connections->superset_flags();
  const at::Tensor flags = superset.defined() ? superset : parameter.connections->active_flags();
  return flags.defined() ? own.masked_select(parameter.segment(flags, r).ne(0)) : own;
}

void require_same_supersets(const Parameter& masked, const Parameter& sparse, std::int64_t r) {
  const ActiveSet mine = masked.connections->superset(r);
  const ActiveSet other = sparse.connections->superset(r);
  REQUIRE(mine.known() == other.known());
  if (!mine.known()) return;
  REQUIRE(mine.hash() == other.hash());
  const at::Tensor outside = masked.segment(masked.connections->superset_flags(), r).eq(0);
  REQUIRE(masked.segment(masked.flat(), r).masked_select(outside).eq(0).all().item<bool>());
  for (const auto& [name, slot] : masked.slots) {
    CAPTURE(name);
    REQUIRE(
        masked.segment(slot.values, r).masked_select(outside).eq(slot.newborn).all().item<bool>());
  }
}

void require_alike(Trainer& masked, Trainer& sparse, double tolerance) {
  const auto mine = masked.model().parameters(), other = sparse.model().parameters();
  REQUIRE(mine.size() == other.size());
  const auto close = [tolerance](const at::Tensor& a, const at::Tensor& b) {
    REQUIRE(a.sizes() == b.sizes());
    return torch::allclose(a, b, tolerance, tolerance);
  };
  for (std::size_t i = 0; i < mine.size(); ++i) {
    CAPTURE(mine[i]->name);
    for (std::int64_t r = 0; r < masked.replicas(); ++r) {
      if (mine[i]->connections == nullptr) {
        REQUIRE(close(mine[i]->of_replica(r), other[i]->of_replica(r)));
        continue;
      }
      REQUIRE(mine[i]->connections->active_set(r).hash() ==
              other[i]->connections->active_set(r).hash());
      require_same_supersets(*mine[i], *other[i], r);
      REQUIRE(close(stored_part(*mine[i], mine[i]->flat(), r),
                    stored_part(*other[i], other[i]->flat(), r)));
      REQUIRE(mine[i]->slots.size() == other[i]->slots.size());
      for (const auto& [name, slot] : mine[i]->slots) {
        CAPTURE(name);
        REQUIRE(close(stored_part(*mine[i], slot.values, r),
                      stored_part(*other[i], other[i]->slots.at(name).values, r)));
      }
    }
  }
}

// Trains both side by side, compares every update, and swaps the sparse one for a new trainer that
// loads its state in the middle.
void require_parity(const Settings& said, at::ScalarType dtype, double tolerance) {
  TrainerOptions options;
  options.dtype = dtype;
  const auto sparse_runs = stored(said, "sparse");
  Trainer masked(stored(said, "masked"), options);
  auto sparse = std::make_unique<Trainer>(sparse_runs, options);
  REQUIRE_FALSE(sparse->model().linears().front()->connections->is_dense());
  masked.begin_stage(0);
  sparse->begin_stage(0);
  int updates = 0;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    CAPTURE(step);
    if (step == kSteps / 2) {
      auto fresh = std::make_unique<Trainer>(sparse_runs, options);
      fresh->begin_stage(0);
      for (std::int64_t r = 0; r < 2; ++r) fresh->load(r, sparse->save(r));
      sparse = std::move(fresh);
    }
    const StepReport mine = masked.advance(0, step, 1), other = sparse->advance(0, step, 1);
    REQUIRE(mine.updates.size() == other.updates.size());
    for (std::size_t l = 0; l < mine.updates.size(); ++l) {
      ++updates;
      REQUIRE(mine.updates[l].mask_hash == other.updates[l].mask_hash);
      REQUIRE(mine.updates[l].nnz == other.updates[l].nnz);
      REQUIRE(mine.updates[l].dropped == other.updates[l].dropped);
      REQUIRE(mine.updates[l].grown == other.updates[l].grown);
      const auto layer = mine.updates[l].layer;
      for (std::int64_t r = 0; r < 2; ++r) {
        require_same_supersets(masked.model().linears()[layer]->weight,
                               sparse->model().linears()[layer]->weight, r);
      }
    }
  }
  require_alike(masked, *sparse, tolerance);
  if (said.at("weights") != "static") REQUIRE(updates > 10);
}

Settings busy(const std::string& method, const std::string& optimizer, Settings more = {}) {
  Settings said = busy_method(method, optimizer, kSteps, kInterval);
  said["weight_decay"] = "0.01";
  said.merge(more);
  return said;
}

// What a storage's runs over the seeds come to, in single precision.
struct Outcome {
  std::vector<UpdateCounts> first;        // update, per layer
  std::vector<double> train, validation;  // [seeds] accuracy at the end
};

Outcome outcome_of(Settings said, const std::string& storage) {
  constexpr std::int64_t kSeeds = 10;
  said["storage"] = storage;
  std::vector<Config> runs;
  for (std::int64_t seed = 1; seed <= kSeeds; ++seed) {
    said["seed"] = std::to_string(seed);
    runs.push_back(small_run(said));
  }
  Trainer trainer(runs, {});
  const bool is_dense = trainer.model().linears().front()->connections->is_dense();
  REQUIRE(is_dense == (storage == "masked"));
  trainer.begin_stage(0);
  Outcome outcome;
  for (std::int64_t step = 0; step < trainer.stage_steps(0); ++step) {
    StepReport report = trainer.advance(0, step, 1);
    if (outcome.first.empty()) outcome.first = std::move(report.updates);
  }
  trainer.end_stage(0);
  const auto accuracies = [&](const std::string& split) {
    std::vector<double> all;
    for (const auto& rows :
         evaluate(trainer, {.stage = 1, .split = split, .wanted = std::vector<char>(kSeeds, 1)})) {
      REQUIRE(rows.size() == 1);
      all.push_back(static_cast<double>(rows.front().n_correct) /
                    static_cast<double>(rows.front().n_total));
    }
    return all;
  };
  outcome.train = accuracies("train");
  outcome.validation = accuracies("validation");
  return outcome;
}

// Student's 99% interval of the paired difference has 0 in it, and pairs are near each other.
void require_indistinguishable(const std::vector<double>& first,
                               const std::vector<double>& second) {
  REQUIRE(first.size() == second.size());
  std::vector<double> differences;
  double absolute = 0;
  for (std::size_t i = 0; i < first.size(); ++i) {
    differences.push_back(first[i] - second[i]);
    absolute += std::abs(differences.back()) / static_cast<double>(first.size());
  }
  CAPTURE(first, second);
  const Summary summary = summarize(differences);
  const auto n = static_cast<double>(summary.n);
  const double half = student_t(0.995, n - 1) * summary.sd.value() / std::sqrt(n);
  CHECK(std::abs(summary.mean) <= half);
  CHECK(absolute < 0.03);
}

}  // namespace

TEST_CASE("both storages train alike in double precision", "[parity]") {
  const std::vector<std::pair<std::string, Settings>> cases = {
      {"static", {}},
      {"set", {}},
      {"set", {{"drop_rule", "magnitude"}, {"regrow_dropped", "zero"}}},
      {"rigl", {}},
      {"rigl", {{"update_order", "step_then_update"}, {"init_scale", "fan_in"}}},
      {"gmp", {}},
      {"gmp", {{"initial_density", "0.5"}, {"prune_scope", "net"}}},
      {"granet", {{"initial_density", "0.5"}}},
      {"itop", {{"grow_by", "gradient"}}},
      {"mest", {{"drop_fraction", "0.1"}}},
      {"mest", {{"drop_fraction", "0.1"}, {"mest_order", "grow_first"}}},
      {"mest", {{"drop_fraction", "0.1"}, {"mest_order", "soft_bound"}}},
      {"cht", {}},
      {"cht", {{"cht_removal", "soft"}, {"cht_growth", "soft"}}},
      {"cht", {{"cht_score", "relative_importance"}, {"cht_growth", "soft"}}}};
  for (const auto& [method, more] : cases) {
    for (const std::string optimizer : {"sgd", "adamw"}) {
      CAPTURE(method, optimizer, more);
      Settings said = more;
      require_parity(busy(method, optimizer, said), torch::kFloat64, 1e-10);
    }
  }
}

TEST_CASE("within a superset both storages train alike", "[parity]") {
  struct Trained {
    const char *method, *optimizer;
    Settings more;
  };
  const std::vector<Trained> cases = {
      {"ssa", "sgd", {{"superset_density", "0.3"}}},  // of one replica that is its mask
      {"ssa", "adamw", {{"weights_detach", "true"}, {"weights_align_every", "3"}}},
      {"ssa", "adamw", {{"superset_random", "true"}, {"weights_draw", "layer"}}},
      {"ssa",
       "sgd",
       {{"superset_random", "true"},
        {"weights_counterpart", "propagated"},
        {"weights_alpha", "0.3"}}},
      {"alternate", "sgd", {{"dormant_decay", "0.01"}, {"init_scale", "fan_in"}}},
      {"alternate", "adamw", {{"superset_random", "true"}, {"mask_source", "magnitude_input"}}},
      {"alternate", "sgd", {{"mask_source", "random"}, {"weights_draw", "layer"}}},
      {"alternate", "adamw", {{"init_scale", "density"}, {"exempt", "layer1"}}},
      {"topkast", "sgd", {{"superset_density", "0"}, {"batch", "19"}}},
      {"topkast", "adamw", {{"layer_norm", "true"}}}};
  for (const auto& [method, optimizer, more] : cases) {
    CAPTURE(method, optimizer, more);
    Settings said = more;
    said.merge(Settings{{"superset_density", "0.4"}, {"superset_outside", "zero"}});
    require_parity(busy(method, optimizer, said), torch::kFloat64, 1e-10);
  }
}

TEST_CASE("within a superset a step is charged alike and the full read-out is its own",
          "[parity]") {
  for (const std::string method : {"ssa", "alternate"}) {
    CAPTURE(method);
    TrainerOptions options;
    options.dtype = torch::kFloat64;
    const Settings said =
        busy(method, "sgd", {{"superset_density", "0.4"}, {"superset_outside", "zero"}});
    Trainer masked(stored(said, "masked"), options), sparse(stored(said, "sparse"), options);
    for (Trainer* each : {&masked, &sparse}) {
      each->begin_stage(0);
      for (std::int64_t step = 0; step < 25; ++step) each->advance(0, step, 1);
      each->state(0);
    }
    for (std::int64_t r = 0; r < 2; ++r) {
      REQUIRE(masked.flops().training(r) > 0);
      REQUIRE(masked.flops().training(r) == sparse.flops().training(r));
    }
    const at::NoGradGuard no_grad;
    const Batch batch = masked.batches().make({{0, 1, 2, 3}, {4, 5, 6, 7}}, 4, OutputsOf::kAll);
    std::vector<at::Tensor> outputs;
    for (Trainer* each : {&masked, &sparse}) {
      for (const bool superset : {false, true}) {
        Context context;
        context.plans.weights.wanted = StreamsWanted::kFull;
        context.plans.weights.superset = superset;
        outputs.push_back(each->model().forward(batch.x, context));
      }
    }
    for (const at::Tensor& each : outputs) {
      REQUIRE(torch::allclose(each, outputs.front(), 1e-10, 1e-10));
    }
    const Evaluation all{.stage = 1, .split = "test", .wanted = {1, 1}};
    const auto mine = evaluate(masked, all), other = evaluate(sparse, all);
    for (std::size_t r = 0; r < 2; ++r) {
      REQUIRE(mine[r].size() == 2);
      REQUIRE(other[r].size() == 2);
      for (std::size_t i = 0; i < 2; ++i) {
        REQUIRE(mine[r][i].readout.weights.stream == other[r][i].readout.weights.stream);
        REQUIRE(mine[r][i].n_correct == other[r][i].n_correct);
        REQUIRE(mine[r][i].loss == Approx(other[r][i].loss).epsilon(1e-9));
      }
    }
  }
}

TEST_CASE("other shapes and activations train alike in both storages", "[parity]") {
  const Settings gelu = {{"activation", "gelu"}, {"layer_norm", "true"}, {"batch", "19"}};
  require_parity(busy("set", "sgd", gelu), torch::kFloat64, 1e-10);
  const Settings exempt = {{"exempt", "layer2"}, {"batch", "1"}, {"init_scale", "density"}};
  require_parity(busy("rigl", "adamw", exempt), torch::kFloat64, 1e-10);
}

TEST_CASE("in single precision the storages come to the same accuracy", "[parity]") {
  for (const std::string method : {"set", "rigl"}) {
    CAPTURE(method);
    Settings said = busy_method(method, "sgd", kLearningSteps, kInterval);
    said["lr"] = "0.1";
    said["validation"] = "0.03";
    const Outcome masked = outcome_of(said, "masked"), sparse = outcome_of(said, "sparse");
    REQUIRE(masked.first.size() == 3);
    REQUIRE(sparse.first.size() == 3);
    for (std::size_t l = 0; l < masked.first.size(); ++l) {
      CAPTURE(l);
      CHECK(masked.first[l].grown == sparse.first[l].grown);
      CHECK(masked.first[l].mask_hash == sparse.first[l].mask_hash);
    }
    require_indistinguishable(masked.train, sparse.train);
    require_indistinguishable(masked.validation, sparse.validation);
    CHECK(summarize(sparse.train).mean > 0.5);  // they learn
  }
}

}  // namespace tandem::test::train_storage_parity
