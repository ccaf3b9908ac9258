// The results database: one SQLite file, written by exactly one process (an OS lock on FILE.lock
// enforces that), read by anyone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "store/rows.h"

namespace tandem {

struct RunRecord {
  std::string id;         // SHA-256 of canonical
  std::string canonical;  // Config::canonical()
  std::vector<std::pair<std::string, std::string>>
      values;             // every kRun option, resolved: config_value
  std::string grid = {};  // grid that asked for it; "" for `tandem run`
  // As stored; but a run that is stored as running while no writer holds the database is read as
  // "interrupted": its writer was killed, and the command that asked for it resumes it.
  std::string state = "queued";
  std::int64_t attempt = 0;
  std::int64_t last_sequence = -1;
  double seconds = 0;     // wall time charged to it so far
  std::int64_t step = 0;  // the last that is known; of an open run that of its latest row
};

// One trial of a grid's [tune] section, scored on the validation split.
struct TuningRecord {
  std::string grid, method, trial;  // trial: the axes' values, "key=value" joined by spaces
  std::int64_t seed = 0;
  std::string run;   // run id
  double score = 0;  // higher is better; NaN where the run diverged
  bool chosen = false;
  std::string readout = "own";  // whose score decides: own, full, sparse
  std::int64_t round = 0;       // beyond 0: a range was extended
  std::int64_t trials = 0;      // points of the method in all rounds
};

// What a grid was tuned over, and the choice that each of its final runs carries out.
struct TuningPlanRecord {
  std::string grid;
  std::int64_t trials = 0;  // points drawn for each method before extensions; 0: all of the lists
  std::int64_t seeds = 1;   // runs of each point
  std::string axes;         // config/grid_tune.h's describe()
  std::string cells;        // options that a choice is made for, joined by ", "
  std::string measure;      // accuracy or loss
  std::vector<std::pair<std::string, std::string>> runs =
      {};  // final run's id, TuningRecord's method
};

// A published number that a table may show beside ours.
struct ReferenceRecord {
  std::string source, method, setting, metric;
  double value = 0;
  double spread = 0;
  std::string spread_kind = {};  // "sd", "sem", "ci95", "unknown"; "" = none given
  std::int64_t n = 0;            // 0 = not given
  std::string note = {};
};

// The one writer. Opening takes the lock, creates the file or migrates it forward; a file of a
// newer version, or one that is no Tandem database, is refused untouched (StoreError). Runs that a
// killed writer left as running become stopped. All writes
// are BEGIN IMMEDIATE transactions; insert() of a (run, sequence) that is there already does
// nothing.
class StoreWriter {
 public:
  explicit StoreWriter(const std::string& path);
  ~StoreWriter();
  StoreWriter(const StoreWriter&) = delete;
  StoreWriter& operator=(const StoreWriter&) = delete;

  void add_grid(const std::string& name, const std::string& file, const std::string& text,
                const std::vector<std::string>& run_ids);
  void add_runs(const std::vector<RunRecord>& runs);  // keeps those that are there
  void remove_runs(
      const std::vector<std::string>& ids);  // with all of their rows; ids that are there
  void set_state(const std::string& run, const std::string& state, const std::string& message = "");
  std::int64_t begin_attempt(const std::string& run);  // state running, attempt + 1
  void insert(const std::vector<Row>& rows);           // one transaction; StateRow also updates run
  // Trials replace those that are there of their methods, a plan replaces that of its grid.
  void add_tuning(const std::vector<TuningRecord>& trials);
  void add_tuning_plan(const TuningPlanRecord& plan);
  void add_references(const std::vector<ReferenceRecord>& numbers);  // likewise

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Read-only access. A missing file is a StoreError that says which command makes one.
struct QueryResult {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  // NULL as "" with null[i][j] set; a BLOB as hex
  std::vector<std::vector<bool>> null;
};

class StoreReader {
 public:
  explicit StoreReader(const std::string& path);
  ~StoreReader();
  StoreReader(const StoreReader&) = delete;
  StoreReader& operator=(const StoreReader&) = delete;

  std::vector<RunRecord> runs() const;
  std::vector<RunRecord> runs_of_grid(const std::string& name) const;
  // Run whose id begins with `prefix`; StoreError when none or several do, listing some.
  RunRecord find_run(const std::string& prefix) const;
  // One statement; parameters are bound as text to ?1, ?2, ... (CAST them where a number is meant).
  QueryResult query(const std::string& sql, const std::vector<std::string>& parameters = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Whether a StoreWriter has the database open, here or in another process.
bool has_live_writer(const std::string& path);

// What `doctor` reports: library version, whether it has the WAL-reset defect (3.7.0 to 3.51.2),
// journal mode that Tandem uses and why.
struct StoreFacts {
  std::string sqlite_version;
  std::string journal_mode;
  std::string note;
};
StoreFacts store_facts();
constexpr int kStoreVersion = 2;

}  // namespace tandem
