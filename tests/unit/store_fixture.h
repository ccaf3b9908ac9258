// Records and rows that the store's tests share.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/files.h"
#include "core/hash.h"
#include "store/store.h"

namespace tandem::test {

using Values = std::vector<std::pair<std::string, std::string>>;

// A run whose values are a few plain ones, replaced and extended by `said`.
inline RunRecord make_run(const Values& said) {
  RunRecord run;
  run.values = {{"attention", "full"}, {"data", "fashion_mnist"}, {"density", "0.1"},
                {"model", "mlp"},      {"scenario", "single"},    {"seed", "1"},
                {"strategy", "none"},  {"weights", "dense"}};
  for (const auto& [name, value] : said) {
    bool found = false;
    for (auto& v : run.values)
      if (v.first == name) {
        v.second = value;
        found = true;
      }
    if (!found) run.values.emplace_back(name, value);
  }
  run.canonical = "tandem-config v1\n";
  for (const auto& [name, value] : run.values) run.canonical += name + "=" + value + "\n";
  run.id = sha256(run.canonical);
  return run;
}

inline Row metric(const std::string& run, std::int64_t sequence, std::int64_t step,
                  const std::string& layer, const std::string& name, double value) {
  return {run, sequence, MetricRow{step, layer, name, value}};
}

inline Row eval(const std::string& run, std::int64_t sequence, std::int64_t stage,
                std::int64_t task, std::int64_t n_correct, std::int64_t n_total) {
  EvalRow r;
  r.stage = stage;
  r.step = 100 * stage;
  r.task = task;
  r.n_correct = n_correct;
  r.n_total = n_total;
  r.loss = 0.5;
  return {run, sequence, r};
}

inline Row state(const std::string& run, std::int64_t sequence, const std::string& name,
                 std::int64_t step = 0) {
  StateRow r;
  r.state = name;
  r.step = step;
  r.train_seconds = 1.5;
  return {run, sequence, r};
}

// The whole content of a database as text, without its events: they carry times.
inline std::string dump(const std::string& path) {
  const StoreReader reader(path);
  std::string text;
  for (const char* sql :
       {"SELECT * FROM run ORDER BY id", "SELECT * FROM v_eval ORDER BY run, sequence",
        "SELECT run, sequence, step, layer, name, value FROM v_metric ORDER BY run, sequence",
        "SELECT run, sequence, step, layer, nnz, dropped, grown, mask_hash FROM v_topology"
        " ORDER BY run, sequence",
        "SELECT run, sequence, step, tensor, digest FROM v_digest ORDER BY run, sequence, tensor",
        "SELECT * FROM run_provenance ORDER BY run, sequence, provenance",
        "SELECT * FROM provenance ORDER BY id"}) {
    const QueryResult result = reader.query(sql);
    for (std::size_t i = 0; i < result.rows.size(); ++i) {
      for (std::size_t j = 0; j < result.columns.size(); ++j)
        text += (result.null[i][j] ? "NULL" : result.rows[i][j]) + "|";
      text += "\n";
    }
    text += "--\n";
  }
  return text;
}

}  // namespace tandem::test
