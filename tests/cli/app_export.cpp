// What `tandem export --read-out sparse` writes is the net that was measured: a plain forward pass
// over the file's tensors, written down here, finds as many validation examples right as the stored
// row says, for every way in which a method has its mask.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "app/command.h"
#include "core/error.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "core/text.h"
#include "data/dataset.h"
#include "data/tensor.h"
#include "store/store.h"
#include "support/run_program.h"

namespace tandem::test::app_export_cli {
namespace {

at::Tensor tensor_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.at(name);
  const at::Tensor values = torch::empty(view.shape, torch::kFloat);
  REQUIRE(view.dtype == DType::kF32);
  std::memcpy(values.data_ptr(), view.data, view.bytes());
  return values;
}

at::Tensor counts_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView& view = file.at(name);
  const at::Tensor values = torch::empty(view.shape, torch::kInt64);
  REQUIRE(view.dtype == DType::kI64);
  std::memcpy(values.data_ptr(), view.data, view.bytes());
  return values;
}

// Right answers of x W + b, ReLU, x W + b, ... on the validation examples.
std::int64_t right_answers(const SafetensorsFile& file, const Config& config) {
  const auto data = load_dataset(config);
  const at::Tensor chosen = torch::tensor(data->validation, torch::kLong);
  const bool turned = file.metadata().at("layout") == "[out,in]";
  const bool subtracts = config.text("activation") == "k_subtract";
  at::Tensor x = data->inputs.index_select(0, chosen).to(torch::kFloat);
  x = (x / 255 - data->mean) / data->deviation;
  const std::size_t layers = split(config.text("widths"), ',').size() + 1;
  for (std::size_t l = 0; l < layers; ++l) {
    const at::Tensor weight = tensor_of(file, fmt::format("layer{}.weight", l));
    x = torch::mm(x, turned ? weight.t() : weight) +
        tensor_of(file, fmt::format("layer{}.bias", l));
    if (l + 1 < layers) x = torch::relu(x);
    if (!subtracts || l + 1 == layers) continue;
    // As the file's own metadata has the options: relu(a - g I).
    const auto winners =
        static_cast<std::int64_t>(std::round(config.real("winners") * double(x.size(1))));
    const at::Tensor next = std::get<0>(x.sort(1, /*descending=*/true)).narrow(1, winners, 1);
    const at::Tensor count =
        counts_of(file, fmt::format("layer{}.active_count", l)).to(torch::kFloat64);
    const at::Tensor g =
        (count * 2 / static_cast<double>(config.integer("switch_after")) - 1).clamp(-1, 1);
    x = torch::relu(x - next * g.to(torch::kFloat));
  }
  return x.argmax(1).eq(data->labels.index_select(0, chosen)).sum().item<std::int64_t>();
}

struct Trained {
  TemporaryFolder folder;
  std::string db = folder / "one.sqlite", id;
  Config config = Config::resolve({});

  explicit Trained(const Settings& said) {
    Settings all = {{"train_examples", "800"}, {"validation", "0.5"}, {"steps", "65"},
                    {"batch", "32"},           {"widths", "40,30"},   {"lr", "0.1"},
                    {"density", "0.2"},        {"curve", "false"},    {"probes", "weights"}};
    for (const auto& [name, value] : said) all[name] = value;
    std::vector<std::string> arguments = {"run", "--device", "cpu", "--db", db};
    for (const auto& [name, value] : all) arguments.push_back("--" + name + "=" + value);
    const ProgramResult run = run_program(arguments);
    INFO(run.errors);
    REQUIRE(run.exit_code == 0);
    id = StoreReader(db).runs().at(0).id;
    config = Config::from_canonical(StoreReader(db).runs().at(0).canonical);
  }

  std::int64_t stored() const {
    const auto rows = StoreReader(db)
                          .query(
                              "SELECT n_correct FROM v_eval WHERE split = 'validation' AND "
                              "weights_readout = 'sparse' AND weights_budget = density AND "
                              "step = (SELECT max(step) FROM v_eval)")
                          .rows;
    REQUIRE(rows.size() == 1);
    return std::stoll(rows[0][0]);
  }

  std::string file_of(const std::string& layout, const std::string& read_out) const {
    return folder / (read_out + layout + ".safetensors");
  }
  Arguments words_of(const std::string& layout, const std::string& read_out) const {
    return {
        id, "--read-out", read_out, "--layout", layout, "--out", file_of(layout, read_out), "--db",
        db};
  }
  SafetensorsFile exported(const std::string& layout, const std::string& read_out) const {
    Arguments words = words_of(layout, read_out);
    words.insert(words.begin(), "export");
    const ProgramResult made = run_program(words);
    INFO(made.errors);
    REQUIRE(made.exit_code == 0);
    return SafetensorsFile::open(file_of(layout, read_out));
  }
  // By the command itself, without the start of a program.
  SafetensorsFile exported_here(const std::string& layout) const {
    REQUIRE(find_command("export").run(words_of(layout, "sparse")) == kExitDone);
    return SafetensorsFile::open(file_of(layout, "sparse"));
  }
};

}  // namespace

TEST_CASE("an exported sparse net has the accuracy that is stored", "[cli]") {
  const Settings rare = {{"refresh_interval", "10"}};
  const auto of = [&](const std::string& method, Settings more = {}) {
    more["weights"] = method;
    return more;
  };
  const auto rarely = [&](const std::string& method, Settings more = {}) {
    more.insert(rare.begin(), rare.end());
    return of(method, more);
  };
  const std::vector<Settings> cases = {
      of("dense"),
      of("rigl", {{"update_interval", "20"}}),
      of("rigl", {{"update_interval", "20"}, {"storage", "sparse"}}),
      of("gmp", {{"prune_interval", "5"}}),
      of("gmp", {{"prune_interval", "5"}, {"mask_source", "random"}}),
      of("acdc"),
      of("dsd"),
      of("dsd", {{"mask_source", "magnitude_input"}}),
      rarely("ssa"),
      rarely("ssa", {{"weights_nested", "1,0.5,0.25"}}),
      rarely("ssa",
             {{"superset_density", "0.3"}, {"superset_outside", "zero"}, {"storage", "sparse"}}),
      rarely("alternate"),
      rarely("alternate", {{"mask_source", "magnitude_input"}}),
      rarely("alternate", {{"mask_source", "random"}}),
      rarely("alternate", {{"granularity", "fan_in"}}),
      rarely("ste"),
      rarely("topkast"),
      rarely("topkast", {{"superset_outside", "zero"}, {"storage", "sparse"}}),
      rarely("cram", {{"mask_source", "saliency"}}),
  };
  std::size_t turn = 0;
  for (const Settings& said : cases) {
    std::string name;
    for (const auto& [option, value] : said) name += option + "=" + value + " ";
    CAPTURE(name);
    const Trained run(said);
    const SafetensorsFile file = run.exported_here(turn++ % 2 == 0 ? "tandem" : "torch");
    CHECK(right_answers(file, run.config) == run.stored());
    std::int64_t nonzero = 0, all = 0, active = 0, outside = 0;
    for (const TensorView& tensor : file.tensors()) {
      if (tensor.shape.size() < 2 || tensor.dtype == DType::kBool) continue;
      all += tensor.elements();
      const at::Tensor weight = tensor_of(file, tensor.name).reshape({-1}).contiguous();
      nonzero += weight.ne(0).sum().item<std::int64_t>();
      const TensorView* mask = file.find(tensor.name + ".mask");
      if (mask == nullptr) {  // it has all of them
        active += tensor.elements();
        continue;
      }
      REQUIRE(mask->dtype == DType::kBool);
      CHECK(mask->shape == tensor.shape);
      for (std::int64_t i = 0; i < weight.numel(); ++i) {
        const bool kept = static_cast<const std::uint8_t*>(mask->data)[i] != 0;
        active += kept;
        if (!kept && weight.const_data_ptr<float>()[i] != 0) ++outside;
      }
    }
    CHECK(nonzero <= all * 22 / 100);
    CHECK(nonzero <= active);
    CHECK(active <= all * 22 / 100);
    CHECK(outside == 0);
  }
}

TEST_CASE("the exported net of a task has the task's stored accuracy", "[cli]") {
  const Settings sequence = {{"scenario", "class_il"}, {"tasks", "5"}, {"steps", "12"}};
  for (Settings said : std::vector<Settings>{
           {{"strategy", "packnet"}, {"weights", "dense"}},
           {{"strategy", "packnet"}, {"weights", "static"}, {"storage", "sparse"}},
           {{"strategy", "wsn"}, {"weights", "static"}, {"storage", "sparse"}},
           {{"strategy", "hat"}, {"weights", "dense"}, {"gate_scale", "50"}}}) {
    said.insert(sequence.begin(), sequence.end());
    CAPTURE(said.at("strategy"), said.at("weights"));
    const Trained run(said);
    const auto data = load_dataset(run.config);
    for (std::int64_t task = 1; task <= 5; ++task) {
      CAPTURE(task);
      const std::string out = run.folder / fmt::format("task{}.safetensors", task);
      REQUIRE(find_command("export").run({run.id, "--task", std::to_string(task), "--out", out,
                                          "--db", run.db}) == kExitDone);
      const SafetensorsFile file = SafetensorsFile::open(out);
      CHECK(file.metadata().at("task") == std::to_string(task));
      std::vector<std::int64_t> own;
      for (const std::int64_t each : data->validation) {
        if (data->labels[each].item<std::int64_t>() / 2 == task - 1) own.push_back(each);
      }
      const at::Tensor chosen = torch::tensor(own, torch::kLong);
      at::Tensor x = data->inputs.index_select(0, chosen).to(torch::kFloat) / 255;
      for (int l = 0; l < 3; ++l) {
        x = torch::mm(x, tensor_of(file, fmt::format("layer{}.weight", l))) +
            tensor_of(file, fmt::format("layer{}.bias", l));
        if (l < 2) x = torch::relu(x);
      }
      const at::Tensor answer = x.narrow(1, 2 * (task - 1), 2).argmax(1) + 2 * (task - 1);
      const auto right = answer.eq(data->labels.index_select(0, chosen)).sum().item<std::int64_t>();
      const auto rows = StoreReader(run.db)
                            .query(fmt::format(
                                "SELECT DISTINCT n_correct, n_total FROM v_eval WHERE net = 'task' "
                                "AND split = 'validation' AND stage = 5 AND task = {}",
                                task))
                            .rows;
      REQUIRE(rows.size() == 1);
      CHECK(rows[0][0] == std::to_string(right));
      CHECK(rows[0][1] == std::to_string(own.size()));
    }
    CHECK_THROWS_AS(find_command("export").run({run.id, "--task", "6", "--db", run.db}),
                    ConfigError);
  }
  const Trained plain(Settings{{"weights", "dense"}});
  CHECK_THROWS_AS(find_command("export").run({plain.id, "--task", "1", "--db", plain.db}),
                  ConfigError);
}

// The means stand in the last layer's place, those of each read-out in its own streams: products
// with features rank classes as distances to means of norm one do.
TEST_CASE("an exported net with class means answers as it was read", "[cli]") {
  for (Settings said : std::vector<Settings>{{{"weights", "dense"}},
                                             {{"weights", "static"}, {"storage", "sparse"}},
                                             {{"weights", "ssa"}, {"refresh_interval", "10"}}}) {
    said.insert({{"strategy", "icarl"},
                 {"scenario", "class_il"},
                 {"tasks", "5"},
                 {"steps", "12"},
                 {"buffer", "40"},
                 {"replay_batch", "8"}});
    const Trained run(said);
    if (said.at("weights") != "static") {  // the means are each read-out's own
      const SafetensorsFile full = run.exported("tandem", "full");
      const SafetensorsFile sparse = run.exported("tandem", "sparse");
      CHECK_FALSE(
          torch::equal(tensor_of(full, "layer2.weight"), tensor_of(sparse, "layer2.weight")));
    }
    for (const std::string read_out : {"full", "sparse"}) {
      CAPTURE(said.at("weights"), read_out);
      const auto rows =
          StoreReader(run.db)
              .query(
                  "SELECT count(*), sum(n_correct) FROM v_eval WHERE net = 'nearest_mean' AND "
                  "split = 'validation' AND stage = 5 AND NOT masked AND weights_readout = '" +
                  read_out + "'")
              .rows;
      if (rows[0][0] == "0") {
        CHECK((said.at("weights") == "static" && read_out == "full"));
        continue;
      }
      CHECK(rows[0][0] == "5");
      const SafetensorsFile file = run.exported("tandem", read_out);
      // Where two means are equally near, roundings choose.
      CHECK(std::abs(std::stoll(rows[0][1]) - right_answers(file, run.config)) <= 3);
      CHECK(std::stoll(rows[0][1]) > 6000);  // of 30,000, so that it has learnt something
    }
  }
}

TEST_CASE("an exported net with units between excitation and inhibition has its counts", "[cli]") {
  // In 65 steps of 32 a unit is active in between some and all of 2,080 examples.
  const Trained run({{"weights", "set"},
                     {"activation", "k_subtract"},
                     {"switch_after", "1500"},
                     {"winners", "0.2"}});
  const SafetensorsFile file = run.exported("tandem", "sparse");
  const at::Tensor counts = counts_of(file, "layer0.active_count");
  CHECK(counts.min().item<std::int64_t>() < 1500);
  CHECK(counts.max().item<std::int64_t>() > 750);
  CHECK(right_answers(file, run.config) == run.stored());
  CHECK(right_answers(run.exported_here("torch"), run.config) == run.stored());
}

TEST_CASE("an export says how its weights lie, and either layout is one net", "[cli]") {
  // Square: a layer that is loaded the wrong way round would go unnoticed.
  const Trained run({{"weights", "set"}, {"widths", "30,30"}});
  const SafetensorsFile own = run.exported("tandem", "full"), torch = run.exported("torch", "full");
  CHECK(own.metadata().at("layout") == "[in,out]");
  CHECK(torch.metadata().at("layout") == "[out,in]");
  for (const std::string name : {"layer0.weight", "layer1.weight", "layer2.weight"}) {
    CHECK(tensor_of(own, name).t().equal(tensor_of(torch, name)));
  }
  CHECK(tensor_of(own, "layer0.weight").sizes() == at::IntArrayRef({784, 30}));
  CHECK(tensor_of(own, "layer1.bias").equal(tensor_of(torch, "layer1.bias")));
}

}  // namespace tandem::test::app_export_cli
