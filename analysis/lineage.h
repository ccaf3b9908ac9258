// What stands behind each number of a table: a JSON file beside it, written with the table and read
// by `tandem why`. It holds every run's config, so that it explains the table without the database.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "analysis/table.h"
#include "config/grid.h"

namespace tandem {

struct LineageCell {
  std::vector<std::pair<std::string, std::string>> row;  // key, value
  std::string column;                                    // its head
  std::string measure;                                   // as the plan says it
  std::string text;
  std::optional<double> mean, half;
  std::size_t n = 0;
  std::optional<std::size_t> n_values = {};  // where it is not the number of runs: of a contrast
  std::vector<std::string> runs, diverged;
  // Where the cell is a difference, these are the runs of the other side, each beside its partner
  // in `runs`, and n counts pairs.
  std::vector<std::string> reference = {};
  std::optional<double> p = {};
  std::optional<bool> holm = {};

  std::size_t values() const { return n_values.value_or(runs.size()); }
};

struct Lineage {
  std::string table;
  std::string program;  // revision that made the table
  // What the table was asked for, so that it can be made again (verify.h); nothing in files that
  // were written before this was kept.
  std::optional<TableSpec> spec = {};
  std::string grid = {};
  std::vector<std::string> notes;
  std::vector<LineageCell> cells;
  std::map<std::string, TableRun> runs;
  std::vector<TunedCell> tuned;  // their choices, with every trial
};

Lineage lineage_of(const Table& table);
std::string write_lineage(const Lineage& lineage);  // JSON; the same table gives the same bytes
// Throws DataError for text that is no lineage.
Lineage read_lineage(const std::string& json);

// Writes STEM.md, STEM.csv and STEM.lineage.json, each whole or not at all.
void save_table(const Table& table, const std::string& stem);

}  // namespace tandem
