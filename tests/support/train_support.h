// What tests of the engine share: small runs on real images, a sink that remembers.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/part.h"
#include "jobs/run_group.h"
#include "store/rows.h"

namespace tandem::test {

// Fashion-MNIST cut to 300 examples, odd widths, a batch that leaves a partial one.
inline Config small_run(Settings said = {}) {
  Settings settings = {{"train_examples", "300"}, {"widths", "37,23"}, {"batch", "32"},
                       {"epochs", "3"},           {"density", "0.2"},  {"curve", "false"},
                       {"validation", "0.01"},    {"lr", "0.05"},      {"clip", "1"}};
  for (auto& [name, value] : said) settings[name] = value;
  return Config::resolve(settings);
}

// Settings of a weights method in which its topology changes every few steps.
inline Settings busy_method(const std::string& method, const std::string& optimizer, int steps,
                            int interval) {
  Settings said = {{"weights", method}, {"steps", std::to_string(steps)}, {"optimizer", optimizer}};
  said["lr"] = optimizer == "sgd" ? "0.05" : "0.002";
  const Part& facts = part("weights", method);
  const auto uses = [&facts](const std::string& option) {
    return std::count(facts.uses.begin(), facts.uses.end(), option) != 0;
  };
  for (const std::string option : {"update_interval", "refresh_interval"}) {
    if (uses(option)) said[option] = std::to_string(interval);
  }
  if (uses("prune_interval")) said["prune_interval"] = "3";
  if (uses("update_interval_epochs")) said["update_interval_epochs"] = "0";
  return said;
}

// A transformer that trains in no time; `said` goes on top.
inline Settings small_transformer(const Settings& said) {
  Settings settings = {{"data", "bytes"}, {"model", "transformer"}, {"optimizer", "adamw"},
                       {"context", "32"}, {"layers", "2"},          {"width", "16"},
                       {"heads", "4"},    {"kv_heads", "2"},        {"block_size", "4"},
                       {"blocks", "2"},   {"batch", "3"},           {"density", "0.3"},
                       {"curve", "false"}};
  for (const auto& [name, value] : said) settings[name] = value;
  return settings;
}

// A class-incremental sequence with replay.
inline Settings small_sequence() {
  return {{"scenario", "class_il"}, {"strategy", "er"}, {"buffer", "30"},  {"replay_batch", "8"},
          {"batch", "8"},           {"epochs", "1"},    {"weights", "set"}};
}

class MemorySink : public RowSink {
 public:
  void emit(Row row) override { rows_[{row.run, row.sequence}] = encode_row(row); }
  std::vector<Row> unacknowledged() override {
    std::vector<Row> all;
    for (const auto& [key, line] : rows_) all.push_back(decode_row(line));
    return all;
  }
  void flush() override {}
  const std::map<std::pair<std::string, std::int64_t>, std::string>& rows() const { return rows_; }

  // Rows that must not depend on time or company: all but provenance, states and shares of time.
  std::map<std::pair<std::string, std::int64_t>, std::string> results() const {
    std::map<std::pair<std::string, std::int64_t>, std::string> kept;
    for (const auto& [key, line] : rows_) {
      const RowBody body = decode_row(line).body;
      if (std::holds_alternative<ProvenanceRow>(body)) continue;
      if (const auto* state = std::get_if<StateRow>(&body)) {
        kept[key] = state->state + " " + std::to_string(state->step) + " " +
                    std::to_string(state->train_flops);
        continue;
      }
      const auto* metric = std::get_if<MetricRow>(&body);
      const bool timed = metric != nullptr &&
                         (metric->name == "probe_time_share" || metric->name == "probe_seconds");
      if (timed) continue;
      kept[key] = line;
    }
    return kept;
  }

 private:
  std::map<std::pair<std::string, std::int64_t>, std::string> rows_;
};

}  // namespace tandem::test
