// A net that is given is what a run begins with: going on from a file is going on, masks are the
// file's or what the method makes of its weights, and what a file lacks begins as it is drawn.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <numeric>

#include "core/error.h"
#include "jobs/initial_nets.h"
#include "support/initial_net_support.h"
#include "topology/connections.h"
#include "train/teacher.h"
#include "train/trainer.h"

namespace tandem::test::train_initial_net_numeric {
namespace {

// All examples in one batch, so that their order is nothing but rounding; plain gradient descent.
Settings whole_batches(Settings said) {
  said.insert({{"train_examples", "60"},
               {"validation", "0.1"},
               {"batch", "64"},
               {"dtype", "float64"},
               {"momentum", "0"},
               {"weight_decay", "0"},
               {"clip", "0"},
               {"lr", "0.2"},
               {"lr_schedule", "constant"},
               {"steps", "12"}});
  return said;
}

std::unique_ptr<Trainer> trainer_of(const std::vector<Config>& runs) {
  GroupSpec spec;
  spec.runs = runs;
  TrainerOptions options;
  if (runs.front().text("dtype") == "float64") options.dtype = torch::kFloat64;
  options.initial = initial_nets(spec, std::nullopt);
  return std::make_unique<Trainer>(runs, options);
}

TensorsByName start_of_run(const Config& run) {
  const auto trainer = trainer_of({run});
  const auto saved = trainer->save(0);
  return {saved.begin(), saved.end()};
}

std::vector<std::int64_t> active_of(Trainer& trainer, std::size_t layer) {
  return trainer.model().linears()[layer]->connections->active_set(0).positions();
}

std::vector<std::int64_t> positions_in(const at::Tensor& mask) {
  std::vector<std::int64_t> positions;
  for (std::int64_t i = 0; i < mask.numel(); ++i) {
    if (mask.const_data_ptr<bool>()[i]) positions.push_back(i);
  }
  return positions;
}

// By a plain sort, without the program's selections.
std::vector<std::int64_t> largest_of(const at::Tensor& weight, std::size_t count) {
  const at::Tensor sizes = weight.abs().reshape({-1}).to(torch::kDouble).contiguous();
  std::vector<std::int64_t> all(static_cast<std::size_t>(sizes.numel()));
  std::iota(all.begin(), all.end(), 0);
  std::stable_sort(all.begin(), all.end(), [&](auto a, auto b) {
    return sizes.const_data_ptr<double>()[a] > sizes.const_data_ptr<double>()[b];
  });
  all.resize(count);
  std::sort(all.begin(), all.end());
  return all;
}

double farthest(const TensorsByName& a, const TensorsByName& b) {
  double most = 0;
  for (const auto& [name, values] : a) {
    if (values.scalar_type() == torch::kBool) {
      REQUIRE(values.equal(b.at(name)));
    } else {
      most = std::max(most, (values - b.at(name)).abs().max().item<double>());
    }
  }
  return most;
}

const char* const kLayers[] = {"layer0.weight", "layer1.weight", "layer2.weight"};

}  // namespace

TEST_CASE("a run that begins where another ended is the longer run", "[numeric]") {
  const TemporaryFolder folder;
  const std::vector<Settings> methods = {
      {{"weights", "dense"}},
      {{"weights", "static"}},
      {{"weights", "static"}, {"storage", "sparse"}},
      {{"weights", "static"}, {"granularity", "fan_in"}},
      {{"weights", "static"}, {"granularity", "block"}},
      {{"weights", "ste"}, {"refresh_interval", "4"}},
  };
  for (const Settings& method : methods) {
    CAPTURE(method);
    const Config first = small_run(whole_batches(method));
    Settings twice = whole_batches(method);
    twice["steps"] = "24";
    TensorsByName middle = trained_net(first), end = trained_net(small_run(twice));
    if (method.at("weights") == "ste") {  // its mask is that of the largest weights in any case
      for (TensorsByName* net : {&middle, &end}) {
        std::erase_if(*net, [](const auto& each) { return each.first.ends_with(".mask"); });
      }
    }
    const std::string path = folder / "middle.safetensors";
    write_net(path, middle);
    Settings other = with_net(whole_batches(method), path);
    other["seed_init"] = "71";
    if (method.at("weights") == "static") other["seed_topology"] = "72";
    const TensorsByName again = trained_net(small_run(other));
    CHECK(farthest(middle, end) > 1e-3);  // there is something to learn
    CHECK(farthest(end, again) < 1e-12);
  }
}

TEST_CASE("first masks are the file's, drawn, or those of its largest weights", "[numeric]") {
  const TemporaryFolder folder;
  const std::string sparse = folder / "sparse.safetensors", dense = folder / "dense.safetensors";
  Settings said = whole_batches({{"weights", "set"}, {"update_interval", "5"}});
  const TensorsByName net = trained_net(small_run(said));
  write_net(sparse, net);
  const TensorsByName full = trained_net(small_run(whole_batches({{"weights", "dense"}})));
  write_net(dense, full);
  for (const char* storage : {"masked", "sparse"}) {
    for (const char* method : {"rigl", "static"}) {
      CAPTURE(storage, method);
      const Settings own =
          whole_batches({{"weights", method}, {"storage", storage}, {"seed_topology", "5"}});
      const auto drawn = trainer_of({small_run(own)});
      const auto given = trainer_of({small_run(with_net(own, sparse))});
      Settings by_method = with_net(own, sparse), largest = with_net(own, dense);
      by_method["init_mask"] = "method";
      largest["init_mask"] = "magnitude";
      largest.erase("seed_topology");
      const auto redrawn = trainer_of({small_run(by_method)});
      const auto of_dense = trainer_of({small_run(with_net(own, dense))});
      const auto ranked = trainer_of({small_run(largest)});
      for (std::size_t l = 0; l < 3; ++l) {
        CAPTURE(l);
        const std::vector<std::int64_t> random = active_of(*drawn, l);
        CHECK(active_of(*given, l) == positions_in(net.at(kLayers[l] + std::string(".mask"))));
        CHECK(active_of(*given, l) != random);
        CHECK(active_of(*redrawn, l) == random);
        CHECK(active_of(*of_dense, l) == random);
        CHECK(active_of(*ranked, l) == largest_of(full.at(kLayers[l]), random.size()));
        // Weights are the file's inside of the mask, and zero elsewhere.
        const at::Tensor values =
            of_dense->model().linears()[l]->connections->dense_values()[0].reshape({-1});
        const at::Tensor file = full.at(kLayers[l]).reshape({-1});
        at::Tensor mask = torch::zeros_like(file);
        mask.index_fill_(0, torch::tensor(random, torch::kLong), 1);
        CHECK(values.equal(file * mask));
      }
    }
  }
}

TEST_CASE("methods with dormant weights rank those of the file, and all take them as they are",
          "[numeric]") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  const TensorsByName net = trained_net(small_run(whole_batches({{"weights", "dense"}})));
  write_net(path, net);
  for (const char* method : {"ssa", "topkast", "gmp", "acdc", "dense"}) {
    CAPTURE(method);
    const auto trainer =
        trainer_of({small_run(with_net(whole_batches({{"weights", method}}), path))});
    for (std::size_t l = 0; l < 3; ++l) {
      const auto* connections = trainer->model().linears()[l]->connections.get();
      const auto count = static_cast<std::size_t>(connections->active(0));
      CHECK(connections->active_set(0).positions() == largest_of(net.at(kLayers[l]), count));
      const at::Tensor values = trainer->model().linears()[l]->weight.value.detach()[0];
      if (connections->active(0) == connections->positions() || method == std::string("ssa")) {
        CHECK(values.equal(net.at(kLayers[l])));
      }
      CHECK(trainer->model().linears()[l]->bias.value.detach()[0].equal(
          net.at("layer" + std::to_string(l) + ".bias")));
    }
  }
}

TEST_CASE("supersets and twins begin with the file's weights", "[numeric]") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  const TensorsByName net = trained_net(small_run(whole_batches({{"weights", "dense"}})));
  write_net(path, net);
  const Settings nested = whole_batches(
      {{"weights", "ssa"}, {"superset_density", "0.5"}, {"superset_outside", "zero"}});
  for (const char* storage : {"masked", "sparse"}) {
    CAPTURE(storage);
    Settings own = with_net(nested, path);
    own["storage"] = storage;
    const auto trainer = trainer_of({small_run(own)});
    const auto* connections = trainer->model().linears()[0]->connections.get();
    const std::vector<std::int64_t> superset = connections->superset(0).positions();
    CHECK(superset == largest_of(net.at(kLayers[0]), superset.size()));
    const at::Tensor values = connections->dense_values()[0].reshape({-1});
    const at::Tensor places = torch::tensor(superset, torch::kLong);
    CHECK(values.index_select(0, places).equal(
        net.at(kLayers[0]).reshape({-1}).index_select(0, places)));
  }
  const auto start =
      start_of_run(small_run(with_net(whole_batches({{"weights", "rigl_teacher"}}), path)));
  for (const char* layer : kLayers) {
    CHECK(start.at("parameter/" + teachers_name(layer)).equal(net.at(layer)));
  }
}

TEST_CASE("another attention goes on from a net, at another context", "[numeric]") {
  const TemporaryFolder folder;
  const std::string path = folder / "full.safetensors";
  const Settings full = small_transformer({{"attention", "full"}, {"steps", "5"}});
  const TensorsByName net = trained_net(Config::resolve(full));
  write_net(path, net);
  for (const char* attention : {"ssa", "moba", "nsa"}) {
    CAPTURE(attention);
    Settings said = full;
    said["attention"] = attention;
    const auto drawn = start_of_run(Config::resolve(said));
    said = with_net(said, path);
    said["context"] = "64";
    said["seed_init"] = "9";
    Settings fresh = said;
    fresh.erase("init_from"), fresh.erase("init_hash"), fresh.erase("init_net");
    const auto redrawn = start_of_run(Config::resolve(fresh));
    const auto start = start_of_run(Config::resolve(said));
    std::size_t own = 0;
    for (const auto& [name, values] : start) {
      if (name.rfind("parameter/", 0) != 0) continue;
      const auto given = net.find(name.substr(10));
      if (given != net.end()) {
        CHECK(values.equal(given->second));
      } else {
        ++own;
        CHECK(name.find(".attention.") != std::string::npos);
        CHECK(values.equal(redrawn.at(name)));
        CHECK_FALSE(values.equal(drawn.at(name)));
      }
    }
    CHECK((own > 0) == (attention == std::string("nsa")));
  }
  // What the net says of a text does not depend on how long its context is.
  const auto trainer_at = [&](const char* context) {
    Settings said = with_net(full, path);
    said["context"] = context;
    return trainer_of({Config::resolve(said)});
  };
  const auto shorter = trainer_at("32"), longer = trainer_at("96");
  const at::Tensor text = torch::arange(96).mul(7).remainder(251).view({1, 1, 96});
  {
    const at::NoGradGuard no_grad;
    Context one, other;
    const at::Tensor begins = shorter->model().forward(text.narrow(2, 0, 32).contiguous(), one);
    const at::Tensor all = longer->model().forward(text, other);
    CHECK((all.narrow(2, 0, 32) - begins).abs().max().item<double>() < 1e-5);
  }
  REQUIRE_NOTHROW(trained_net(longer->run(0).config));
}

TEST_CASE("each replica begins with its own net, whatever its company", "[numeric]") {
  const TemporaryFolder folder;
  std::vector<Config> runs;
  for (const char* seed : {"1", "2", "3"}) {
    const Settings said = {{"seed", seed}, {"weights", "static"}, {"steps", "8"}};
    const std::string path = folder / (std::string(seed) + ".safetensors");
    if (seed != std::string("3")) write_net(path, trained_net(small_run(said)));
    Settings next = said;
    next["lr"] = "0.03";
    // The third has none.
    runs.push_back(small_run(seed != std::string("3") ? with_net(next, path) : next));
  }
  CHECK(group_key(runs[0]) == group_key(runs[1]));
  CHECK(group_key(runs[0]) == group_key(runs[2]));
  const std::vector<TensorsByName> together = trained_nets(runs);
  for (std::size_t r = 0; r < runs.size(); ++r) {
    const TensorsByName alone = trained_net(runs[r]);
    for (const auto& [name, values] : alone) CHECK(values.equal(together[r].at(name)));
  }
  CHECK_FALSE(together[0].at(kLayers[0]).equal(together[1].at(kLayers[0])));
}

TEST_CASE("a fresh start is a start with the file", "[numeric]") {
  const TemporaryFolder folder;
  const std::string path = folder / "net.safetensors";
  const Settings sequence = {{"scenario", "class_il"}, {"strategy", "gdumb"}, {"buffer", "30"},
                             {"batch", "8"},           {"epochs", "1"},       {"weights", "set"},
                             {"update_interval", "3"}};
  const TensorsByName net = trained_net(small_run({{"weights", "set"}, {"steps", "6"}}));
  write_net(path, net);
  const auto trainer = trainer_of({small_run(with_net(sequence, path))});
  const auto same = [&] {
    bool all = true;
    for (std::size_t l = 0; l < 3; ++l) {
      const Linear& layer = *trainer->model().linears()[l];
      all = all && layer.weight.value.detach()[0].equal(net.at(kLayers[l])) &&
            active_of(*trainer, l) == positions_in(net.at(kLayers[l] + std::string(".mask")));
    }
    return all;
  };
  CHECK(same());
  trainer->begin_stage(0);
  for (std::int64_t step = 0; step < trainer->stage_steps(0);) {
    step += trainer->advance(0, step, 1).steps;
  }
  CHECK_FALSE(same());
  trainer->end_stage(0);
  trainer->begin_stage(1);
  CHECK(same());
}

TEST_CASE("a run that was begun with a file resumes without it", "[numeric]") {
  const TemporaryFolder folder;
  const TensorsByName net = trained_net(small_run({{"weights", "set"}, {"steps", "6"}}));
  const std::vector<Settings> all = {
      {{"weights", "rigl"}, {"update_interval", "4"}},
      {{"weights", "rigl"}, {"update_interval", "4"}, {"storage", "sparse"}},
      {{"scenario", "class_il"}, {"strategy", "gdumb"}, {"buffer", "30"}, {"weights", "set"}},
      {{"scenario", "class_il"},
       {"strategy", "spacenet"},
       {"weights", "set"},
       {"update_interval", "3"}},
  };
  for (Settings said : all) {
    CAPTURE(said);
    const std::string path = folder / "net.safetensors";
    write_net(path, net);
    said.insert({{"batch", "16"}, {"epochs", "1"}});
    Settings other = with_net(said, path);
    other["seed"] = "2";
    const std::vector<Config> runs = {small_run(with_net(said, path)), small_run(other)};
    const auto outcome = [&](std::int64_t stop_after, bool takes_away) {
      const TemporaryFolder own;
      GroupSpec spec;
      spec.runs = runs;
      spec.checkpoint_folder = own / "group";
      spec.stop_after_steps = stop_after;
      MemorySink sink;
      int rounds = 0;
      while (run_group(spec, sink) == GroupEnd::kStopped) {
        REQUIRE(++rounds < 100);
        if (takes_away) std::filesystem::remove(path);
      }
      CHECK((rounds > 0) == (stop_after > 0));
      return sink.results();
    };
    const auto calm = outcome(0, false);
    CHECK(calm == outcome(7, true));
    CHECK_FALSE(path_exists(path));
    MemorySink sink;
    GroupSpec anew;
    anew.runs = runs;
    CHECK_THROWS_AS(run_group(anew, sink), DataError);  // one that begins needs it
  }
}

}  // namespace tandem::test::train_initial_net_numeric
