// The results database: one SQLite file, written by exactly one process (an OS lock on FILE.lock
// enforces that), read by anyone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/rows.h"

namespace tandem {

struct RunRecord {
  std::string id;         // SHA-256 of canonical
  std::string canonical;  // Config::canonical()
  // Every kRun option, resolved: for who writes it. A reader fills it for a single run alone
  // (find_run); values_of() has it of any.
  std::vector<std::pair<std::string, std::string>> values;
  std::string grid = {};  // read: a grid that it belongs to, or ""; not written
  // As stored; but a run that is stored as running while no writer holds the database is read as
  // "interrupted": its writer was killed, and the command that asked for it resumes it.
  std::string state = "queued";
  std::int64_t attempt = 0;
  std::int64_t last_sequence = -1;
  double seconds = 0;     // wall time charged to it so far
  std::int64_t step = 0;  // the last that is known; of an open run that of its latest row
  // The storage of its layers, as chosen when it was first planned (jobs/storage_choice.h's text);
  // none before.
  std::optional<std::string> storage = {};
};

// Every option of a run as its canonical form has it, which leaves out neutral values.
std::map<std::string, std::string> values_of(const RunRecord& run);

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

// A grid as its file stood when it last ran. `runs`: ids of all runs that the file stands for, also
// of those that have never run.
struct GridRecord {
  std::string name, file, text;
  std::vector<std::string> runs;
};

// What merge() takes from another database.
struct MergeRequest {
  std::string file;  // a results database, of an earlier version too, or a dump (.sql, .sql.xz)
  // These grids with their trials and runs alone; none: everything.
  std::optional<std::vector<std::string>> grids = {};
  std::vector<std::pair<std::string, std::string>> renamed = {};  // grids: name there, name here
};

struct MergeReport {
  std::int64_t runs = 0;        // that the file has, or its grids
  std::int64_t added = 0;       // were not here
  std::int64_t unfinished = 0;  // have not ended there: here it is known that they are wanted
  std::int64_t differing = 0;   // have ended in both, with other evaluations
  std::vector<std::string> named = {};     // the first few of these, short ids
  std::vector<std::string> replaced = {};  // ids of runs that were here with a lesser result
};

// The file that a path names: symbolic links are followed, also one to a file that does not exist
// yet. What belongs to a database (its lock, its checkpoints) lies beside this file.
std::string database_file(const std::string& path);

// The one writer. Opening takes the lock of the file, whatever name it is opened by, creates the
// file or migrates it forward; a file of a newer version, or one that is no Tandem database, is
// refused untouched (StoreError). Runs that a killed writer left as running become stopped. All
// writes are BEGIN IMMEDIATE transactions; insert() of a (run, sequence) that is there already does
// nothing.
class StoreWriter {
 public:
  explicit StoreWriter(const std::string& path);
  ~StoreWriter();
  StoreWriter(const StoreWriter&) = delete;
  StoreWriter& operator=(const StoreWriter&) = delete;

  // The grid's runs are those named here, and no others; they need not be there.
  void add_grid(const std::string& name, const std::string& file, const std::string& text,
                const std::vector<std::string>& run_ids);
  void add_runs(const std::vector<RunRecord>& runs);  // keeps those that are there
  // Sets it for runs that have none, or that have never begun; that of the others stays.
  void keep_storage(const std::vector<std::string>& runs, const std::string& storage);
  void remove_runs(
      const std::vector<std::string>& ids);  // with all of their rows; ids that are there
  // For runs that train from the beginning again: what an earlier attempt logged goes, what is
  // known of the attempts stays.
  void forget_rows(const std::vector<std::string>& ids);
  void set_state(const std::string& run, const std::string& state, const std::string& message = "");
  std::int64_t begin_attempt(const std::string& run);  // state running, attempt + 1
  void insert(const std::vector<Row>& rows);           // one transaction; StateRow also updates run
  // Trials replace those that are there of their methods. A plan replaces that of its grid, and
  // trials of methods that none of its runs carries out go.
  void add_tuning(const std::vector<TuningRecord>& trials);
  void add_tuning_plan(const TuningPlanRecord& plan);
  void add_references(const std::vector<ReferenceRecord>& numbers);  // likewise
  // A sentence for each fault of the file; see store/check.h.
  std::vector<std::string> faults();
  // Takes what the other file has and this one lacks: runs, grids, trials, published numbers.
  // Again, or in another order, it comes out the same; store/merge.cpp says which of two results
  // stays. StoreError, and nothing is changed, where one name stands for two grids.
  MergeReport merge(const MergeRequest& request);
  // Drops what an ended run's earlier attempts left in the event log, and provenance that no run
  // has; gives the file's unused pages back to the disk. Returns bytes of the file before and
  // after. `dry`: says what it would be and changes nothing.
  std::pair<std::int64_t, std::int64_t> prune(const std::vector<std::string>& runs, bool dry);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Read-only access. A missing file is a StoreError that says which command makes one.
struct QueryResult {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  // NULL as "" with null[i][j] set; a BLOB as hex
  std::vector<std::vector<bool>> null;
  std::vector<std::vector<bool>> number =
      {};  // INTEGER or REAL; empty in a table of another source
};

class StoreReader {
 public:
  explicit StoreReader(const std::string& path);
  ~StoreReader();
  StoreReader(const StoreReader&) = delete;
  StoreReader& operator=(const StoreReader&) = delete;
  StoreReader(StoreReader&&) noexcept;

  // Another reader of the same file, to which these runs are all that there is: what it is asked
  // costs what they are, however many the file has. Ids that are not there are passed over.
  StoreReader only(const std::vector<std::string>& ids) const;

  std::vector<RunRecord> runs() const;
  // In the grid's order, without those that have never run. ConfigError for an unknown grid.
  std::vector<RunRecord> runs_of_grid(const std::string& name) const;
  std::optional<GridRecord> find_grid(const std::string& name) const;
  // The grid that a command added last, and its runs; nothing where there is no grid.
  std::optional<GridRecord> last_grid() const;
  // Run whose id begins with `prefix`; ConfigError when none or several do, listing some.
  RunRecord find_run(const std::string& prefix) const;
  // One statement; parameters are bound as text to ?1, ?2, ... (CAST them where a number is meant).
  // ConfigError for SQL that is wrong or would write. Views are those of this program, whatever
  // version wrote the file.
  QueryResult query(const std::string& sql, const std::vector<std::string>& parameters = {}) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Columns of v_run, for checks before there is a database.
const std::vector<std::string>& run_columns();
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
constexpr int kStoreVersion = 5;

// What a result page rests on, for a repository: final rows alone, without names of hosts and
// places of files, as compressed SQL that sqlite3 restores.
struct ShareRequest {
  std::string database;
  std::optional<std::vector<std::string>> grids = {};  // none: everything
  std::vector<std::string> series =
      {};  // metrics of which every step is kept, of runs that are no trials
  std::int64_t most_bytes = 1'000'000;  // more is left out, step by step, until it fits
};
struct SharedRuns {
  std::string bytes;                  // of a file .sql.xz
  std::vector<std::string> left_out;  // in words
  std::int64_t runs = 0;
};
// StoreError where it can't be made small enough, or where a value names a place on a machine.
SharedRuns share_runs(const ShareRequest& request);

// The whole file, or these grids, as SQL text. `write` is called with one piece after another.
void dump_runs(const std::string& database, const std::optional<std::vector<std::string>>& grids,
               const std::function<void(std::string_view)>& write);

}  // namespace tandem
