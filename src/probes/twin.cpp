// This family measures what a run's sparse net A shares with a dense run of the same seed, its
// twin: |A and T| / k with k = |A|, and T the k largest |w| of the twin's layer. By chance it is
// the layer's density.
//   twin_overlap   per layer; for the whole net from totals
// The option `twin` names the twin's weights, a safetensors file of `tandem export` or of a run's
// final checkpoint; {seed} in it stands for the run's seed.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "config/option.h"
#include "core/error.h"
#include "core/safetensors.h"
#include "data/tensor.h"
#include "probes/recorder.h"
#include "readout/readout.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

TANDEM_REGISTERED = declare_option(
    {.name = "twin",
     .type = OptionType::kText,
     .default_value = "",
     .neutral = "",
     .help = "weights of a dense run to compare masks with: a safetensors file of tandem export; "
             "{seed} is the run's seed",
     .per_replica = true,
     .group = "evaluation"});

std::string path_of(const Config& config) {
  std::string path = config.text("twin");
  const std::string seed = "{seed}";
  for (auto at = path.find(seed); at != std::string::npos; at = path.find(seed)) {
    path.replace(at, seed.size(), std::to_string(config.integer("seed")));
  }
  return path;
}

[[noreturn]] void refuse(const std::string& path, const std::string& found) {
  throw DataError("twin = " + path + ": " + found +
                  "; expected the weights of a dense run of the same network: train one with "
                  "--weights dense and the same seed, then tandem export RUN --out " +
                  path);
}

// Returns the tensor of that name, as exported or in a run's section of a checkpoint.
const TensorView* find_parameter(const SafetensorsFile& file, const std::string& name) {
  const std::string suffix = "/parameter/" + name;
  for (const TensorView& tensor : file.tensors()) {
    if (tensor.name == name || tensor.name.ends_with(suffix)) return &tensor;
  }
  return nullptr;
}

// Tells whether the file has weights [out,in].
bool is_turned(const SafetensorsFile& file, const std::string& path) {
  const auto said = file.metadata().find("layout");
  if (said == file.metadata().end() || said->second == kTandemLayout) return false;
  if (said->second != kTorchLayout) {
    refuse(path, "its layout is '" + said->second + "', and known are " + kTandemLayout + " and " +
                     kTorchLayout);
  }
  return true;
}

// Returns |w| of one layer, [1,n].
at::Tensor magnitudes_in(const SafetensorsFile& file, const std::string& path,
                         const Linear& layer) {
  const std::string& name = layer.weight.name;
  const TensorView* found = find_parameter(file, name);
  if (found == nullptr) refuse(path, "it has no tensor '" + name + "'");
  const bool turned = is_turned(file, path);
  std::vector<std::int64_t> shape = {layer.inputs(), layer.outputs()};
  if (turned) std::swap(shape[0], shape[1]);
  const bool fits =
      found->shape == shape && (found->dtype == DType::kF32 || found->dtype == DType::kF64);
  if (!fits) {
    refuse(path, "tensor '" + name + "' is not F32 or F64 of " + std::to_string(shape[0]) + " x " +
                     std::to_string(shape[1]) + " elements, " +
                     (turned ? kTorchLayout : kTandemLayout));
  }
  at::Tensor values =
      torch::empty(shape, found->dtype == DType::kF32 ? torch::kFloat : torch::kDouble);
  std::memcpy(values.data_ptr(), found->data, found->bytes());
  return (turned ? values.t() : values).abs().reshape({1, -1});
}

class TwinProbe : public Probe {
 public:
  explicit TwinProbe(const std::vector<ReadoutRun>& runs) : layers_(runs.size()) {
    for (const ReadoutRun& run : runs) {
      const bool named = run.config.find("twin") != nullptr;
      paths_.push_back(named ? path_of(run.config) : std::string());
    }
  }

  // It is among the defaults where the option `twin` names a file.
  bool by_default() const override {
    return std::any_of(paths_.begin(), paths_.end(),
                       [](const std::string& path) { return !path.empty(); });
  }

  void begin(Model& model) override {
    for (std::size_t r = 0; r < paths_.size(); ++r) {
      const std::string& path = paths_[r];
      if (path.empty()) continue;
      if (!std::filesystem::is_regular_file(path)) refuse(path, "there is no such file");
      const SafetensorsFile file = SafetensorsFile::open(path);
      for (const Linear* layer : model.linears()) {
        const bool compared = layer->connections != nullptr;
        layers_[r].push_back(compared ? magnitudes_in(file, path, *layer) : at::Tensor());
      }
    }
  }

  Measurements measure(const ProbeInput& input) override {
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    const std::vector<Linear*> linears = input.model.linears();
    Recorder rows(replicas);
    // Nets without a mask are dense.
    const bool all_masked = std::all_of(input.runs.begin(), input.runs.end(), has_mask);
    const LayerMasks ranked =
        all_masked ? LayerMasks() : trained_masks(input.model, input.runs, input.ranking);
    for (std::int64_t r = 0; r < replicas; ++r) {
      const std::vector<at::Tensor>& twin = layers_[static_cast<std::size_t>(r)];
      if (twin.empty() || !input.wants(r)) continue;
      double common = 0, active = 0;
      for (std::size_t l = 0; l < linears.size(); ++l) {
        if (!twin[l].defined()) continue;
        const bool masked = has_mask(input.runs[static_cast<std::size_t>(r)]);
        const at::Tensor places =
            masked ? torch::tensor(linears[l]->connections->active_set(r).positions(), torch::kLong)
                   : ranked[l][r].to(torch::kCPU).nonzero().view({-1});
        const at::Tensor largest = select_rows(twin[l], {}, {places.numel()}, /*largest=*/true)[0];
        const auto shared = static_cast<double>(
            largest.index_select(0, places).sum(torch::kLong).item<std::int64_t>());
        const auto count = static_cast<double>(places.numel());
        rows.layer(r, kWeightsLevel, linears[l]->name(), "twin_overlap", shared / count,
                   WholeNetRow::kNone);
        common += shared;
        active += count;
      }
      rows.whole(r, kWeightsLevel, "twin_overlap", common / active);
    }
    return rows.finish();
  }

 private:
  std::vector<std::string> paths_;               // [R]
  std::vector<std::vector<at::Tensor>> layers_;  // [R] beside Model::linears(); empty: no twin
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "twin",
     .summary = "where option twin names a dense run's weights; per layer: twin_overlap",
     .cite = "",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<TwinProbe>(runs);
    });

}  // namespace
}  // namespace tandem
