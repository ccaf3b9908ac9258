// A table of means over seeds, straight from the store. Runs that are done give values; runs that
// diverged count in n and are named in a footnote; others are left out and counted in the note. A
// cell without a value is empty, never 0 or 1.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "analysis/table_plan.h"
#include "analysis/tuning.h"
#include "store/store.h"

namespace tandem {

// How numbers are printed; what they are stays as it is.
struct NumberForm {
  bool share = false;      // in percent
  int decimals = 3;        // -1: three significant digits
  bool is_signed = false;  // a plus before what is printed above 0
  bool operator==(const NumberForm&) const = default;
};

// Where a cell stands in its column, where the plan asks for it (table_standing.h).
enum class Standing { kNone, kBest, kTied, kSecond };

struct TableCell {
  std::optional<double> mean, half;  // mean: of a plan with another centre, that
  std::optional<double> low, high;   // an interval that is not symmetric, in place of half
  NumberForm form = {};
  Standing standing = Standing::kNone;
  std::size_t n = 0;              // values and diverged runs; of a difference, pairs
  std::size_t n_values = 0;       // values
  std::vector<std::string> runs;  // ids behind the mean
  std::vector<std::string> diverged;
  std::vector<std::string> marks;  // of footnotes
  // Where the measure is a difference (mean and half are of it):
  std::vector<std::string> reference;  // ids of the other side, in the order of runs
  std::optional<double> p;             // two-sided, of the paired t test
  std::optional<bool> holm;            // significant at 5% over its column
  bool out_of_reach = false;           // no p, since the test can't have one below 5% here
};

struct TableRow {
  std::vector<std::string> keys;
  bool dagger = false;  // other device, thread count, revision or data than most, or storages mixed
  std::vector<TableCell> cells;
};

// What a cell's runs are, for its lineage.
struct TableRun {
  std::map<std::string, std::string> config;  // columns of v_run that aren't below
  std::string seed, state, revision, device, threads, machine;
};

// A column's head in parts.
struct ColumnHead {
  std::string span;   // the values of `across`, which neighbours share; "": none
  std::string label;  // of the measure
  Direction better = Direction::kNone;
};

struct Table {
  std::string name, title;
  std::string grid;                           // whose runs these are; "": all of the database
  Settings said = {};                         // the plan, as it was said
  std::vector<std::string> key_names;         // head of the first columns
  std::vector<std::string> columns;           // heads of the measures, with the values of `across`
  std::vector<ColumnHead> heads;              // one per column
  std::vector<Measure> measures;              // one per column
  CellSpread spread = CellSpread::kInterval;  // what the half widths of its means are
  std::vector<TableRow> rows;
  std::vector<std::string> notes;          // lines under the table; footnotes begin with their mark
  std::map<std::string, TableRun> runs;    // every run of a cell, by id
  std::vector<TunedCell> tuned = {};       // the choices that they carry out
  std::vector<std::string> warnings = {};  // those of the notes that tell of a likely mistake
};

Table build_table(const StoreReader& store, const TablePlan& plan);

std::string number_text(double value, const NumberForm& form);
// " [87.1, 88.9]", of an interval that is not symmetric; else "".
std::string interval_of(const TableCell& cell);
// "88.33 ± 0.27 (p=.034)", without marks; "" where there is no value.
std::string cell_text(const TableCell& cell);

}  // namespace tandem
