// What a database must be like if nothing has been lost or doubled in it.
#include "store/check.h"

#include <fmt/format.h>

#include "core/hash.h"
#include "core/text.h"
#include "store/tables.h"

namespace tandem {
namespace {

constexpr std::size_t kMostOfAKind = 10;

// Rows of one column, each a fault; `what` has a place for it.
void add_faults(SQLite::Database& db, const std::string& sql, fmt::format_string<std::string> what,
                std::vector<std::string>& faults) {
  SQLite::Statement rows(db, sql);
  std::size_t found = 0;
  while (rows.executeStep()) {
    if (++found > kMostOfAKind) continue;
    faults.push_back(fmt::format(what, rows.getColumn(0).getString()));
  }
  if (found > kMostOfAKind) {
    faults.push_back(fmt::format("... and {} more of this kind", found - kMostOfAKind));
  }
}

// Tables of which each row is one thing that a run said, and has a number of its own.
std::vector<std::string> numbered_tables(SQLite::Database& db) {
  std::vector<std::string> names;
  for (const RunTable& table : tables_of_runs(db)) {
    const bool of_evaluation = table.name == "eval_bits";  // has that of its evaluation
    if (table.sequenced && !of_evaluation && table.name != "run_provenance") {
      names.push_back(table.name);
    }
  }
  return names;
}

void check_ids(SQLite::Database& db, std::vector<std::string>& faults) {
  SQLite::Statement runs(db, "SELECT id, canonical FROM run");
  while (runs.executeStep()) {
    const std::string id = runs.getColumn(0).getString();
    if (sha256(runs.getColumn(1).getString()) != id) {
      faults.push_back("run " + id.substr(0, 12) + " has another config than its id says");
    }
  }
}

}  // namespace

std::vector<std::string> faults_of(SQLite::Database& db) {
  std::vector<std::string> faults;
  add_faults(db, "SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
             "the file is damaged: {}", faults);
  add_faults(db,
             "SELECT \"table\" || ' (row ' || coalesce(rowid, '?') || ') of ' || parent FROM "
             "pragma_foreign_key_check",
             "a row points at nothing: {}", faults);
  const std::vector<std::string> numbered = numbered_tables(db);
  std::vector<std::string> last, numbers;
  for (const std::string& table : numbered) {
    last.push_back(
        fmt::format("coalesce((SELECT max(sequence) FROM {} WHERE run = r.key), -1)", table));
    numbers.push_back("SELECT run, sequence FROM " + table);
  }
  // A run that goes on elsewhere has a provenance more under its first number.
  numbers.emplace_back("SELECT DISTINCT run, sequence FROM run_provenance");
  add_faults(db,
             fmt::format("SELECT substr(r.id, 1, 12) FROM run r WHERE r.last_sequence < max({})",
                         join(last, ", ")),
             "run {} has rows after the last one that it counts", faults);
  add_faults(db,
             "SELECT substr(r.id, 1, 12) FROM run r WHERE NOT EXISTS (SELECT 1 FROM config c WHERE "
             "c.run = r.key)",
             "run {} has no typed config", faults);
  add_faults(db,
             fmt::format("SELECT DISTINCT substr(r.id, 1, 12) FROM ({}) x JOIN run r ON r.key ="
                         " x.run GROUP BY x.run, x.sequence HAVING count(*) > 1",
                         join(numbers, " UNION ALL ")),
             "run {} has two rows of one sequence number", faults);
  add_faults(
      db,
      "SELECT DISTINCT substr(r.id, 1, 12) FROM eval_bits b JOIN run r ON r.key = b.run LEFT "
      "JOIN eval e ON e.run = b.run AND e.sequence = b.sequence WHERE e.run IS NULL OR "
      "length(b.bits) <> (e.n_total + 7) / 8",
      "run {} has bits of examples that fit no evaluation", faults);
  // loss sums depend on the order in which tasks came, in their last bits.
  add_faults(
      db,
      "SELECT DISTINCT substr(r.id, 1, 12) FROM (SELECT run, readout, split, stage, step, "
      "sum(n_correct) AS n_correct, sum(n_total) AS n_total FROM (SELECT e.*, rank() OVER "
      "(PARTITION BY run, readout, split ORDER BY stage DESC, step DESC) AS place FROM eval "
      "e) WHERE place = 1 GROUP BY run, readout, split) w LEFT JOIN result p ON p.run = w.run "
      "AND p.readout = w.readout AND p.split = w.split JOIN run r ON r.key = w.run WHERE "
      "p.run IS NULL OR (p.stage, p.step, p.n_correct, p.n_total) <> (w.stage, w.step, "
      "w.n_correct, w.n_total)",
      "run {} has other final results than its evaluations give", faults);
  add_faults(
      db,
      "SELECT substr(r.id, 1, 12) || ', step ' || d.step FROM digest d JOIN tensor_list l ON "
      "l.key = d.tensors JOIN run r ON r.key = d.run WHERE length(d.digests) <> 8 * "
      "json_array_length(l.name)",
      "run {} has not one digest for each of its tensors", faults);
  check_ids(db, faults);
  return faults;
}

}  // namespace tandem
