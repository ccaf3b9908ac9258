// Parts of a table of their own, so that configs resolve without any layer that registers real
// ones. Names are those of real parts, but defaults and uses are the test's.
#pragma once

#include "config/config.h"
#include "config/option.h"
#include "config/part.h"

namespace tandem::test {

inline PartTable fixture_parts() {
  PartTable parts;
  const auto add = [&](const char* kind, const char* name,
                       std::vector<std::pair<std::string, std::string>> defaults = {},
                       std::vector<std::string> uses = {}) {
    Part part{.kind = kind, .name = name, .summary = "a test's part", .cite = ""};
    part.defaults = std::move(defaults);
    part.uses = std::move(uses);
    part.file = __FILE__;
    parts.declare(part);
  };
  add("data", "fashion_mnist", {},
      {"data_dir", "data_hash", "normalize", "validation", "train_examples"});
  add("data", "bytes",
      {{"model", "transformer"}, {"optimizer", "adam"}, {"lr", "0.001"}, {"validation", "0.1"}},
      {"data_hash", "corpus"});
  add("model", "mlp", {}, {"widths", "activation", "layer_norm"});
  add("model", "transformer", {{"lr", "0.002"}, {"batch", "32"}},
      {"context", "layers", "width", "heads", "kv_heads", "ff_width", "rope_theta", "head_gate",
       "block_size", "blocks"});
  add("optimizer", "sgd", {}, {"momentum", "nesterov"});
  add("optimizer", "adam", {{"lr", "0.003"}}, {"beta1", "beta2", "adam_epsilon"});
  add("scenario", "single");
  add("scenario", "split", {{"epochs", "1"}}, {"tasks", "class_order", "online"});
  add("strategy", "finetune");
  add("strategy", "replay", {}, {"buffer", "replay_batch"});
  add("weights", "dense");
  add("weights", "static");
  add("weights", "set", {{"update_interval_epochs", "1"}, {"drop_rule", "set_signed"}},
      {"drop_fraction", "update_interval", "update_interval_epochs", "drop_rule", "grow_init"});
  add("weights", "rigl", {{"update_order", "update_instead"}},
      {"drop_fraction", "update_interval", "update_end", "update_order"});
  add("weights", "ssa", {},
      {"weights_p", "weights_alpha", "weights_lambda_full", "weights_lambda_sparse",
       "refresh_interval"});
  add("attention", "full");
  add("attention", "ssa", {}, {"attention_p", "attention_alpha", "attention_selector"});
  return parts;
}

// The program's options with the fixture's parts.
struct ConfigFixture {
  OptionTable options = OptionTable(option_table().all());
  PartTable parts = fixture_parts();
  int engine_revision = 1;

  ConfigTables tables() const { return {&options, &parts, engine_revision}; }
  Config resolve(const Settings& said, bool strict = true) const {
    return Config::resolve(said, strict, tables());
  }
  std::string id(const Settings& said) const { return resolve(said).id(); }

  // The tables with one option or part changed.
  template <class TopologyChange>
  ConfigFixture with_option(const std::string& name, TopologyChange change) const {
    ConfigFixture changed = *this;
    std::vector<Option> all = options.all();
    for (auto& each : all) {
      if (each.name == name) change(each);
    }
    changed.options = OptionTable(all);
    return changed;
  }
  template <class TopologyChange>
  ConfigFixture with_part(const std::string& kind, const std::string& name,
                          TopologyChange change) const {
    ConfigFixture changed = *this;
    changed.parts = PartTable();
    for (auto each : parts.all()) {
      if (each.kind == kind && each.name == name) change(each);
      changed.parts.declare(each);
    }
    return changed;
  }
};

}  // namespace tandem::test
