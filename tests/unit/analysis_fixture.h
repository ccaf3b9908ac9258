// A small finished grid for the analysis tests: two methods by five seeds at density 0.1, on the
// validation split, one of the runs diverged.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "unit/store_fixture.h"

namespace tandem::test {

inline RunRecord record_of(const Config& run) {
  RunRecord record;
  record.id = run.id();
  record.canonical = run.canonical();
  for (const auto& [name, value] : run.values()) record.values.emplace_back(name, value);
  return record;
}

inline Row readout(const std::string& run, std::int64_t sequence, std::int64_t n_correct,
                   const std::string& weights, std::optional<double> budget,
                   const std::string& split = "validation") {
  Row row = eval(run, sequence, 1, 1, n_correct, 1000);
  auto& e = std::get<EvalRow>(row.body);
  e.readout.weights.stream = weights;
  e.readout.weights.budget = budget;
  e.split = split;
  e.loss = 1.0 - static_cast<double>(n_correct) / 1000;
  return row;
}

// Devices of nine runs and of the last, and how their layers were stored.
struct Devices {
  std::string usual = "cpu";
  std::string last = "cuda";
  std::string usual_storage = "masked";
  std::string last_storage = "masked";
};

struct SmallGrid {
  explicit SmallGrid(const std::string& path, const std::string& final_flag = "false",
                     const Devices& devices = {}) {
    StoreWriter writer(path);
    std::vector<std::string> ids;
    for (const char* method : {"static", "ssa"})
      for (int seed = 1; seed <= 5; ++seed) {
        const RunRecord run =
            make_run({{"weights", method}, {"seed", std::to_string(seed)}, {"final", final_flag}});
        runs.push_back(run);
        ids.push_back(run.id);
      }
    writer.add_grid("small", "small.ini", "", ids);
    writer.add_runs(runs);
    for (std::size_t i = 0; i < runs.size(); ++i)
      fill(writer, runs[i].id, static_cast<int>(i), devices);
  }

  static void fill(StoreWriter& writer, const std::string& id, int i, const Devices& devices) {
    const int seed = i % 5 + 1;
    const bool ssa = i >= 5;
    writer.begin_attempt(id);
    const bool last = seed == 5 && ssa;
    std::vector<Row> rows = {
        {id, 0,
         ProvenanceRow{R"({"revision":"abc","device":")" + (last ? devices.last : devices.usual) +
                       R"(","threads":1,"machine":")" + (last ? "b" : "a") + R"(","storage":")" +
                       (last ? devices.last_storage : devices.usual_storage) + R"("})"}}};
    if (!ssa && seed == 2) {
      rows.push_back(state(id, 9, "diverged", 50));
      writer.insert(rows);
      return;
    }
    const std::int64_t base = ssa ? 900 : 880;
    rows.push_back(readout(id, 1, base + seed, "full", {}));
    rows.push_back(readout(id, 2, base - 10 + 2 * seed, "sparse", 0.1));
    rows.push_back(readout(id, 3, base - 100 + seed, "sparse", 0.05));
    rows.push_back(readout(id, 4, base - 30 + seed, "full", {}, "test"));
    if (ssa) {
      rows.push_back(metric(id, 5, 50, "fc1", "kept_mass", 0.1));
      rows.push_back(metric(id, 6, 100, "fc1", "kept_mass", 0.4));
      rows.push_back(metric(id, 7, 100, "fc2", "kept_mass", 0.6));
    }
    rows.push_back(state(id, 9, "done", 100));
    writer.insert(rows);
  }

  std::vector<RunRecord> runs;
};

}  // namespace tandem::test
