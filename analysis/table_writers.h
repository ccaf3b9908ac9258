// The formats that tables are written in. A writer registers itself in its own file; it formats
// numbers and computes none.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "analysis/table.h"

namespace tandem {

struct TableStyle {
  bool plain = false;      // LaTeX: without siunitx
  bool longtable = false;  // LaTeX: over pages
};

struct TableWriter {
  std::string name;    // "markdown"
  std::string ending;  // ".md"
  std::function<std::string(const Table&, const TableStyle&)> write;
};

bool declare_table_writer(TableWriter writer);
const std::vector<TableWriter>& table_writers();  // by name
// Null where no format has the ending.
const TableWriter* table_writer_of(const std::string& ending);
// Throws ConfigError with the nearest names.
const TableWriter& table_writer(const std::string& name);

// Full precision; mean, half, n and diverged per column, p and holm where it is a difference.
std::string to_csv(const Table& table);
std::string to_markdown(const Table& table);
std::string to_latex(const Table& table, const TableStyle& style = {});

bool has_standing(const Table& table);  // a cell is marked as the best, or near it

}  // namespace tandem
