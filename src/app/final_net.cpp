#include "app/final_net.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <tuple>

#include "core/error.h"
#include "core/text.h"
#include "data/tensor.h"
#include "jobs/checkpoint.h"
#include "jobs/planner.h"
#include "methods/method.h"
#include "topology/saved_topology.h"
#include "train/teacher.h"

namespace tandem {
namespace {

// The part of a checkpoint's names that lies below "RUN/KIND/".
std::map<std::string, at::Tensor> tensors_of(const Checkpoint& checkpoint,
                                             const std::string& prefix) {
  std::map<std::string, at::Tensor> found;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (name.rfind(prefix, 0) == 0) found.emplace(name.substr(prefix.size()), tensor);
  }
  return found;
}

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

}  // namespace

NamedTensors final_net(const std::string& database, const RunRecord& run,
                       const FinalNetOptions& options) {
  const Checkpoint checkpoint = final_checkpoint(database, run);
  const nlohmann::json state = nlohmann::json::parse(checkpoint.state);
  if (options.sparse) check_sparse_net(run, state);
  if (options.torch_layout && !state.contains("layers")) {
    throw ConfigError("--layout torch turns the weights of layers, and run " + short_id(run.id) +
                      " was kept by a program that did not say which these are: give --layout "
                      "tandem, or train it again");
  }
  auto parameters = tensors_of(checkpoint, run.id + "/parameter/");
  if (options.task != "0") use_net_of_task(checkpoint, run, options.task, parameters);
  auto masks = tensors_of(checkpoint, run.id + "/mask/");
  auto nets = tensors_of(checkpoint, run.id + "/sparse_net/");
  // A net that is read by the nearest mean has the means in the place of its last layer; one
  // without weights beside its mask has no full read-out of its own.
  auto means = tensors_of(checkpoint,
                          run.id + "/nearest_mean/" + (options.sparse ? "sparse" : "full") + "/");
  if (means.empty()) means = tensors_of(checkpoint, run.id + "/nearest_mean/sparse/");
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
      written.emplace_back(name,
                           is_layer && options.torch_layout ? tensor.t().contiguous() : tensor);
      continue;
    }
    for (auto& own :
         written_as(layer_of(name, tensor, mask, net, options.sparse), options.torch_layout)) {
      written.push_back(std::move(own));
    }
  }
  for (const auto& [name, tensor] : tensors_of(checkpoint, run.id + "/buffer/")) {
    if (!is_teachers(name)) written.emplace_back(name, tensor);
  }
  return written;
}

}  // namespace tandem
