// `tandem export`: the final weights of a finished run as a safetensors file, one tensor per
// parameter and per buffer of the model (what a net needs to be read beside its weights). The
// sparse read-out is the parameters with zeros outside of the masks that the run's sparse net was
// evaluated with at its density. Weights of layers are [in,out], or [out,in] with
// --layout torch; the metadata's `layout` says which. A layer that was stored sparsely is written
// dense as well; where that would be very large, as NAME.values [n] and NAME.indices [2,n], in the
// order of the layout. NAME.mask beside a layer's weights says which of them the read-out's mask
// has, zeros too, so that a run that begins with the file (--init-from) can go on from it.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "app/command.h"
#include "app/execute.h"
#include "config/command_line.h"
#include "core/files.h"
#include "core/safetensors.h"
#include "data/stored_tensor.h"
#include "data/tensor.h"
#include "jobs/checkpoint.h"
#include "methods/method.h"
#include "store/store.h"
#include "topology/saved_topology.h"
#include "train/teacher.h"

namespace tandem {
namespace {

const Option kReadOut = {.name = "read_out",
                         .type = OptionType::kChoice,
                         .default_value = "full",
                         .neutral = "full",
                         .help = "all weights, or those within the trained masks",
                         .choices = {"full", "sparse"}};
const Option kExportOut =
    text_option("out", "file to write, NAME.safetensors; default RUN-READ_OUT.safetensors here");
const Option kLayout = {.name = "layout",
                        .type = OptionType::kChoice,
                        .default_value = "tandem",
                        .neutral = "tandem",
                        .help =
                            "weights of layers as [in,out] (tandem) or as torch.nn.Linear has "
                            "them, [out,in] (torch); the file's metadata says it",
                        .choices = {"tandem", "torch"}};

const Option kTask = {
    .name = "task",
    .type = OptionType::kInt,
    .default_value = "0",
    .neutral = "0",
    .help =
        "the net of this task, of a run that has one for each (packnet, wsn, hat); "
        "0: the net as it was trained last",
    .minimum = 0};

// The part of a checkpoint's names that lies below "RUN/KIND/".
std::map<std::string, at::Tensor> tensors_of(const Checkpoint& checkpoint,
                                             const std::string& prefix) {
  std::map<std::string, at::Tensor> found;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (name.rfind(prefix, 0) == 0) found.emplace(name.substr(prefix.size()), tensor);
  }
  return found;
}

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

// Positions of a layer that is still written dense: half a gigabyte of floats.
constexpr std::int64_t kMostDense = std::int64_t{1} << 27;

at::Tensor as_tensor(const std::vector<std::int64_t>& positions) {
  return torch::tensor(positions, torch::kLong);
}

// A layer's weights as its run kept them.
struct LayerWeights {
  std::string name;
  std::int64_t inputs, outputs;
  at::Tensor values;                   // of the stored positions, or of all of them
  std::optional<ActiveSet> stored;     // ascending; none: all positions are
  std::optional<ActiveSet> kept;       // what is read out; none: whatever is stored
  std::optional<ActiveSet> mask = {};  // of the read-out, where it lacks some; none: it has all
};

LayerWeights layer_of(const std::string& name, const at::Tensor& values, const at::Tensor* mask,
                      const at::Tensor* net, bool sparse) {
  const at::Tensor& told = mask != nullptr ? *mask : *net;
  LayerWeights layer{name, 0, 0, values.reshape({-1}), {}, {}};
  if (values.dim() == 2) {
    layer.inputs = values.size(0);
    layer.outputs = values.size(1);
  } else if (const auto shape = SavedTopology::shape_in(told)) {
    std::tie(layer.inputs, layer.outputs) = *shape;
  }
  if (layer.inputs < 1 || layer.outputs < 1) {
    throw StoreError("the connections of " + name +
                     " lack their shape; use the program that wrote them, or train anew");
  }
  std::int64_t stored = layer.inputs * layer.outputs;
  if (mask != nullptr) {
    const SavedTopology own = SavedTopology::load(*mask, name, layer.inputs, layer.outputs);
    if (own.listed) layer.stored = own.superset.known() ? own.superset : own.mask;
    if (layer.stored) stored = layer.stored->count();
    if (sparse) layer.kept = own.mask;
    layer.mask = own.mask;
  }
  if (sparse && net != nullptr) {
    layer.kept = SavedTopology::load(*net, name, layer.inputs, layer.outputs).mask;
    layer.mask = layer.kept;
  }
  if (layer.mask && layer.mask->count() == layer.inputs * layer.outputs) layer.mask.reset();
  if (stored != values.numel()) {
    throw StoreError(
        fmt::format("the {} values of {} don't fit its connections of {} inputs and {} outputs; "
                    "use the program that wrote them, or train anew",
                    values.numel(), name, layer.inputs, layer.outputs));
  }
  return layer;
}

// Where the values of a read-out lie among the layer's positions, and the values.
std::pair<at::Tensor, at::Tensor> read_out_values(const LayerWeights& layer) {
  const std::vector<std::int64_t> kept =
      layer.kept ? layer.kept->positions() : layer.stored->positions();
  if (!layer.stored) return {as_tensor(kept), layer.values.index_select(0, as_tensor(kept))};
  const std::vector<std::int64_t> stored = layer.stored->positions();
  std::vector<std::int64_t> positions, places;
  for (std::size_t i = 0, next = 0; i < stored.size() && next < kept.size(); ++i) {
    while (next < kept.size() && kept[next] < stored[i]) ++next;  // not stored: zero
    if (next == kept.size() || kept[next] != stored[i]) continue;
    positions.push_back(stored[i]);
    places.push_back(static_cast<std::int64_t>(i));
    ++next;
  }
  return {as_tensor(positions), layer.values.index_select(0, as_tensor(places))};
}

// Flags of the mask at these ascending positions of a layer.
at::Tensor mask_at(const ActiveSet& mask, const std::int64_t* begin, std::int64_t count) {
  const std::vector<std::int64_t> active = mask.positions();
  const at::Tensor flags = torch::zeros({count}, torch::kBool);
  auto* flag = flags.data_ptr<bool>();
  for (std::int64_t i = 0; i < count; ++i) {
    flag[i] = std::binary_search(active.begin(), active.end(), begin[i]);
  }
  return flags;
}

// As the file has it: dense, or what is there.
NamedTensors written_as(const LayerWeights& layer, bool torch_layout) {
  const std::int64_t all = layer.inputs * layer.outputs;
  at::Tensor dense;
  if (!layer.stored && !layer.kept) {
    dense = layer.values;
  } else {
    const auto [positions, values] = read_out_values(layer);
    if (all > kMostDense && layer.stored) {
      const at::Tensor input = positions.div(layer.outputs, "floor");
      const at::Tensor output = positions.remainder(layer.outputs);
      const at::Tensor indices =
          torch_layout ? torch::stack({output, input}) : torch::stack({input, output});
      NamedTensors listed = {{layer.name + ".values", values},
                             {layer.name + ".indices", indices.contiguous()}};
      if (layer.mask) {
        listed.emplace_back(
            layer.name + ".mask",
            mask_at(*layer.mask, positions.const_data_ptr<std::int64_t>(), positions.numel()));
      }
      return listed;
    }
    dense = torch::zeros({all}, layer.values.options()).index_copy_(0, positions, values);
  }
  const auto laid = [&](const at::Tensor& all_positions) {
    const at::Tensor weight = all_positions.view({layer.inputs, layer.outputs});
    return torch_layout ? weight.t().contiguous() : weight;
  };
  NamedTensors written = {{layer.name, laid(dense)}};
  if (layer.mask) {
    const at::Tensor flags = torch::zeros({all}, torch::kBool);
    auto* flag = flags.data_ptr<bool>();
    for (const std::int64_t position : layer.mask->positions()) {
      if (position < all) flag[position] = true;
    }
    written.emplace_back(layer.name + ".mask", laid(flags));
  }
  return written;
}

Checkpoint final_checkpoint(const std::string& database, const RunRecord& run) {
  const std::string folder = final_folder(database, run.id);
  auto checkpoint = load_checkpoint(folder);
  if (checkpoint) return std::move(*checkpoint);
  throw StoreError(
      fmt::format("run {} ({}) has no final weights in {}: they are kept beside the database once "
                  "a run is done",
                  short_id(run.id), run.state, folder));
}

// Refuses a name that says another format; a device or a pipe has none.
void expect_ending(const std::string& out) {
  if (out.empty() || is_special_file(out)) return;
  if (std::filesystem::path(out).extension() == ".safetensors") return;
  throw ConfigError(out + ": weights are written as NAME.safetensors");
}

// A final checkpoint of before holds the mask of the last step alone, and a net that was ranked
// when it was read out is not that.
void check_sparse_net(const RunRecord& run, const nlohmann::json& state) {
  if (state.value("sparse_net", false)) return;
  const Policies weights = policies_of(Config::from_canonical(run.canonical), Level::kWeights);
  if (!weights.dormant_carry_values() || !weights.has_full_stream()) return;
  throw ConfigError("run " + short_id(run.id) +
                    " was kept by a program that did not keep the masks of its sparse read-out: "
                    "export --read-out full, or train it again");
}

// Values that differ in the task's net take the place of the others.
void use_net_of_task(const Checkpoint& checkpoint, const RunRecord& run, const std::string& task,
                     std::map<std::string, at::Tensor>& parameters) {
  const std::int64_t tasks = nlohmann::json::parse(checkpoint.state).value("task_nets", 0);
  if (tasks == 0) {
    throw ConfigError(
        "run " + short_id(run.id) +
        " has one net for all tasks: leave --task out (strategies with a net for each "
        "are packnet, wsn and hat)");
  }
  if (*parse_integer(task) > tasks) {
    throw ConfigError(
        fmt::format("run {} has tasks 1 to {}, and --task is {}", short_id(run.id), tasks, task));
  }
  for (auto& [name, values] : tensors_of(checkpoint, run.id + "/task/" + task + "/")) {
    parameters.at(name) = values;
  }
}

ExitCode run_export(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args, {kReadOut, kExportOut, kLayout, kTask});
  if (parsed.positionals.size() != 1) throw ConfigError("tandem export needs one run's id");
  expect_ending(extra_value(parsed, kExportOut));
  const std::string database = database_of(parsed.settings);
  const RunRecord record = StoreReader(database).find_run(parsed.positionals.front());
  const std::string read_out = extra_value(parsed, kReadOut);
  const bool sparse = read_out == "sparse", torch_layout = extra_value(parsed, kLayout) == "torch";
  const Checkpoint checkpoint = final_checkpoint(database, record);
  const nlohmann::json state = nlohmann::json::parse(checkpoint.state);
  if (sparse) check_sparse_net(record, state);
  if (torch_layout && !state.contains("layers")) {
    throw ConfigError("--layout torch turns the weights of layers, and run " + short_id(record.id) +
                      " was kept by a program that did not say which these are: give --layout "
                      "tandem, or train it again");
  }
  auto parameters = tensors_of(checkpoint, record.id + "/parameter/");
  const std::string task = extra_value(parsed, kTask);
  if (task != "0") use_net_of_task(checkpoint, record, task, parameters);
  auto masks = tensors_of(checkpoint, record.id + "/mask/");
  auto nets = tensors_of(checkpoint, record.id + "/sparse_net/");
  // A net that is read by the nearest mean has the means in the place of its last layer; one
  // without weights beside its mask has no full read-out of its own.
  auto means = tensors_of(checkpoint, record.id + "/nearest_mean/" + read_out + "/");
  if (means.empty()) means = tensors_of(checkpoint, record.id + "/nearest_mean/sparse/");
  for (const auto& [name, values] : means) {
    parameters.at(name) = values;
    masks.erase(name);
    nets.erase(name);
  }
  const auto find = [](const std::map<std::string, at::Tensor>& all, const std::string& name) {
    const auto found = all.find(name);
    return found == all.end() ? nullptr : &found->second;
  };
  NamedTensors written;
  for (const auto& [name, tensor] : parameters) {
    if (is_teachers(name)) continue;
    const at::Tensor *mask = find(masks, name), *net = find(nets, name);
    const bool is_layer = state.contains("layers") && state["layers"].contains(name);
    if (mask == nullptr && net == nullptr) {
      written.emplace_back(name, is_layer && torch_layout ? tensor.t().contiguous() : tensor);
      continue;
    }
    for (auto& own : written_as(layer_of(name, tensor, mask, net, sparse), torch_layout)) {
      written.push_back(std::move(own));
    }
  }
  for (const auto& [name, tensor] : tensors_of(checkpoint, record.id + "/buffer/")) {
    if (!is_teachers(name)) written.emplace_back(name, tensor);
  }
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : written) views.push_back(view_of(name, tensor));
  std::string out = extra_value(parsed, kExportOut);
  if (out.empty()) {
    out =
        short_id(record.id) + "-" + read_out + (task == "0" ? "" : "-task" + task) + ".safetensors";
  }
  const TensorMetadata metadata = {{"run", record.id},
                                   {"read_out", read_out},
                                   {"task", task},
                                   {"layout", torch_layout ? kTorchLayout : kTandemLayout},
                                   {"config", record.canonical}};
  OutputFiles files;
  files.add(out, [&](FileSink& sink) { write_safetensors(sink, views, metadata); });
  files.commit();
  fmt::print("{} written: {} tensors of run {}, {} read-out\n", out, views.size(),
             short_id(record.id), read_out);
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "export",
     .summary = "write a finished run's weights as a safetensors file",
     .usage = "export RUN [--read-out full|sparse] [--task N] [--layout tandem|torch] "
              "[--out FILE] [--db PATH]",
     .options = {kReadOut, kExportOut, kLayout, kTask},
     .run = run_export});

}  // namespace
}  // namespace tandem
