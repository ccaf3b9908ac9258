// `tandem list`: what is registered, from the tables themselves.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "analysis/dictionary.h"
#include "app/command.h"
#include "config/command_line.h"
#include "config/part.h"
#include "core/text.h"
#include "methods/method.h"
#include "nn/model.h"
#include "plan/match.h"
#include "topology/storage.h"

namespace tandem {
namespace {

// Topic -> kinds of parts. "methods" are those of both levels.
const std::vector<std::pair<std::string, std::vector<std::string>>> kTopics = {
    {"methods", {"weights", "attention"}},
    {"strategies", {"strategy"}},
    {"scenarios", {"scenario"}},
    {"probes", {"probe"}},
    {"models", {"model"}},
    {"optimizers", {"optimizer"}},
    {"data", {"data"}},
    {"criteria", {"criterion"}},
    {"selectors", {"selector", "attention_module"}}};

std::vector<std::string> topic_names() {
  std::vector<std::string> names;
  for (const auto& [name, kinds] : kTopics) names.push_back(name);
  names.insert(names.end(), {"options", "columns"});
  return names;
}

// Training steps that cost as much as a thousand dense ones tell what a step costs; and which
// storage the method's connections can have.
std::string needs_of(const std::string& method) {
  constexpr std::int64_t kSteps = 10000, kExamples = 60000;
  const Config config = Config::resolve({{"weights", method},
                                         {"model", "mlp"},
                                         {"density", "0.1"},
                                         {"steps", std::to_string(kSteps)},
                                         {"match", "train_flops"}});
  const ModelShape shape{.features = 784, .outputs = 10, .weights_later = true};
  const auto model = models().at("model", "mlp")({config}, shape);
  const RunSchedule run(config, policies_of(config), make_timeline(config, {kExamples}));
  const RunSchedule matched = ScheduleMatcher(*model, shape, 1).matched(run);
  const double cost = static_cast<double>(kSteps) / static_cast<double>(matched.timeline.total());
  const std::string refusal = run.demands.weights.sparse_refusal;
  return fmt::format("a step costs {:.2f} of a dense one (density 0.1, {}); {}", cost,
                     "784-" + join(split(config.text("widths"), ','), "-") + "-10",
                     refusal.empty() ? "masked or sparse storage" : "masked storage: " + refusal);
}

void print_parts(const std::string& kind, bool with_heading) {
  const auto parts = parts_of(kind);
  if (with_heading) fmt::print("{}:\n", kind);
  std::size_t width = 0;
  for (const auto& part : parts) width = std::max(width, part.name.size());
  for (const auto& part : parts) {
    fmt::print("  {:<{}}  {}", part.name, width, part.summary);
    if (!part.cite.empty()) fmt::print(" [{}]", part.cite);
    std::vector<std::string> defaults;
    for (const auto& [name, value] : part.defaults) defaults.push_back(name + "=" + value);
    if (!defaults.empty()) fmt::print("\n  {:<{}}  sets {}", "", width, join(defaults, ", "));
    if (!part.uses.empty()) fmt::print("\n  {:<{}}  reads {}", "", width, join(part.uses, ", "));
    if (kind == "weights") fmt::print("\n  {:<{}}  {}", "", width, needs_of(part.name));
    fmt::print("\n");
  }
}

void print_columns() {
  std::string view;
  for (const ColumnMeaning& column : data_dictionary()) {
    if (column.view != view) {
      view = column.view;
      fmt::print("{}{}\n", view, view == "v_run" || view == "v_tuning" ? ":" : ", beside v_run's:");
    }
    fmt::print("  {:<24} {:<7} {}\n", column.name, column.type, column.text);
  }
}

ExitCode list(const Arguments& args) {
  const ParsedArguments parsed = parse_arguments(args);
  if (parsed.positionals.size() != 1 || !parsed.settings.empty()) {
    throw ConfigError("tandem list needs one topic: " + join(topic_names(), ", "));
  }
  const std::string& topic = parsed.positionals.front();
  if (topic == "options") {
    fmt::print("{}", options_help());
    return kExitDone;
  }
  if (topic == "columns") {
    print_columns();
    return kExitDone;
  }
  const auto found = std::find_if(kTopics.begin(), kTopics.end(),
                                  [&](const auto& each) { return each.first == topic; });
  if (found == kTopics.end()) throw ConfigError(did_you_mean("topic", topic, topic_names()));
  for (const auto& kind : found->second) print_parts(kind, found->second.size() > 1);
  return kExitDone;
}

TANDEM_REGISTERED = declare_command(
    {.name = "list",
     .summary = "list methods, strategies, scenarios, probes, models, optimizers, data, options or "
                "columns",
     .usage = "list TOPIC",
     .text = "TOPIC is one of methods, strategies, scenarios, probes, models, optimizers, data, "
             "criteria, options, columns (of the results database).",
     .run = list});

}  // namespace
}  // namespace tandem
