#include "plan/stretch.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/option.h"
#include "continual/scenario.h"
#include "continual/strategy.h"
#include "core/error.h"
#include "data/dataset.h"
#include "methods/method.h"
#include "nn/model.h"
#include "plan/group.h"
#include "plan/match.h"
#include "plan/plan.h"
#include "plan/stages.h"

namespace tandem {
namespace {

// A network and what has been counted of its runs.
struct Network {
  std::shared_ptr<const Dataset> data;
  std::unique_ptr<Model> model;
  std::unique_ptr<ScheduleMatcher> matcher;

  explicit Network(const Config& config) : data(load_dataset(config)) {
    const ModelShape shape = network_shape(*data, make_tasks(config, *data));
    model = models().at("model", config.text("model"))({config}, shape);
    matcher = std::make_unique<ScheduleMatcher>(*model, shape, rows_per_example(config, *data));
  }

  double stretch(const Config& config) {
    const TaskSequence tasks = make_tasks(config, *data);
    const auto strategy = strategies().at(
        "strategy", config.text("strategy"))({1, {config}, {tasks}, model->parameters()});
    const RunSchedule run(config, policies_of(config),
                          Stages(config, *data, tasks, strategy->needs().stage).timeline());
    return static_cast<double>(matcher->matched(run).timeline.total()) /
           static_cast<double>(run.timeline.total());
  }
};

class StretchFinder {
 public:
  std::optional<double> of(const Config& config) {
    if (config.text("match") != "train_flops") return 1.0;
    std::string kind = config.likeness([](const std::string& name) {
      return option(name).scope != OptionScope::kRun || is_of_repetition(name);
    });
    const auto [known, added] = factors_.emplace(std::move(kind), std::nullopt);
    if (!added) return known->second;
    try {
      std::unique_ptr<Network>& network = networks_[group_key(config)];
      if (network == nullptr) network = std::make_unique<Network>(config);
      known->second = network->stretch(config);
    } catch (const Error&) {
      known->second.reset();
    }
    return known->second;
  }

 private:
  std::map<std::string, std::unique_ptr<Network>> networks_;  // by the group's key
  std::map<std::string, std::optional<double>> factors_;
};

}  // namespace

StretchOf stretch_finder() {
  const auto finder = std::make_shared<StretchFinder>();
  return [finder](const Config& config) { return finder->of(config); };
}

}  // namespace tandem
