// Training on a GPU against the CPU, alone against in company, undisturbed against resumed. In
// double precision, where both devices agree to rounding over whole trajectories; in single
// precision over the first steps, before rounding has grown.
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "eval/evaluate.h"
#include "jobs/initial_nets.h"
#include "methods/method.h"
#include "nn/attention/selector.h"
#include "support/gpu_support.h"
#include "support/initial_net_support.h"
#include "support/resume_support.h"
#include "topology/connections.h"
#include "train/trainer.h"

namespace tandem::test::train_cuda_gpu {

using namespace tandem::test;

namespace {

constexpr const char* kDevice = "cuda:0";

std::vector<Config> seeds_of(Settings said, int count) {
  std::vector<Config> runs;
  for (int seed = 1; seed <= count; ++seed) {
    said["seed"] = std::to_string(seed);
    runs.push_back(small_run(said));
  }
  return runs;
}

void train(Trainer& trainer, std::int64_t steps) {
  trainer.begin_stage(0);
  for (std::int64_t s = 0; s < steps;) s += trainer.advance(0, s, steps - s).steps;
}

void train_stage(Trainer& trainer, std::int64_t stage) {
  trainer.begin_stage(stage);
  const std::int64_t steps = trainer.stage_steps(stage);
  for (std::int64_t s = 0; s < steps;) s += trainer.advance(stage, s, steps - s).steps;
  trainer.end_stage(stage);
}

TrainerOptions options_of(const std::string& device, at::ScalarType dtype) {
  TrainerOptions options;
  options.device = at::Device(device);
  options.dtype = dtype;
  return options;
}

// Largest difference of replica `first` of one trainer and `second` of another, relative to the
// largest weight of its tensor; masks must agree where `same_masks`.
double distance(Trainer& a, std::int64_t first, Trainer& b, std::int64_t second, bool same_masks) {
  double worst = 0;
  const auto mine = a.model().parameters(), other = b.model().parameters();
  for (std::size_t i = 0; i < mine.size(); ++i) {
    CAPTURE(mine[i]->name);
    const at::Tensor x = mine[i]->value[first].detach().to(torch::kCPU, torch::kFloat64);
    const at::Tensor y = other[i]->value[second].detach().to(torch::kCPU, torch::kFloat64);
    const double scale = x.abs().max().item<double>() + 1e-30;
    worst = std::max(worst, (x - y).abs().max().item<double>() / scale);
    if (!same_masks || mine[i]->connections == nullptr) continue;
    const std::vector<char> all(static_cast<std::size_t>(a.replicas()), 1);
    REQUIRE(mine[i]->connections->active_set(first).positions() ==
            other[i]->connections->active_set(second).positions());
    REQUIRE(mine[i]->connections->active_sets(all)[static_cast<std::size_t>(first)].save() ==
            mine[i]->connections->active_set(first).save());
  }
  return worst;
}

void require_parity(const Settings& said, std::int64_t steps) {
  const auto runs = seeds_of(said, 3);
  {
    Trainer cpu(runs, options_of("cpu", torch::kFloat64));
    Trainer gpu(runs, options_of(kDevice, torch::kFloat64));
    train(cpu, steps);
    train(gpu, steps);
    for (std::int64_t r = 0; r < 3; ++r) {
      REQUIRE(distance(cpu, r, gpu, r, true) < 1e-9);
      REQUIRE(cpu.updates_of(r) == gpu.updates_of(r));
      REQUIRE(gpu.state(r).loss_sum == Approx(cpu.state(r).loss_sum).epsilon(1e-9));
      REQUIRE(gpu.state(r).alignment_sum == Approx(cpu.state(r).alignment_sum).epsilon(1e-9));
    }
  }
  Trainer cpu(runs, options_of("cpu", torch::kFloat32));
  Trainer gpu(runs, options_of(kDevice, torch::kFloat32));
  train(cpu, 6);
  train(gpu, 6);
  for (std::int64_t r = 0; r < 3; ++r) REQUIRE(distance(cpu, r, gpu, r, false) < 2e-3);
}

std::string write_corpus(const TemporaryFolder& folder) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text.push_back(static_cast<char>(i * i % 97 + i % 13));
  atomic_write(folder / "text", text);
  return folder / "text";
}

}  // namespace

TEST_CASE("every weights method trains on a GPU as on the CPU", "[gpu]") {
  if (gpu_missing()) return;
  for (const auto& [name, factory] : weights_methods().all()) {
    for (const std::string optimizer : {"sgd", "adamw"}) {
      CAPTURE(name, optimizer);
      require_parity(busy_method(name, optimizer, 40, 7), 40);
    }
  }
}

TEST_CASE("options of the step that change its kind train on a GPU as on the CPU", "[gpu]") {
  if (gpu_missing()) return;
  const std::vector<Settings> all = {
      {{"weights", "ssa"}, {"weights_counterpart", "propagated"}},
      {{"weights", "ssa"}, {"weights_site", "post"}, {"weights_distance", "relative_mse"}},
      {{"weights", "alternate"}, {"dormant_decay", "0.1"}},
      {{"weights", "alternate"}, {"weights_draw", "layer"}},
      {{"weights", "alternate"}, {"superset_density", "0.5"}},
      {{"weights", "topkast"}, {"superset_outside", "zero"}, {"refresh_interval", "7"}},
      {{"weights", "ssa"}, {"weights_draw", "layer"}, {"weights_distance", "cosine"}},
      {{"weights", "ssa"}, {"weights_gap_target", "0.1"}, {"weights_align_every", "2"}},
      {{"weights", "ssa"}, {"weights_shuffle_target", "true"}},
      {{"weights", "alternate"}, {"weights_nested", "1,0.5,0.2"}, {"refresh_interval", "7"}},
      {{"weights", "ssa"}, {"weights_nested", "1,0.5"}, {"weights_draw", "layer"}},
      {{"weights", "ssa"}, {"weights_detach", "true"}, {"weights_site", "post"}},
      {{"weights", "rigl"}, {"update_interval", "7"}, {"granularity", "fan_in"}},
      {{"weights", "rigl"}, {"update_interval", "7"}, {"granularity", "block"}},
      {{"weights", "srigl"}, {"update_interval", "7"}, {"ablation", "0.9"}, {"update_end", "1"}},
      {{"weights", "set"},
       {"update_interval_epochs", "0.5"},
       {"granularity", "n_m"},
       {"density", "0.5"}},
      {{"weights", "alternate"},
       {"refresh_interval", "3"},
       {"granularity", "n_m"},
       {"density", "0.5"}},
      {{"weights", "rigl"}, {"update_interval", "7"}, {"growth_batches", "3"}},
      {{"weights", "ssa"}, {"mask_source", "gradient"}, {"refresh_interval", "7"}},
      {{"weights", "alternate"}, {"mask_source", "magnitude_input"}, {"refresh_interval", "3"}},
      {{"weights", "alternate"},
       {"mask_source", "magnitude_input"},
       {"refresh_interval", "7"},
       {"growth_batches", "2"}},
      {{"weights", "dense"}, {"nesterov", "true"}, {"clip", "0"}, {"decay_mode", "decoupled"}},
      {{"weights", "dense"}, {"activation", "gelu"}, {"layer_norm", "true"}}};
  for (Settings said : all) {
    CAPTURE(said.begin()->second, said);
    said["steps"] = "40";
    require_parity(said, 40);
  }
}

TEST_CASE("units between excitation and inhibition train on a GPU as on the CPU", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::string weights : {"dense", "set", "ssa", "sandwich", "rigl_teacher", "sam"}) {
    CAPTURE(weights);
    Settings said = {{"weights", weights},
                     {"activation", "k_subtract"},
                     {"winners", "0.2"},
                     {"switch_after", "300"},
                     {"steps", "30"}};
    const auto runs = seeds_of(said, 3);
    Trainer gpu(runs, options_of(kDevice, torch::kFloat64));
    Trainer cpu(runs, options_of("cpu", torch::kFloat64));
    train(gpu, 30);
    train(cpu, 30);
    for (std::int64_t r = 0; r < 3; ++r) {
      REQUIRE(distance(cpu, r, gpu, r, true) < 1e-8);
      const auto on_gpu = gpu.save(r), on_cpu = cpu.save(r);
      for (std::size_t i = 0; i < on_cpu.size(); ++i) {
        if (on_cpu[i].first.rfind("buffer/", 0) != 0) continue;
        CAPTURE(on_cpu[i].first);
        REQUIRE(torch::equal(on_gpu[i].second, on_cpu[i].second));
      }
    }
    said["eval_every"] = "1";
    require_resumable(pair_of(said), 11, kDevice);
  }
}

TEST_CASE("masks chosen anew at every step train on a GPU as on the CPU", "[gpu]") {
  if (gpu_missing()) return;
  const std::vector<Settings> all = {
      {{"weights", "ste"}},
      {{"weights", "ste"}, {"granularity", "fan_in"}},
      {{"weights", "srste"}, {"granularity", "n_m"}, {"density", "0.5"}},
      {{"weights", "random_masks"}},
      {{"weights", "random_masks"}, {"granularity", "block"}},
      {{"weights", "topkast"}, {"refresh_interval", "1"}}};
  for (Settings said : all) {
    CAPTURE(said);
    said["steps"] = "40";
    require_parity(said, 40);
  }
}

TEST_CASE("a run on a GPU does not depend on its company beyond rounding", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::string method : {"rigl", "set", "ssa"}) {
    CAPTURE(method);
    const auto runs = seeds_of(busy_method(method, "sgd", 40, 7), 5);
    Trainer group(runs, options_of(kDevice, torch::kFloat64));
    train(group, 40);
    for (std::int64_t r : {0, 4}) {
      Trainer alone({runs[static_cast<std::size_t>(r)]}, options_of(kDevice, torch::kFloat64));
      train(alone, 40);
      REQUIRE(distance(alone, 0, group, r, true) < 1e-9);
    }
  }
}

TEST_CASE("a group on a GPU resumes to the same bits", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::string name : {"rigl", "set", "gmp", "ssa", "sandwich"}) {
    CAPTURE(name);
    Settings said = {{"weights", name}, {"eval_every", "1"}};
    if (name == "rigl") said["update_interval"] = "4";
    require_resumable(pair_of(said), 11, kDevice);
  }
  require_resumable(pair_of(small_sequence()), 7, kDevice);
}

// Class orders of their own, so that the tasks' lengths differ, and a replay buffer that fills up.
TEST_CASE("digests of weights on a GPU are those of the same weights on a CPU", "[gpu]") {
  if (gpu_missing()) return;
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const auto runs = seeds_of(busy_method("set", "sgd", 20, 5), 3);
    Trainer gpu(runs, options_of(kDevice, dtype)), cpu(runs, options_of("cpu", dtype));
    train(gpu, 20);
    for (std::int64_t r = 0; r < 3; ++r) cpu.load(r, gpu.save(r));
    REQUIRE(gpu.digests({1, 0, 1}) == cpu.digests({1, 0, 1}));
    REQUIRE(gpu.digests({1, 1, 1})[1].size() == gpu.parameter_names().size());
  }
}

TEST_CASE("a task sequence with replay trains on a GPU as on the CPU", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::string weights : {"set", "ssa", "rigl_teacher"}) {
    CAPTURE(weights);
    Settings said = small_sequence();
    said["weights"] = weights;
    said["class_order"] = "random";
    const std::vector<Config> runs = seeds_of(said, 3);
    Trainer cpu(runs, options_of("cpu", torch::kFloat64));
    Trainer gpu(runs, options_of(kDevice, torch::kFloat64));
    REQUIRE(cpu.stages() == 5);
    for (std::int64_t stage = 0; stage < cpu.stages(); ++stage) {
      train_stage(cpu, stage);
      train_stage(gpu, stage);
      for (std::int64_t r = 0; r < 3; ++r) {
        CAPTURE(stage, r);
        REQUIRE(distance(cpu, r, gpu, r, true) < 1e-8);
        REQUIRE(cpu.steps_of(r) == gpu.steps_of(r));
        REQUIRE(cpu.updates_of(r) == gpu.updates_of(r));
      }
    }
    require_resumable(runs, 7, kDevice);
  }
}

TEST_CASE("a stream trains on a GPU as on the CPU, and resumes to the same bits", "[gpu]") {
  if (gpu_missing()) return;
  for (const std::string strategy : {"finetune", "derpp", "mir"}) {
    CAPTURE(strategy);
    Settings said = {
        {"scenario", "general_360"}, {"strategy", strategy}, {"pair_rounds", "2"}, {"batch", "8"},
        {"pair_classes", "8"},       {"epochs", "1"},        {"weights", "set"}};
    if (strategy != "finetune") said.insert({{"buffer", "30"}, {"replay_batch", "8"}});
    const std::vector<Config> runs = seeds_of(said, 3);
    Trainer cpu(runs, options_of("cpu", torch::kFloat64));
    Trainer gpu(runs, options_of(kDevice, torch::kFloat64));
    train_stage(cpu, 0);
    train_stage(gpu, 0);
    for (std::int64_t r = 0; r < 3; ++r) {
      CAPTURE(r);
      REQUIRE(distance(cpu, r, gpu, r, true) < 1e-8);
      REQUIRE(cpu.steps_of(r) == gpu.steps_of(r));
    }
    require_resumable(runs, 7, kDevice);
  }
}

// What a strategy does in a step is captured, what it does between tasks is not.
TEST_CASE("every strategy trains on a GPU as on the CPU, and resumes to the same bits", "[gpu]") {
  if (gpu_missing()) return;
  for (const auto& [strategy, factory] : strategies().all()) {
    for (const std::string weights : {"set", "ssa"}) {
      CAPTURE(strategy, weights);
      Settings said = small_sequence();
      const Part& facts = part("strategy", strategy);
      for (const std::string option : {"buffer", "replay_batch"}) {
        if (std::count(facts.uses.begin(), facts.uses.end(), option) == 0) said.erase(option);
      }
      said["strategy"] = strategy;
      said["weights"] = weights;
      if (weights == "set") {
        said["class_order"] = "random";
      } else {
        said["tasks_by"] = "rotation";
        said["tasks"] = "2";
      }
      const std::vector<Config> runs = seeds_of(said, 3);
      Trainer cpu(runs, options_of("cpu", torch::kFloat64));
      Trainer gpu(runs, options_of(kDevice, torch::kFloat64));
      for (std::int64_t stage = 0; stage < cpu.stages(); ++stage) {
        train_stage(cpu, stage);
        train_stage(gpu, stage);
        for (std::int64_t r = 0; r < 3; ++r) {
          CAPTURE(stage, r);
          REQUIRE(distance(cpu, r, gpu, r, true) < 1e-7);
          REQUIRE(cpu.steps_of(r) == gpu.steps_of(r));
          REQUIRE(gpu.state(r).strategy_sum == Approx(cpu.state(r).strategy_sum).epsilon(1e-6));
        }
      }
      require_resumable(runs, 7, kDevice);
    }
  }
}

TEST_CASE("a replica that diverges on a GPU is frozen and the others go on", "[gpu]") {
  if (gpu_missing()) return;
  const Config wild = small_run({{"lr", "1e30"}, {"clip", "0"}, {"steps", "40"}});
  const Config calm = small_run({{"steps", "40"}, {"clip", "0"}});
  Trainer group({wild, calm}, options_of(kDevice, torch::kFloat64));
  Trainer alone({calm}, options_of("cpu", torch::kFloat64));
  train(group, 40);
  train(alone, 40);
  REQUIRE(group.diverged(0));
  REQUIRE(group.updates_of(0) < 40);
  REQUIRE_FALSE(group.diverged(1));
  REQUIRE(distance(alone, 0, group, 1, true) < 1e-9);
}

TEST_CASE("a run that diverged on a GPU between two boundaries ends as diverged", "[gpu]") {
  if (gpu_missing()) return;
  const Config wild = small_run({{"lr", "1e30"}, {"clip", "0"}, {"steps", "40"}});
  const Config calm = small_run({{"steps", "40"}, {"clip", "0"}});
  for (const auto& runs : {std::vector<Config>{wild}, std::vector<Config>{wild, calm}}) {
    const Outcome undisturbed = run_disturbed(runs, 0, kDevice, true);
    REQUIRE(run_disturbed(runs, 7, kDevice, true).rows == undisturbed.rows);
  }
}

namespace {

// Every attention method; ssa with every selector, and with what else its steps can be told; some
// with sparse weights.
std::vector<Settings> attention_settings() {
  std::vector<Settings> all = {{{"attention", "alternate"}, {"weights", "gmp"}},
                               {{"attention", "ssa"}, {"weights", "rigl"}},
                               {{"attention", "ssa"}, {"weights", "ssa"}},
                               {{"attention", "nsa"}, {"nsa_compression", "mean"}},
                               {{"attention", "nsa"}, {"nsa_separate_kv", "true"}},
                               {{"attention", "full"}, {"attention_entropy_penalty", "0.1"}}};
  for (const auto& [name, method] : attention_methods().all()) all.push_back({{"attention", name}});
  for (const auto& [name, selector] : block_selectors().all()) {
    all.push_back({{"attention", "ssa"}, {"attention_selector_score", name}});
  }
  for (const Settings& each : std::vector<Settings>{
           {{"attention_draw", "layer"}},
           {{"attention_gap_target", "0.05"}, {"attention_align_every", "2"}},
           {{"attention_choice", "streaming"}, {"blocks", "4"}},
           {{"attention_forced_first", "true"}, {"attention_top_p", "0.6"}, {"blocks", "4"}},
           {{"attention_entropy_penalty", "0.1"}, {"attention_alpha", "0"}},
           {{"attention_selector_score", "indexer"},
            {"attention_indexer_target", "chosen"},
            {"attention_indexer_pool", "mean"}}}) {
    all.push_back(each);
    all.back()["attention"] = "ssa";
  }
  return all;
}

}  // namespace

TEST_CASE("both levels train on a GPU as on the CPU", "[gpu]") {
  if (gpu_missing()) return;
  TemporaryFolder folder("tandem-corpus");
  const std::string corpus = write_corpus(folder);
  for (const Settings& each : attention_settings()) {
    CAPTURE(each);
    Settings said = small_transformer(
        {{"steps", "30"}, {"lr", "0.002"}, {"corpus", corpus}, {"evaluation_windows", "20"}});
    for (const auto& [name, value] : each) said[name] = value;
    std::vector<Config> runs;
    for (const std::string seed : {"1", "2"}) {
      said["seed"] = seed;
      runs.push_back(Config::resolve(said));
    }
    Trainer cpu(runs, options_of("cpu", torch::kFloat64));
    Trainer gpu(runs, options_of(kDevice, torch::kFloat64));
    train(cpu, 30);
    train(gpu, 30);
    for (std::int64_t r = 0; r < 2; ++r) REQUIRE(distance(cpu, r, gpu, r, true) < 1e-8);
    require_resumable(runs, 7, kDevice);
  }
}

TEST_CASE("replicas that begin with nets of their own begin alike on both devices", "[gpu]") {
  if (gpu_missing()) return;
  const TemporaryFolder folder;
  for (const char* method : {"rigl", "ssa", "dense"}) {
    CAPTURE(method);
    Settings said = {{"weights", method}, {"steps", "12"}, {"dtype", "float64"}};
    std::vector<Config> runs = seeds_of(said, 3);
    const std::vector<TensorsByName> nets = trained_nets(runs);
    for (std::size_t r = 0; r + 1 < runs.size(); ++r) {  // the last draws its weights
      const std::string path = folder / (method + std::to_string(r));
      write_net(path, nets[r]);
      said["seed"] = runs[r].text("seed");
      runs[r] = small_run(with_net(said, path));
    }
    GroupSpec spec;
    spec.runs = runs;
    TrainerOptions there = options_of(kDevice, torch::kFloat64);
    TrainerOptions here = options_of("cpu", torch::kFloat64);
    there.initial = here.initial = initial_nets(spec, std::nullopt);
    Trainer gpu(runs, there), cpu(runs, here);
    for (std::int64_t r = 0; r < 3; ++r) CHECK(distance(gpu, r, cpu, r, true) == 0);
    train(gpu, 12);
    train(cpu, 12);
    for (std::int64_t r = 0; r < 3; ++r) CHECK(distance(gpu, r, cpu, r, true) < 1e-8);
  }
}

TEST_CASE("packed documents and longer windows train and read on a GPU as on the CPU", "[gpu]") {
  if (gpu_missing()) return;
  TemporaryFolder folder("tandem-documents");
  for (int file = 0; file < 300; ++file) {
    std::string text;
    for (int i = 0; i < 5 + file * 31 % 140; ++i) {
      text.push_back(static_cast<char>('a' + (i * i + file) % 23));
    }
    atomic_write(folder / ("f" + std::to_string(file)), text);
  }
  for (const std::string attention : {"full", "ssa", "nsa"}) {
    CAPTURE(attention);
    Settings said = small_transformer({{"attention", attention},
                                       {"weights", "dense"},
                                       {"steps", "20"},
                                       {"lr", "0.002"},
                                       {"corpus", folder.path()},
                                       {"documents", "pack"},
                                       {"eval_contexts", "2"},
                                       {"eval_scalings", "none,linear,ntk"},
                                       {"evaluation_windows", "20"}});
    std::vector<Config> runs;
    for (const std::string seed : {"1", "2"}) {
      said["seed"] = seed;
      runs.push_back(Config::resolve(said));
    }
    Trainer cpu(runs, options_of("cpu", torch::kFloat64));
    Trainer gpu(runs, options_of(kDevice, torch::kFloat64));
    train(cpu, 20);
    train(gpu, 20);
    for (std::int64_t r = 0; r < 2; ++r) REQUIRE(distance(cpu, r, gpu, r, true) < 1e-8);
    Evaluation asked{1, "validation", false, {1, 1}};
    asked.longer = true;
    const auto mine = evaluate(cpu, asked), theirs = evaluate(gpu, asked);
    for (std::size_t r = 0; r < 2; ++r) {
      REQUIRE(mine[r].size() == theirs[r].size());
      for (std::size_t i = 0; i < mine[r].size(); ++i) {
        CHECK(mine[r][i].readout == theirs[r][i].readout);
        CHECK(mine[r][i].n_total == theirs[r][i].n_total);
        CHECK(theirs[r][i].loss == Approx(mine[r][i].loss).epsilon(1e-7));
      }
    }
    require_resumable(runs, 7, kDevice);
  }
}

// In float and from 128 tokens on a step runs attention's own kernels, captured; on the CPU these
// lengths have whole matrices.
TEST_CASE(
    "attention's kernels train on a GPU as matrices do on the CPU, and resume to the same bits",
    "[gpu]") {
  if (gpu_missing()) return;
  TemporaryFolder folder("tandem-documents");
  for (int file = 0; file < 300; ++file) {
    std::string text;
    for (int i = 0; i < 40 + file * 31 % 340; ++i) {
      text.push_back(static_cast<char>('a' + (i * i + file) % 23));
    }
    atomic_write(folder / ("f" + std::to_string(file)), text);
  }
  for (const std::string attention : {"full", "moba", "alternate", "ssa"}) {
    for (const std::string documents : {"join", "pack"}) {
      CAPTURE(attention, documents);
      Settings said = small_transformer({{"attention", attention},
                                         {"weights", "dense"},
                                         {"context", "160"},
                                         {"block_size", "16"},
                                         {"steps", "12"},
                                         {"lr", "0.002"},
                                         {"corpus", folder.path()},
                                         {"documents", documents},
                                         {"evaluation_windows", "20"}});
      std::vector<Config> runs;
      for (const std::string seed : {"1", "2", "3"}) {
        said["seed"] = seed;
        runs.push_back(Config::resolve(said));
      }
      Trainer cpu(runs, options_of("cpu", torch::kFloat32));
      Trainer gpu(runs, options_of(kDevice, torch::kFloat32));
      Trainer alone({runs[1]}, options_of(kDevice, torch::kFloat32));
      for (Trainer* each : {&cpu, &gpu, &alone}) train(*each, 12);
      for (std::int64_t r = 0; r < 3; ++r) {
        CHECK(gpu.state(r).loss_sum == Approx(cpu.state(r).loss_sum).epsilon(1e-3));
      }
      CHECK(alone.state(0).loss_sum == Approx(gpu.state(1).loss_sum).epsilon(1e-4));
      require_resumable(runs, 5, kDevice);
    }
  }
}

}  // namespace tandem::test::train_cuda_gpu
