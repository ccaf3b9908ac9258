// Probes of task sequences beside training: those that look at tasks have rows at every task's end,
// the same in both storages, in company and stopped again and again, in every scenario and with
// strategies that read other values than they train; and training is the same to the bit.
#include <cmath>
#include <set>

#include "probes/probe.h"
#include "support/resume_support.h"
#include "train/trainer.h"

namespace tandem::test::probes_sequences_numeric {

using namespace tandem::test;

namespace {

const std::string kFamilies =
    "barrier,calibration,capacity,drift,interference,linear_probe,representation,tasks,"
    "weight_distance";

Settings sequence(const std::string& scenario, const std::string& strategy,
                  const std::string& weights = "set") {
  Settings said = {{"scenario", scenario}, {"strategy", strategy},    {"weights", weights},
                   {"tasks", "5"},         {"train_examples", "400"}, {"validation", "0.02"},
                   {"widths", "13,11"},    {"batch", "20"},           {"epochs", "2"},
                   {"density", "0.3"},     {"curve", "false"},        {"lr", "0.05"},
                   {"probes", kFamilies}};
  if (weights == "set") said["update_interval"] = "3";
  return said;
}

std::vector<MetricRow> rows_of(const std::vector<Config>& runs, const std::string& run) {
  GroupSpec spec;
  spec.runs = runs;
  MemorySink sink;
  REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
  std::vector<MetricRow> rows;
  for (const Row& row : sink.unacknowledged()) {
    const auto* metric = std::get_if<MetricRow>(&row.body);
    if (row.run != run || metric == nullptr || metric->name.rfind("probe_", 0) == 0) continue;
    INFO(metric->layer << " " << metric->name);
    REQUIRE(std::isfinite(metric->value));
    rows.push_back(*metric);
  }
  return rows;
}

std::vector<MetricRow> rows_of(const Settings& said) {
  const Config run = Config::resolve(said);
  return rows_of({run}, run.id());
}

std::vector<double> values_of(const std::vector<MetricRow>& rows, const std::string& name,
                              const std::string& layer) {
  std::vector<double> values;
  for (const MetricRow& row : rows) {
    if (row.name == name && row.layer == layer) values.push_back(row.value);
  }
  return values;
}

std::size_t count(const std::vector<MetricRow>& rows, const std::string& name,
                  const std::string& layer) {
  return values_of(rows, name, layer).size();
}

}  // namespace

TEST_CASE("families of tasks have rows at every task's end, others at the end", "[numeric]") {
  Settings said = sequence("class_il", "finetune");
  said["probes"] = kFamilies + ",activations";
  const auto rows = rows_of(said);
  // From the first task on.
  for (const char* name : {"ece", "linear_probe_accuracy", "head_accuracy"}) {
    CHECK(count(rows, name, "") == 5);
  }
  CHECK(count(rows, "weight_norm", "weights") == 5);
  CHECK(count(rows, "weight_distance", "weights") == 5);
  CHECK(count(rows, "weight_distance", "weights/layer1") == 5);
  CHECK(count(rows, "task_dead_units", "layer1") == 5);
  CHECK(count(rows, "task_live_l0", "") == 5);
  CHECK(count(rows, "dormant_025", "layer0") == 5);
  for (const char* name : {"feature_effective_rank", "feature_srank_01", "feature_stable_rank"}) {
    for (const char* layer : {"layer0", "layer1", ""}) {
      INFO(name << " " << layer);
      const auto ranks = values_of(rows, name, layer);
      CHECK(ranks.size() == 5);
      for (const double rank : ranks) {
        CHECK(rank > 0.999);
        CHECK(rank < 13.001);
      }
    }
  }
  // Between tasks.
  for (const char* name :
       {"task_gradient_cosine", "task_conflict", "task_gradient_cosine_active",
        "task_conflict_active", "loss_barrier", "loss_barrier_earlier", "weight_change", "mask_iou",
        "mask_iou_chance", "mask_turnover", "mask_exploration"}) {
    INFO(name);
    CHECK(count(rows, name, "weights") == 4);
  }
  CHECK(count(rows, "mask_iou", "weights/layer0") == 4);
  CHECK(count(rows, "task_cka", "layer0") == 4);
  CHECK(count(rows, "task_change", "") == 4);
  CHECK(count(rows, "recency_bias", "") == 4);
  // What plain training forgets is the head: all predictions are of the latest task.
  CHECK(values_of(rows, "recency_bias", "").back() > 0.5);
  CHECK(values_of(rows, "linear_probe_accuracy", "").back() >
        values_of(rows, "head_accuracy", "").back());
  for (const double cka : values_of(rows, "task_cka", "")) {
    CHECK(cka > 0);
    CHECK(cka < 1);
  }
  CHECK(count(rows, "capacity_new", "weights") == 0);
  CHECK(count(rows, "l0", "layer0") == 1);
  std::set<std::int64_t> steps;
  for (const MetricRow& row : rows) {
    if (row.name == "ece") steps.insert(row.step);
  }
  CHECK(steps.size() == 5);
}

namespace {

// All values that the trained stream computes with, one after another.
std::vector<double> values_trained(Trainer& trainer, bool full_stream) {
  std::vector<double> all;
  for (const Linear* layer : trainer.model().linears()) {
    at::Tensor weight = layer->connections->dense_values()[0].detach().clone().reshape({-1});
    if (!full_stream) weight = weight * layer->connections->dense_flags()[0].reshape({-1});
    for (const at::Tensor& each : {weight, layer->bias.value.detach()[0].clone()}) {
      for (std::int64_t i = 0; i < each.numel(); ++i) all.push_back(each[i].item<double>());
    }
  }
  return all;
}

}  // namespace

// A training of the same config, step by step, without probes.
TEST_CASE("the distance from the start is that of a training that is watched", "[numeric]") {
  const auto [weights, storage, full_stream] =
      GENERATE(table<std::string, std::string, bool>({{"dense", "masked", true},
                                                      {"set", "masked", false},
                                                      {"rigl", "sparse", false},
                                                      {"ssa", "masked", true},
                                                      {"ste", "masked", false}}));
  CAPTURE(weights, storage);
  Settings said = sequence("class_il", "er", weights);
  if (weights == "rigl") said["update_interval"] = "3";
  said["storage"] = storage;
  said["dtype"] = "float64";
  TrainerOptions options;
  options.dtype = torch::kDouble;
  Trainer trainer({Config::resolve(said)}, options);
  const std::vector<double> start = values_trained(trainer, full_stream);
  std::vector<double> expected;
  for (std::int64_t stage = 0; stage < trainer.stages(); ++stage) {
    trainer.begin_stage(stage);
    for (std::int64_t t = 0; t < trainer.stage_steps(stage);) {
      t += trainer.advance(stage, t, trainer.stage_steps(stage) - t).steps;
    }
    trainer.end_stage(stage);
    const std::vector<double> now = values_trained(trainer, full_stream);
    double sum = 0;
    for (std::size_t i = 0; i < now.size(); ++i) sum += (now[i] - start[i]) * (now[i] - start[i]);
    expected.push_back(std::sqrt(sum));
  }
  const auto found = values_of(rows_of(said), "weight_distance", "weights");
  REQUIRE(found.size() == expected.size());
  for (std::size_t k = 0; k < found.size(); ++k) {
    CHECK(found[k] > 0.01);
    CHECK(found[k] == Approx(expected[k]).epsilon(1e-12));
  }
}

TEST_CASE("tasks that have nets of their own take capacity, and forget nothing", "[numeric]") {
  const std::string strategy = GENERATE("packnet", "wsn", "hat");
  const std::string scenario = GENERATE("task_il", "class_il", "domain_il");
  CAPTURE(strategy, scenario);
  const auto rows = rows_of(sequence(scenario, strategy, "dense"));
  const auto cumulative = values_of(rows, "capacity_cumulative", "weights");
  const auto fresh = values_of(rows, "capacity_new", "weights");
  const auto reused = values_of(rows, "capacity_reused", "weights");
  REQUIRE(cumulative.size() == 5);
  REQUIRE(fresh.size() == 5);
  CHECK(cumulative[0] == Approx(fresh[0]));
  CHECK(reused.front() == 0);
  for (std::size_t t = 1; t < 5; ++t) {
    CHECK(cumulative[t] == Approx(cumulative[t - 1] + fresh[t]));
    CHECK(cumulative[t] <= 1);
  }
  CHECK(reused.back() > 0);
  // What a task is read through stays what it was.
  for (const double change : values_of(rows, "task_change", "")) {
    CHECK(change == Approx(0).margin(strategy == "hat" ? 1e-3 : 0));
  }
  CHECK(count(rows, "task_gradient_cosine", "weights") == 0);
  CHECK(count(rows, "loss_barrier", "weights") == 0);
  CHECK(count(rows, "recency_bias", "") == 0);
  CHECK(count(rows, "ece", "") == 5);
  CHECK(count(rows, "linear_probe_accuracy", "") == 5);
}

TEST_CASE("both storages measure the same of one sequence in double", "[numeric]") {
  const std::string strategy = GENERATE("er", "packnet", "cls_er");
  const std::string weights = GENERATE("set", "rigl", "static");
  CAPTURE(strategy, weights);
  const auto measured = [&](const std::string& storage) {
    Settings said = sequence("class_il", strategy, weights);
    said["storage"] = storage;
    said["dtype"] = "float64";
    said["probe_every"] = "7";
    if (weights == "rigl") said["update_interval"] = "3";
    return rows_of(said);
  };
  const auto masked = measured("masked"), sparse = measured("sparse");
  REQUIRE(masked.size() == sparse.size());
  REQUIRE(masked.size() > 100);
  for (std::size_t i = 0; i < masked.size(); ++i) {
    INFO(masked[i].layer << " " << masked[i].name << " " << masked[i].step);
    CHECK(masked[i].layer == sparse[i].layer);
    CHECK(masked[i].name == sparse[i].name);
    CHECK(masked[i].step == sparse[i].step);
    if (masked[i].name == "strategy_bytes") {  // less where less is stored
      CHECK((masked[i].value > sparse[i].value || strategy == "er"));
      continue;
    }
    CHECK(masked[i].value == Approx(sparse[i].value).epsilon(1e-5).margin(1e-7));
  }
}

TEST_CASE("all probes of a sequence: alone, in company, and stopped again and again", "[numeric]") {
  const auto [scenario, strategy, storage] =
      GENERATE(table<std::string, std::string, std::string>({{"class_il", "er", "masked"},
                                                             {"task_il", "ewc", "sparse"},
                                                             {"domain_il", "cls_er", "sparse"},
                                                             {"class_il", "packnet", "sparse"},
                                                             {"task_il", "wsn", "masked"},
                                                             {"class_il", "joint", "masked"}}));
  CAPTURE(scenario, strategy, storage);
  Settings said = sequence(scenario, strategy);
  said["storage"] = storage;
  said["probes"] = "all";
  said["probe_every"] = "5";
  said["class_order"] = "random";
  std::vector<Config> runs;
  for (const char* seed : {"1", "2"}) {
    said["seed"] = seed;
    runs.push_back(Config::resolve(said));
  }
  require_resumable(runs, 7);
  const auto together = rows_of(runs, runs.back().id()), alone = rows_of(said);
  REQUIRE(together.size() == alone.size());
  for (std::size_t i = 0; i < alone.size(); ++i) {
    INFO(alone[i].layer << " " << alone[i].name << " " << alone[i].step);
    CHECK(together[i].name == alone[i].name);
    CHECK(together[i].layer == alone[i].layer);
    CHECK(together[i].value == alone[i].value);
  }
}

TEST_CASE("training of a sequence is the same to the bit with all probes and with none",
          "[numeric]") {
  const std::string strategy =
      GENERATE("er", "packnet", "hat", "spacenet", "cls_er", "agem", "lwf");
  const std::string storage = GENERATE("masked", "sparse");
  CAPTURE(strategy, storage);
  const auto trained = [&](bool probed) {
    Settings said = sequence("class_il", strategy, "rigl");
    said["update_interval"] = "3";
    said["storage"] = storage;
    said["probes"] = probed ? "all" : "topology";
    if (probed) said["probe_every"] = "4";
    const Config run = Config::resolve(said);
    const Outcome outcome = run_disturbed({run}, 0);
    std::set<std::string> results;
    for (const auto& [key, line] : outcome.rows) {
      if (line.front() != '{') continue;
      Row row = decode_row(line);
      row.run.assign(64, '0');
      row.sequence = 0;
      const bool of_training = std::holds_alternative<EvalRow>(row.body) ||
                               std::holds_alternative<TopologyRow>(row.body);
      if (of_training) results.insert(encode_row(row));
    }
    REQUIRE(results.size() > 50);
    std::string weights = outcome.weights;
    for (auto at = weights.find(run.id()); at != std::string::npos; at = weights.find(run.id())) {
      weights.erase(at, run.id().size());
    }
    return std::pair(results, weights);
  };
  const auto silent = trained(false), loud = trained(true);
  CHECK(silent.first == loud.first);
  CHECK(silent.second == loud.second);
}

TEST_CASE("tasks that see inputs in their own way have drift of their own views", "[numeric]") {
  Settings said = sequence("domain_il", "finetune");
  said["tasks_by"] = "permutation";
  said["tasks"] = "3";
  const auto rows = rows_of(said);
  CHECK(count(rows, "task_cka", "layer0") == 2);
  CHECK(count(rows, "task_gradient_cosine", "weights") == 2);
  CHECK(count(rows, "linear_probe_accuracy", "") == 3);
  CHECK(count(rows, "recency_bias", "") == 0);
}

TEST_CASE("one task, and a model of sequences, have the rows that are defined there", "[numeric]") {
  Settings said = {{"probes", kFamilies}, {"steps", "6"}, {"weights", "set"}};
  const Config images = small_run(said);
  const auto of_images = rows_of({images}, images.id());
  CHECK(count(of_images, "ece", "") == 1);
  CHECK(count(of_images, "linear_probe_accuracy", "") == 1);
  CHECK(count(of_images, "weight_distance", "weights") == 1);
  const Config bytes = Config::resolve(small_transformer(said));
  const auto of_bytes = rows_of({bytes}, bytes.id());
  CHECK(count(of_bytes, "ece", "") == 1);
  CHECK(count(of_bytes, "dormant_025", "layer0.ff") == 1);
  CHECK(count(of_bytes, "linear_probe_accuracy", "") == 0);
  CHECK(count(of_bytes, "weight_distance", "weights") == 1);
  for (const auto& rows : {of_images, of_bytes}) {
    for (const char* name : {"task_cka", "task_gradient_cosine", "loss_barrier", "mask_iou",
                             "capacity_new", "recency_bias", "task_dead_units", "weight_norm"}) {
      INFO(name);
      for (const MetricRow& row : rows) CHECK(row.name != name);
    }
  }
}

}  // namespace tandem::test::probes_sequences_numeric
