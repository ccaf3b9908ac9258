#include "nn/initial_net.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>

#include "config/initial_file.h"
#include "config/option.h"
#include "config/part.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/shape.h"
#include "core/text.h"
#include "data/stored_tensor.h"
#include "data/tensor.h"
#include "nn/attention/module.h"
#include "topology/granularity.h"

namespace tandem {
namespace {

constexpr std::string_view kMask = ".mask", kValues = ".values", kIndices = ".indices";
constexpr std::size_t kShownProblems = 3;

std::string without(const std::string& name, std::string_view ending) {
  return name.substr(0, name.size() - ending.size());
}

// The layers that a model's linear weights are of, by the weight's name.
std::map<std::string, const Linear*> layers_of(Model& model) {
  std::map<std::string, const Linear*> layers;
  for (const Linear* layer : model.linears()) layers[layer->weight.name] = layer;
  return layers;
}

std::vector<std::int64_t> shape_of(const Parameter& parameter, const Linear* layer) {
  if (layer != nullptr) return {layer->inputs(), layer->outputs()};
  const std::vector<std::int64_t> all = parameter.value.sizes().vec();
  return {all.begin() + 1, all.end()};
}

// A strategy's parameters and slots bear its name.
bool is_strategys(const std::string& name) {
  const std::vector<std::string> names = part_table().names_of("strategy");
  return std::find(names.begin(), names.end(), name.substr(0, name.find('.'))) != names.end();
}

// What a canonical form says of an option.
std::string said_in(const std::string& canonical, const Option& option) {
  const std::string key = option.name + "=";
  for (const auto& line : split(canonical, '\n')) {
    if (line.rfind(key, 0) == 0) return line.substr(key.size());
  }
  return option.neutral;
}

std::string entry_of(const TensorMetadata& metadata, const std::string& name) {
  const auto found = metadata.find(name);
  return found == metadata.end() ? "" : found->second;
}

// uint8 [n] of ascending positions.
at::Tensor flags_at(const std::vector<std::int64_t>& positions, std::int64_t n) {
  const at::Tensor flags = torch::zeros({n}, torch::kByte);
  for (const std::int64_t position : positions) flags.data_ptr<std::uint8_t>()[position] = 1;
  return flags;
}

// Whether a mask, uint8 [n], is one that a first mask of `active` connections could be.
bool is_first_mask(const at::Tensor& flags, const LayerShape& layer, const Granularity& granularity,
                   std::int64_t active) {
  const Grouping grouping(granularity, layer.inputs, layer.outputs);
  const at::Tensor row = flags.unsqueeze(0);
  if (grouping.has_quotas()) return grouping.held(row).equal(grouping.quotas({active}));
  const at::Tensor items = grouping.item_flags(row);
  return grouping.position_flags(items).equal(row) &&
         items.sum(torch::kLong).item<std::int64_t>() == budget_items(layer, granularity, active);
}

}  // namespace

InitialNet::InitialNet(SafetensorsFile file) : file_(std::move(file)) {
  for (const TensorView& tensor : file_.tensors()) {
    const std::string& name = tensor.name;
    if (name.find("/parameter/") != std::string::npos) {
      throw DataError(file_.name() +
                      " is a checkpoint, which has more than a net: `tandem export RUN` writes the "
                      "net of a run that is done");
    }
    const auto is_beside = [&](std::string_view ending,
                               std::initializer_list<std::string_view> of) {
      return name.ends_with(ending) && std::any_of(of.begin(), of.end(), [&](auto other) {
               return file_.find(without(name, ending).append(other)) != nullptr;
             });
    };
    if (is_beside(kMask, {"", kValues})) {
      entries_[without(name, kMask)].mask = &tensor;
    } else if (is_beside(kValues, {kIndices})) {
      entries_[without(name, kValues)].values = &tensor;
    } else if (is_beside(kIndices, {kValues})) {
      entries_[without(name, kIndices)].indices = &tensor;
    } else {
      entries_[name].values = &tensor;
    }
  }
  const std::string layout = entry_of(file_.metadata(), "layout");
  if (layout.empty() || layout == kTandemLayout || layout == kTorchLayout) return;
  throw DataError(
      fmt::format("{}: the layout in its metadata is '{}'; weights of layers are {} or {}",
                  file_.name(), layout, kTandemLayout, kTorchLayout));
}

std::shared_ptr<const InitialNet> InitialNet::map(const std::string& path) {
  return std::shared_ptr<const InitialNet>(new InitialNet(SafetensorsFile::open(path)));
}

std::shared_ptr<const InitialNet> InitialNet::read(const std::string& path,
                                                   const std::string& hash) {
  std::string bytes = read_file(path);
  const std::string found = sha256(bytes);
  if (found != hash) {
    throw DataError(fmt::format(
        "{}: expected the net with the hash {} that the run was planned with, found one with the "
        "hash {}: the file was changed, or --init-from names another. Put the file back, or say "
        "the command again for a run that begins with the new one",
        path, hash, found));
  }
  return std::shared_ptr<const InitialNet>(
      new InitialNet(SafetensorsFile::from_bytes(std::move(bytes), path)));
}

std::shared_ptr<const InitialNet> InitialNet::of_bytes(const at::Tensor& bytes,
                                                       const std::string& name) {
  std::string all(static_cast<const char*>(bytes.const_data_ptr()), bytes.nbytes());
  return std::shared_ptr<const InitialNet>(
      new InitialNet(SafetensorsFile::from_bytes(std::move(all), name)));
}

at::Tensor InitialNet::bytes() const {
  const std::string_view all = file_.bytes();
  const at::Tensor copy = torch::empty({static_cast<std::int64_t>(all.size())}, torch::kByte);
  std::copy(all.begin(), all.end(), reinterpret_cast<char*>(copy.data_ptr<std::uint8_t>()));
  return copy;
}

std::string InitialNet::title(const std::string& sha256) const {
  std::string which;
  const std::string read_out = entry_of(file_.metadata(), "read_out");
  const std::string task = entry_of(file_.metadata(), "task");
  if (!read_out.empty() && read_out != "full") which = read_out;
  if (!task.empty() && task != "0") which += (which.empty() ? "task" : "-task") + task;
  return initial_net_name(entry_of(file_.metadata(), "config"), which, sha256);
}

bool InitialNet::has_masks() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const auto& each) { return each.second.mask != nullptr; });
}

bool InitialNet::turned() const { return entry_of(file_.metadata(), "layout") == kTorchLayout; }

std::vector<std::string> InitialNet::differences(const Config& run) const {
  const std::string canonical = entry_of(file_.metadata(), "config");
  std::vector<std::string> found;
  if (canonical.empty()) return found;
  // What a net does not depend on: how long its sequences are, and which keys a query reads.
  static const std::set<std::string> kBeside = {"context", "block_size", "blocks", "widths_match"};
  std::vector<std::string> names = {"model"};
  for (const std::string& name : part("model", run.text("model")).uses) {
    if (kBeside.count(name) == 0) names.push_back(name);
  }
  for (const std::string& name : names) {
    const std::string there = said_in(canonical, option(name));
    if (there == run.text(name)) continue;
    found.push_back(fmt::format("{} = {} (the file's net has {})", name, run.text(name),
                                there.empty() ? "none" : there));
  }
  return found;
}

std::string InitialNet::advice(const Config& run) const {
  std::vector<std::string> differ = differences(run);
  const std::string canonical = entry_of(file_.metadata(), "config");
  if (!canonical.empty()) {
    const std::string data = said_in(canonical, option("data"));
    if (data != run.text("data")) {
      differ.push_back(fmt::format("data = {} (the file's net has {})", run.text("data"), data));
    }
  }
  return (differ.empty() ? std::string() : "This run has " + join(differ, ", ") + ". ") +
         "Give data and model the options that the file's net was trained with, or name another "
         "file";
}

void InitialNet::expect_entry(const Entry& entry, const std::string& name,
                              const std::vector<std::int64_t>& shape, bool is_layer,
                              const Config& run) const {
  const auto refuse = [&](const std::string& what) {
    throw ConfigError(fmt::format("{}: {}. {}", file_.name(), what, advice(run)));
  };
  const TensorView& values = *entry.values;
  if (!is_floating(values.dtype)) {
    refuse(fmt::format("tensor '{}' is of type {}; floating-point numbers are expected",
                       values.name, dtype_name(values.dtype)));
  }
  std::vector<std::int64_t> expected = shape;
  if (is_layer && turned()) std::reverse(expected.begin(), expected.end());
  if (is_layer && entry.indices != nullptr) {
    const bool fits = values.shape.size() == 1 && entry.indices->dtype == DType::kI64 &&
                      entry.indices->shape == std::vector<std::int64_t>{2, values.shape[0]};
    if (!fits) {
      refuse(
          fmt::format("'{}' {} and '{}' {} are no list of connections; [n] and whole numbers "
                      "[2,n] are expected",
                      values.name, shape_text(values.shape), entry.indices->name,
                      shape_text(entry.indices->shape)));
    }
    listed(entry, shape[0], shape[1]);
  } else if (entry.indices != nullptr || values.shape != expected) {
    std::vector<std::int64_t> other = expected;
    std::reverse(other.begin(), other.end());
    const bool lies_turned = is_layer && expected != other && values.shape == other;
    refuse(fmt::format("tensor '{}' is {} in the file, and the net of this run has {} there{}",
                       name, shape_text(values.shape), shape_text(expected),
                       lies_turned ? fmt::format(" (where weights lie as torch.nn.Linear has "
                                                 "them, the file's metadata must say layout {})",
                                                 kTorchLayout)
                                   : ""));
  }
  if (entry.mask == nullptr) return;
  const bool flags = entry.mask->dtype == DType::kBool || entry.mask->dtype == DType::kU8;
  if (!is_layer || !flags || entry.mask->shape != values.shape) {
    refuse(fmt::format(
        "'{}' {} is no mask of '{}' {}; as many flags of type BOOL are expected, "
        "of a linear layer's weights",
        entry.mask->name, shape_text(entry.mask->shape), values.name, shape_text(values.shape)));
  }
}

InitialNet::Fit InitialNet::fit(Model& model, const Config& run) const {
  const bool strict = run.flag("init_strict");
  const DType own = run.text("dtype") == "float64" ? DType::kF64 : DType::kF32;
  const auto layers = layers_of(model);
  Fit fit;
  std::set<std::string> known;
  std::vector<std::string> problems;
  const auto missing = [&](const std::string& name, const std::vector<std::int64_t>& shape) {
    fit.drawn.push_back(name);
    if (strict && !is_modules(name)) {
      problems.push_back(
          fmt::format("it lacks the tensor '{}' {} of this run's net", name, shape_text(shape)));
    }
  };
  for (const Parameter* parameter : model.parameters()) {
    const auto layer = layers.find(parameter->name);
    const auto shape = shape_of(*parameter, layer == layers.end() ? nullptr : layer->second);
    const auto entry = entries_.find(parameter->name);
    known.insert(parameter->name);
    if (entry == entries_.end()) {
      missing(parameter->name, shape);
      continue;
    }
    expect_entry(entry->second, parameter->name, shape, layer != layers.end(), run);
    fit.taken.push_back(parameter->name);
    const DType type = entry->second.values->dtype;
    if (type == DType::kF64 && own == DType::kF32) fit.rounded.push_back(parameter->name);
  }
  for (const Buffer* buffer : model.buffers()) {
    const std::vector<std::int64_t> shape = buffer->value.sizes().slice(1).vec();
    const auto entry = entries_.find(buffer->name);
    known.insert(buffer->name);
    if (entry == entries_.end()) {
      fit.drawn.push_back(buffer->name);
      continue;
    }
    const TensorView& values = *entry->second.values;
    const at::Tensor like = torch::empty({0}, buffer->value.scalar_type());
    const DType type = view_of(buffer->name, like).dtype;
    if (values.shape != shape || values.dtype != type || entry->second.indices != nullptr) {
      throw ConfigError(fmt::format(
          "{}: buffer '{}' is {} of type {} in the file, and the net of this run has {} of type {} "
          "there. {}",
          file_.name(), buffer->name, shape_text(values.shape), dtype_name(values.dtype),
          shape_text(shape), dtype_name(type), advice(run)));
    }
    fit.taken.push_back(buffer->name);
  }
  for (const auto& [name, entry] : entries_) {
    if (known.count(name) != 0) continue;
    fit.left.push_back(name);
    if (strict && !is_modules(name) && !is_strategys(name)) {
      problems.push_back(fmt::format("its tensor '{}' {} is none of this run's net", name,
                                     shape_text(entry.values->shape)));
    }
  }
  if (problems.empty()) return fit;
  const std::size_t count = problems.size();
  problems.resize(std::min(count, kShownProblems));
  throw ConfigError(fmt::format(
      "{} is not of the net that this run trains: {}{}. {}; with --init-strict=false what the file "
      "lacks begins as it is drawn, and what the net lacks is left out",
      file_.name(), join(problems, "; "),
      count > kShownProblems ? fmt::format("; and {} more", count - kShownProblems) : "",
      advice(run)));
}

bool InitialNet::gives_masks(const Start& start, const Config& run) const {
  return start.pattern == Start::Pattern::kRandom && run.text("init_mask") == "file" && has_masks();
}

void InitialNet::expect_masks(const std::vector<LayerShape>& layers, const Start& start,
                              const Config& run) const {
  if (!gives_masks(start, run)) return;
  const std::vector<LayerBudget> budgets = spread_budget(layers, start, start.first_density());
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const LayerShape& layer = layers[l];
    if (layer.exempt) continue;
    const std::vector<std::int64_t> positions = mask(layer.name + ".weight", layer);
    Granularity granularity = start.granularity;
    if (l + 1 == layers.size()) granularity.ablation = 0;
    if (is_first_mask(flags_at(positions, layer.positions()), layer, granularity,
                      budgets[l].active)) {
      continue;
    }
    const auto count = static_cast<std::int64_t>(positions.size());
    throw ConfigError(fmt::format(
        "{}: the mask of '{}.weight' has {} of {} connections{}, and this run begins with {} "
        "there (density = {}, budget = {}, granularity = {}). Give the density and the budget of "
        "the file's net, or --init-mask method for the method's own first mask, or --init-mask "
        "magnitude for the largest weights",
        file_.name(), layer.name, count, layer.positions(),
        count == budgets[l].active ? " that its granularity does not allow" : "", budgets[l].active,
        run.text("density"), run.text("budget"), run.text("granularity")));
  }
}

InitialNet::Listed InitialNet::listed(const Entry& entry, std::int64_t inputs,
                                      std::int64_t outputs) const {
  const at::Tensor indices = tensor_of(*entry.indices);  // [2,n]
  const std::int64_t n = indices.size(1);
  const auto* rows = indices.const_data_ptr<std::int64_t>();
  const auto *input = turned() ? rows + n : rows, *output = turned() ? rows : rows + n;
  Listed all;
  all.places.resize(static_cast<std::size_t>(n));
  std::iota(all.places.begin(), all.places.end(), std::int64_t{0});
  const auto position = [&](std::int64_t i) { return input[i] * outputs + output[i]; };
  std::sort(all.places.begin(), all.places.end(),
            [&](std::int64_t a, std::int64_t b) { return position(a) < position(b); });
  for (const std::int64_t place : all.places) {
    const bool outside =
        input[place] < 0 || input[place] >= inputs || output[place] < 0 || output[place] >= outputs;
    if (outside || (!all.positions.empty() && all.positions.back() == position(place))) {
      throw DataError(fmt::format(
          "{}: entry {} of '{}' says input {} and output {}, which {}; each connection of a layer "
          "of {} inputs and {} outputs is expected once",
          file_.name(), place, entry.indices->name, input[place], output[place],
          outside ? "the layer does not have" : "stands twice", inputs, outputs));
    }
    all.positions.push_back(position(place));
  }
  return all;
}

std::shared_ptr<const GivenWeights> InitialNet::weights(const std::string& name,
                                                        std::int64_t inputs,
                                                        std::int64_t outputs) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return nullptr;
  const Entry& entry = found->second;
  if (entry.indices == nullptr) {
    return std::make_shared<const GivenWeights>(*entry.values, inputs, outputs, turned(),
                                                shared_from_this());
  }
  Listed all = listed(entry, inputs, outputs);
  return std::make_shared<const GivenWeights>(*entry.values, std::move(all.positions),
                                              std::move(all.places), shared_from_this());
}

std::vector<std::int64_t> InitialNet::mask(const std::string& weight,
                                           const LayerShape& layer) const {
  std::vector<std::int64_t> positions;
  const auto found = entries_.find(weight);
  const Entry entry = found == entries_.end() ? Entry() : found->second;
  const auto* flags =
      entry.mask == nullptr ? nullptr : static_cast<const std::uint8_t*>(entry.mask->data);
  if (entry.indices != nullptr) {
    const Listed all = listed(entry, layer.inputs, layer.outputs);
    for (std::size_t i = 0; i < all.positions.size(); ++i) {
      if (flags == nullptr || flags[all.places[i]] != 0) positions.push_back(all.positions[i]);
    }
    return positions;
  }
  for (std::int64_t p = 0; p < layer.positions(); ++p) {
    const std::int64_t place = turned() ? p % layer.outputs * layer.inputs + p / layer.outputs : p;
    if (flags == nullptr || flags[place] != 0) positions.push_back(p);
  }
  return positions;
}

void InitialNet::begin(Model& model, std::int64_t replica) const {
  const at::NoGradGuard no_grad;
  const auto layers = layers_of(model);
  for (Linear* layer : model.linears()) {
    InitialWeights& initial = layer->initial_weights;
    initial.given.resize(static_cast<std::size_t>(initial.replicas()));
    initial.given[static_cast<std::size_t>(replica)] =
        weights(layer->weight.name, layer->inputs(), layer->outputs());
  }
  for (Parameter* parameter : model.parameters()) {
    const auto entry = entries_.find(parameter->name);
    if (entry == entries_.end() || layers.count(parameter->name) != 0) continue;
    parameter->of_replica(replica).copy_(tensor_of(*entry->second.values));
  }
  for (Buffer* buffer : model.buffers()) {
    const auto entry = entries_.find(buffer->name);
    if (entry != entries_.end()) {
      buffer->of_replica(replica).copy_(tensor_of(*entry->second.values));
    }
  }
}

}  // namespace tandem
