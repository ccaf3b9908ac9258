#include "jobs/initial_nets.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>

#include "config/initial_file.h"
#include "config/option.h"
#include "continual/scenario.h"
#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "data/dataset.h"
#include "methods/method.h"
#include "plan/stages.h"

namespace tandem {
namespace {

// What alike runs have in common.
struct NetKind {
  std::unique_ptr<Model> model;  // linear layers without weights
  std::vector<LayerShape> layers;
  Start start;

  explicit NetKind(const Config& run) : start(policies_of(run, Level::kWeights).start) {
    const auto data = load_dataset(run);
    ModelShape shape = network_shape(*data, make_tasks(run, *data));
    shape.weights_later = true;
    model = models().at("model", run.text("model"))({run}, shape);
    for (const Linear* layer : model->linears()) {
      const bool exempt = std::count(start.exempt.begin(), start.exempt.end(), layer->name()) != 0;
      layers.push_back({layer->name(), layer->inputs(), layer->outputs(), exempt});
    }
  }
};

std::shared_ptr<const InitialNet> mapped(const Config& run) {
  const std::string path = initial_file(run);
  if (path.empty()) {
    throw ConfigError(fmt::format(
        "run {} begins with the net '{}' of the content {}, and no checkpoint of it goes on: say "
        "where the file is with --init-from",
        short_id(run.id()), run.text("init_net"), run.text("init_hash")));
  }
  return InitialNet::map(path);
}

// Which of its weights a method begins with.
std::string first_mask_text(const InitialNet& net, const Config& run) {
  const Start start = policies_of(run, Level::kWeights).start;
  const std::string unused = net.has_masks() ? " (the file's masks are not used)" : "";
  if (start.pattern == Start::Pattern::kDense) {
    return net.has_masks() ? "; all weights are active at first" + unused : "";
  }
  if (start.first_density() >= 1) return "";
  if (start.pattern == Start::Pattern::kMagnitude) {
    return "; the first mask is that of the largest weights" + unused;
  }
  return net.gives_masks(start, run) ? "; the first masks are the file's"
                                     : "; the first masks are drawn by the method" + unused;
}

std::string list_text(const char* what, const std::vector<std::string>& names) {
  return names.empty() ? "" : fmt::format("; {}: {}", what, join(names, ", "));
}

}  // namespace

void check_initial_nets(const std::vector<Config>& runs) {
  std::map<std::string, std::unique_ptr<NetKind>> kinds;
  for (const Config& run : runs) {
    if (!begins_with_file(run)) continue;
    std::unique_ptr<NetKind>& kind = kinds[run.likeness(is_of_repetition)];
    if (kind == nullptr) kind = std::make_unique<NetKind>(run);
    const auto net = mapped(run);
    net->fit(*kind->model, run);
    net->expect_masks(kind->layers, kind->start, run);
    const std::vector<std::string> differ = net->differences(run);
    if (differ.empty()) continue;
    const std::string text = fmt::format(
        "{}: the file's tensors have the shapes of this run's net, which has other options: {}",
        run.text("init_from"), join(differ, ", "));
    log_warn_once(text, text);
  }
}

std::vector<std::shared_ptr<const InitialNet>> initial_nets(
    const GroupSpec& spec, const std::optional<Checkpoint>& resumed) {
  std::vector<std::shared_ptr<const InitialNet>> nets;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<const InitialNet>> known;
  for (const Config& run : spec.runs) {
    std::shared_ptr<const InitialNet>& net = nets.emplace_back();
    if (!begins_with_file(run)) continue;
    if (resumed) {
      for (const auto& [name, bytes] : resumed->tensors) {
        if (name == run.id() + kInitialTensor) net = InitialNet::of_bytes(bytes, name);
      }
      continue;
    }
    const bool frozen =
        std::find(spec.frozen.begin(), spec.frozen.end(), run.id()) != spec.frozen.end();
    if (frozen) continue;
    const std::string path = initial_file(run), &hash = run.text("init_hash");
    auto& read = known[{path, hash}];
    if (read == nullptr) read = InitialNet::read(path, hash);
    net = read;
  }
  return nets;
}

void log_initial_nets(const GroupSpec& spec,
                      const std::vector<std::shared_ptr<const InitialNet>>& nets, Model& model) {
  std::map<std::string, std::vector<std::string>> runs;  // by what is said of them
  for (std::size_t r = 0; r < nets.size(); ++r) {
    if (nets[r] == nullptr) continue;
    const Config& run = spec.runs[r];
    const InitialNet::Fit fit = nets[r]->fit(model, run);
    runs[fmt::format("{} ({}) gives {} tensors{}{}{}{}", initial_file(run), run.text("init_net"),
                     fit.taken.size(), list_text("begun as they are drawn", fit.drawn),
                     list_text("left out", fit.left), list_text("rounded to float32", fit.rounded),
                     first_mask_text(*nets[r], run))]
        .push_back(short_id(run.id()));
  }
  for (const auto& [text, ids] : runs) {
    log_info(fmt::format("run{} {}: {}", ids.size() == 1 ? "" : "s", join(ids, ", "), text));
  }
}

}  // namespace tandem
