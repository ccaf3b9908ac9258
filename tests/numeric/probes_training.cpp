// Probes beside training: all families have rows in either storage, training is the same to the bit
// with and without them, and a resumed run writes the same rows.
#include <cmath>
#include <map>
#include <set>

#include "core/error.h"
#include "methods/method.h"
#include "policy/demands.h"
#include "probes/probe.h"
#include "support/resume_support.h"
#include "topology/storage.h"

namespace tandem::test::probes_training_numeric {

using namespace tandem::test;

namespace {

struct Trained {
  std::set<std::string> results;  // rows that probes don't make, without run and sequence
  std::string weights;
  std::map<std::string, std::map<std::string, int>> metrics;  // name, layer: how many
};

Trained train(const Config& run) {
  TemporaryFolder folder("tandem-probes");
  GroupSpec spec;
  spec.runs = {run};
  spec.checkpoint_folder = folder / "group";
  MemorySink sink;
  REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
  Trained trained;
  for (Row row : sink.unacknowledged()) {
    row.run.assign(64, '0');
    row.sequence = 0;
    const auto* metric = std::get_if<MetricRow>(&row.body);
    if (metric != nullptr) {
      INFO(metric->layer << " " << metric->name);
      REQUIRE(std::isfinite(metric->value));
      ++trained.metrics[metric->name][metric->layer];
    }
    const bool of_training = std::holds_alternative<EvalRow>(row.body) ||
                             std::holds_alternative<TopologyRow>(row.body) ||
                             (metric != nullptr && metric->name == "train_loss");
    if (of_training) trained.results.insert(encode_row(row));
  }
  const auto saved = load_checkpoint(folder / ("final/" + run.id()));
  REQUIRE(saved);
  for (const auto& [name, tensor] : saved->tensors) {
    trained.weights +=
        name.substr(64) + sha256({static_cast<const char*>(tensor.data_ptr()), tensor.nbytes()});
  }
  return trained;
}

Settings probed(Settings said) {
  said["probes"] = "all";
  said["probe_every"] = "4";
  said["probe_updates"] = "3";
  return said;
}

void require_same_training(const Config& silent, const Config& loud) {
  const Trained expected = train(silent), found = train(loud);
  CHECK(found.results == expected.results);
  CHECK(found.weights == expected.weights);
  CHECK(found.metrics.size() > expected.metrics.size() + 20);
}

}  // namespace

TEST_CASE("every family has rows, in both storages", "[numeric]") {
  const std::string storage = GENERATE("masked", "sparse");
  Settings said = busy_method("rigl", "sgd", 48, 3);
  said["storage"] = storage;
  const Trained trained = train(small_run(probed(said)));
  INFO(storage);
  for (const char* name : {"missed_energy",
                           "egf",
                           "gsnr",
                           "gsnr_dormant",
                           "gradient_overlap",
                           "gradient_cosine",
                           "never_share",
                           "gradient_age_mean",
                           "gradient_age_median",
                           "growth_count",
                           "growth_precision",
                           "growth_over_chance",
                           "growth_energy",
                           "growth_survival_1",
                           "growth_survival_8",
                           "flips",
                           "flipped_share",
                           "sad",
                           "distance_start",
                           "moved_start",
                           "distance_last",
                           "distance_end",
                           "gini",
                           "hoyer",
                           "participation",
                           "effective_fan_in",
                           "spectral_norm",
                           "stable_rank",
                           "effective_rank",
                           "graph_sigma2",
                           "spectral_gap",
                           "components",
                           "fan_in_min"}) {
    INFO(name);
    REQUIRE(trained.metrics.count(name) == 1);
    CHECK(trained.metrics.at(name).count("weights/layer0") == 1);
    CHECK(trained.metrics.at(name).count("weights") == 1);
  }
  CHECK(trained.metrics.at("realised_gain").at("weights") >= 3);
  CHECK(trained.metrics.at("activation_rank").count("layer0") == 1);
  CHECK(trained.metrics.at("activation_norm").count("") == 1);
  for (const auto& [name, factory] : probes().all()) {
    CHECK(trained.metrics.at("probe_seconds").at(name) == 1);
  }
}

TEST_CASE("both storages measure the same of one training in double", "[numeric]") {
  const std::string method = GENERATE("rigl", "ssa", "topkast");
  CAPTURE(method);
  const auto rows_of = [&method](const std::string& storage) {
    Settings said = probed(busy_method(method, "sgd", 30, 3));
    if (method != "rigl") {
      said["superset_density"] = "0.5";
      said["superset_outside"] = "zero";
    }
    said["storage"] = storage;
    said["dtype"] = "float64";
    said["probes"] = "blind_spot,inequality,lineage,regrowth,spectra";
    GroupSpec spec;
    spec.runs = {small_run(said)};
    MemorySink sink;
    REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
    std::vector<MetricRow> rows;
    for (const Row& row : sink.unacknowledged()) {
      const auto* metric = std::get_if<MetricRow>(&row.body);
      if (metric != nullptr && metric->name.rfind("probe_", 0) != 0) rows.push_back(*metric);
    }
    return rows;
  };
  const auto masked = rows_of("masked"), sparse = rows_of("sparse");
  REQUIRE(masked.size() == sparse.size());
  for (std::size_t i = 0; i < masked.size(); ++i) {
    INFO(masked[i].layer << " " << masked[i].name << " " << masked[i].step);
    CHECK(masked[i].layer == sparse[i].layer);
    CHECK(masked[i].name == sparse[i].name);
    CHECK(masked[i].step == sparse[i].step);
    CHECK(masked[i].value == Approx(sparse[i].value).epsilon(1e-5).margin(1e-7));
  }
}

TEST_CASE("training of every method is the same to the bit with all probes and with none",
          "[numeric]") {
  for (const Part& method : parts_of("weights")) {
    Settings said = busy_method(method.name, "adamw", 16, 3);
    for (const char* storage : {"masked", "sparse"}) {
      said["storage"] = storage;
      const Config silent = small_run(said);
      const bool served = storage_of_name(storage) == Storage::kMasked ||
                          demands_of(policies_of(silent, Level::kWeights)).sparse_refusal.empty();
      if (!served) continue;
      INFO(method.name << " " << storage);
      require_same_training(silent, small_run(probed(said)));
    }
  }
}

// Its updates read the inputs of the step's own products.
TEST_CASE("the same where the mask is ranked by weights and inputs", "[numeric]") {
  Settings said = busy_method("ste", "sgd", 24, 3);
  said["mask_source"] = "magnitude_input";
  require_same_training(small_run(said), small_run(probed(said)));
}

TEST_CASE("the same of a language model whose attention is sparse", "[numeric]") {
  Settings said = small_transformer({{"weights", "rigl"},
                                     {"attention", "ssa"},
                                     {"steps", "8"},
                                     {"update_interval", "2"},
                                     {"train_examples", "0"}});
  require_same_training(Config::resolve(said), Config::resolve(probed(said)));
}

TEST_CASE("probes = default gives today's families, and names give those", "[numeric]") {
  Settings said = busy_method("set", "sgd", 8, 3);
  const Trained usual = train(small_run(said));
  for (const char* absent : {"missed_energy", "flips", "spectral_norm", "growth_precision"}) {
    CHECK(usual.metrics.count(absent) == 0);
  }
  for (const char* present : {"entropy", "coverage", "l0", "top_half_mass", "feature_norm"}) {
    CHECK(usual.metrics.count(present) == 1);
  }
  said["probes"] = "lineage, topology";
  const Trained named = train(small_run(said));
  CHECK(named.metrics.count("entropy") == 0);
  CHECK(named.metrics.count("coverage") == 1);
  CHECK(named.metrics.count("flips") == 1);
  said["probes"] = "lineages";
  GroupSpec misspelt;
  misspelt.runs = {small_run(said)};
  MemorySink sink;
  CHECK_THROWS_AS(run_group(misspelt, sink), ConfigError);
}

TEST_CASE("a run that is stopped again and again writes the same rows of all probes", "[numeric]") {
  const std::string storage = GENERATE("masked", "sparse");
  Settings said = probed(busy_method("rigl", "sgd", 30, 3));
  said["storage"] = storage;
  require_resumable(pair_of(said), 7);
}

TEST_CASE("what a method lets through decides which positions were never reached", "[numeric]") {
  const auto never = [](const std::string& method) {
    Settings said = busy_method(method, "sgd", 12, 3);
    said["probes"] = "blind_spot";
    GroupSpec spec;
    spec.runs = {small_run(said)};
    MemorySink sink;
    REQUIRE(run_group(spec, sink) == GroupEnd::kDone);
    double found = -1;
    for (const Row& row : sink.unacknowledged()) {
      const auto* metric = std::get_if<MetricRow>(&row.body);
      if (metric != nullptr && metric->name == "never_share" && metric->layer == "weights") {
        found = metric->value;
      }
    }
    return found;
  };
  CHECK(never("static") == Approx(0.8).margin(0.01));
  CHECK(never("set") < never("static"));
  CHECK(never("set") > 0.3);
  CHECK(never("topkast") > 0.1);
  CHECK(never("topkast") < 0.6);
  for (const char* method : {"alternate", "ssa", "dense", "gmp", "sandwich", "ste", "acdc"}) {
    INFO(method);
    CHECK(never(method) == 0);
  }
}

}  // namespace tandem::test::probes_training_numeric
