// What the walk visits, and the settings of each stop.
#include "support/method_walk.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>

#include "config/option.h"
#include "core/error.h"
#include "methods/method.h"
#include "policy/demands.h"
#include "support/train_support.h"
#include "train/optimizer.h"

namespace tandem::test {
namespace {

// What a method needs besides the walk's common settings so that a few steps show all it does.
const std::map<std::string, Settings>& special_settings() {
  static const std::map<std::string, Settings> all = {
      // The phases of the paper are shorter than a step here.
      {"acdc", {{"phases", "0.25,0.5,0.75"}}},
      // In so small a net no unit falls below the default share of its fan-in.
      {"srigl", {{"ablation", "0.9"}}},
  };
  return all;
}

// Numbers that switch something on, and choices that need others beside them.
const std::vector<Settings>& companion_settings() {
  static const std::vector<Settings> all = {
      {{"initial_density", "0.5"}},
      {{"growth_batches", "2"}},
      {{"growth_batches", "2"}, {"mask_source", "gradient"}},
      {{"dormant_value", "hold"}, {"grow_init", "stale"}},
      {{"superset_density", "0.6"}},
      {{"superset_density", "0.6"}, {"superset_random", "true"}},
      {{"superset_density", "0.6"}, {"superset_outside", "zero"}},
      {{"superset_density", "0.6"}, {"superset_outside", "zero"}, {"superset_random", "true"}},
      {{"superset_density", "0.6"}, {"superset_outside", "zero"}, {"weights_draw", "layer"}},
      {{"weights_nested", "1,0.5,0.25"}},
      {{"weights_nested", "1,0.5,0.25"}, {"weights_draw", "layer"}},
      {{"weights_draw", "turns"}, {"weights_draw_steps", "3"}},
      {{"dormant_decay", "0.1"}},
      {{"dormant_decay", "0.1"}, {"dormant_decay_when", "always"}},
      {{"dormant_decay", "0.1"}, {"dormant_decay_lr_scaled", "true"}},
      {{"dormant_decay", "0.1"}, {"superset_density", "0.6"}},
      {{"weights_gap_target", "0.05"}, {"weights_align_every", "2"}},
      {{"weights_counterpart", "propagated"}, {"weights_site", "logits"}},
      {{"weights_counterpart", "propagated"},
       {"weights_site", "logits"},
       {"weights_distance", "logit_kl"}},
  };
  return all;
}

std::string text_of(const Settings& settings) {
  std::string text;
  for (const auto& [name, value] : settings) text += name + "=" + value + " ";
  return text;
}

struct Choice {
  std::string method;
  Settings settings;
};

std::vector<Choice> choices_of(const std::string& method) {
  const Config plain = Config::resolve({{"weights", method}});
  const std::vector<std::string>& uses = part("weights", method).uses;
  std::vector<Choice> choices;
  for (const std::string& name : uses) {
    const Option& read = option(name);
    std::vector<std::string> values = read.choices;
    if (read.type == OptionType::kFlag) values = {"false", "true"};
    for (const std::string& value : values) {
      if (value != plain.text(name)) choices.push_back({method, {{name, value}}});
    }
  }
  for (const Settings& settings : companion_settings()) {
    const bool all_read = std::all_of(settings.begin(), settings.end(), [&](const auto& each) {
      return std::count(uses.begin(), uses.end(), each.first) != 0;
    });
    if (all_read) choices.push_back({method, settings});
  }
  return choices;
}

// Listed once: each section begins the walk anew.
const std::vector<Choice>& all_choices() {
  static const std::vector<Choice> all = [] {
    std::vector<Choice> choices;
    for (const auto& [method, factory] : weights_methods().all()) {
      for (Choice& each : choices_of(method)) choices.push_back(std::move(each));
    }
    return choices;
  }();
  return all;
}

Settings settings_of(const std::string& method, const std::string& optimizer) {
  const std::string interval = std::to_string(kWalkInterval);
  Settings said = {{"weights", method},
                   {"optimizer", optimizer},
                   {"lr", optimizer == "sgd" ? "0.05" : "0.002"},
                   {"steps", std::to_string(kWalkSteps)},
                   {"update_interval", interval},
                   {"update_interval_epochs", "0"},
                   {"refresh_interval", interval},
                   {"prune_interval", "3"},
                   {"drop_fraction", "0.3"},
                   {"train_examples", "300"},
                   {"validation", "0.01"},
                   {"widths", "13,11"},
                   {"batch", "16"},
                   {"density", "0.2"},
                   {"clip", "1"}};
  const auto special = special_settings().find(method);
  if (special != special_settings().end()) {
    for (const auto& [name, value] : special->second) said[name] = value;
  }
  return said;
}

bool reads(const std::string& method, const std::string& option) {
  const Part& facts = part("weights", method);
  return std::count(facts.uses.begin(), facts.uses.end(), option) != 0;
}

const std::string& default_optimizer(const std::string& method) {
  static std::map<std::string, std::string> all;
  std::string& own = all[method];
  if (own.empty()) own = Config::resolve({{"weights", method}}).text("optimizer");
  return own;
}

std::vector<Config> pair_of(const Settings& said, bool own_density) {
  Settings other = said;
  other["seed"] = "2";
  const Config first = Config::resolve(said, /*strict=*/false);
  Config second = Config::resolve(other, false);
  if (own_density) {
    other["density"] = "0.35";
    const Config denser = Config::resolve(other, false);
    if (group_key(denser) == group_key(first)) second = denser;
  }
  return {first, second};
}

}  // namespace

std::unique_ptr<Trainer> MethodCase::start() const {
  auto trainer = std::make_unique<Trainer>(runs, options);
  trainer->begin_stage(0);
  return trainer;
}

void MethodWalk::over_methods(const Visit& visit) const {
  for (const auto& [method, factory] : weights_methods().all()) {
    if (only_with.empty() || reads(method, only_with)) over(method, visit);
  }
}

// A section of each method around those of its choices: Catch looks for a section among all of its
// siblings, again in each of the passes, of which there is one per stop.
void MethodWalk::over_choices(const Visit& visit) const {
  for (const auto& [method, factory] : weights_methods().all()) {
    if (!only_with.empty() && !reads(method, only_with)) continue;
    DYNAMIC_SECTION("choices of " << method) {
      for (const Choice& each : all_choices()) {
        if (each.method != method) continue;
        MethodWalk walk = *this;
        for (const auto& [name, value] : each.settings) walk.settings[name] = value;
        walk.label = text_of(each.settings);
        walk.may_be_refused = true;
        walk.over(method, visit);
      }
    }
  }
}

void MethodWalk::over(const std::string& method, const Visit& visit) const {
  for (const Storage storage : {Storage::kMasked, Storage::kSparse}) {
    for (const auto& [optimizer, factory] : optimizers().all()) {
      if (one_optimizer && optimizer != default_optimizer(method)) continue;
      DYNAMIC_SECTION(label << method << ' ' << storage_name(storage) << ' ' << optimizer) {
        visit_case(method, storage_name(storage), optimizer, visit);
      }
    }
  }
}

MethodCase MethodWalk::case_of(const std::string& method, const std::string& storage,
                               const std::string& optimizer) const {
  Settings said = settings_of(method, optimizer);
  for (const auto& [name, value] : settings) said[name] = value;
  said["storage"] = storage;
  MethodCase each{.method = method, .storage = storage, .optimizer = optimizer};
  each.options.dtype = dtype;
  each.runs = pair_of(said, settings.count("density") == 0);
  each.policies = policies_of(each.runs.front(), Level::kWeights);
  return each;
}

void MethodWalk::visit_case(const std::string& method, const std::string& storage,
                            const std::string& optimizer, const Visit& visit) const {
  MethodCase each;
  std::unique_ptr<Trainer> trainer;
  try {
    each = case_of(method, storage, optimizer);
    if (storage == "sparse" && !demands_of(each.policies).sparse_refusal.empty()) return;
    trainer = each.start();
  } catch (const ConfigError& refusal) {
    // An optimizer need not serve all methods, but the method's default one does.
    CAPTURE(refusal.what());
    REQUIRE_FALSE(std::string(refusal.what()).empty());
    if (!may_be_refused) {
      REQUIRE(optimizer != default_optimizer(method));
    }
    return;
  }
  const Linear& first = *trainer->model().linears().front();
  REQUIRE(first.connections->is_dense() == (storage == "masked"));
  visit(each, *trainer);
}

namespace {

bool is_refused(const MethodWalk& walk, const std::string& method, const std::string& optimizer) {
  try {
    walk.case_of(method, "masked", optimizer).start();
  } catch (const ConfigError&) {
    return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> refused_choices() {
  std::vector<std::string> refused;
  for (const Choice& each : all_choices()) {
    const MethodWalk walk{.settings = each.settings};
    if (!is_refused(walk, each.method, default_optimizer(each.method))) continue;
    std::string line = each.method;
    for (const auto& [name, value] : each.settings) line += " " + name + "=" + value;
    refused.push_back(line);
  }
  std::sort(refused.begin(), refused.end());
  return refused;
}

std::vector<std::string> sparse_methods() {
  std::vector<std::string> served;
  for (const auto& [method, factory] : weights_methods().all()) {
    const MethodCase each = MethodWalk{}.case_of(method, "sparse", default_optimizer(method));
    if (demands_of(each.policies).sparse_refusal.empty()) served.push_back(method);
  }
  std::sort(served.begin(), served.end());
  return served;
}

std::vector<std::string> refused_optimizers() {
  std::vector<std::string> refused;
  for (const auto& [method, factory] : weights_methods().all()) {
    for (const auto& [optimizer, made] : optimizers().all()) {
      if (is_refused({}, method, optimizer)) refused.push_back(method + " " + optimizer);
    }
  }
  std::sort(refused.begin(), refused.end());
  return refused;
}

}  // namespace tandem::test
