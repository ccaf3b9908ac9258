// What tests of the engine share: small runs on real images, a sink that remembers.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "store/rows.h"
#include "train/group.h"

namespace tandem::test {

// Fashion-MNIST cut to 300 examples, odd widths, a batch that leaves a partial one.
inline Config small_run(Settings said = {}) {
  Settings settings = {{"train_examples", "300"}, {"widths", "37,23"}, {"batch", "32"},
                       {"epochs", "3"},           {"density", "0.2"},  {"curve", "false"},
                       {"validation", "0.01"},    {"lr", "0.05"},      {"clip", "1"}};
  for (auto& [name, value] : said) settings[name] = value;
  return Config::resolve(settings);
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
      if (metric != nullptr && metric->name == "probe_time_share") continue;
      kept[key] = line;
    }
    return kept;
  }

 private:
  std::map<std::pair<std::string, std::int64_t>, std::string> rows_;
};

}  // namespace tandem::test
