// Tables as JSON: every number in full, and the text that other formats show.
#include <nlohmann/json.hpp>

#include "analysis/table.h"
#include "analysis/table_writers.h"
#include "config/part.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

const char* standing_name(Standing standing) {
  switch (standing) {
    case Standing::kBest:
      return "best";
    case Standing::kTied:
      return "tied";
    case Standing::kSecond:
      return "second";
    case Standing::kNone:
      break;
  }
  return "none";
}

// Names as the CSV has them; what a cell has not is left out.
Json json_cell(const TableCell& cell, CellSpread spread) {
  Json j = {{"text", cell_text(cell)}};
  const auto add = [&j](const char* name, const std::optional<double>& value) {
    if (value) j[name] = *value;
  };
  add("value", cell.mean);
  add(spread == CellSpread::kDeviation && !cell.p ? "sd" : "ci95_half", cell.half);
  add("ci95_low", cell.low);
  add("ci95_high", cell.high);
  j["n"] = cell.n;
  j["diverged"] = cell.n - cell.n_values;
  add("p", cell.p);
  if (cell.holm) j["holm"] = *cell.holm;
  if (cell.standing != Standing::kNone) j["standing"] = standing_name(cell.standing);
  if (!cell.marks.empty()) j["marks"] = cell.marks;
  j["runs"] = cell.runs;
  if (!cell.reference.empty()) j["reference"] = cell.reference;
  return j;
}

const char* direction_name(Direction direction) {
  if (direction == Direction::kNone) return "";
  return direction == Direction::kHigher ? "higher" : "lower";
}

std::string to_json_text(const Table& table, const TableStyle&) {
  Json j = {{"format", "tandem-table 1"}, {"table", table.name}, {"title", table.title}};
  j["keys"] = table.key_names;
  j["columns"] = Json::array();
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    j["columns"].push_back({{"name", table.columns[i]},
                            {"span", table.heads[i].span},
                            {"label", table.heads[i].label},
                            {"measure", table.measures[i].text},
                            {"better", direction_name(table.heads[i].better)},
                            {"percent_in_text", is_share(table.measures[i])}});
  }
  j["rows"] = Json::array();
  for (const TableRow& row : table.rows) {
    Json cells = Json::array();
    for (std::size_t i = 0; i < row.cells.size(); ++i)
      cells.push_back(json_cell(
          row.cells[i], table.measures[i].versus.empty() ? table.spread : CellSpread::kInterval));
    j["rows"].push_back({{"keys", row.keys}, {"dagger", row.dagger}, {"cells", cells}});
  }
  j["notes"] = table.notes;
  return j.dump(1) + "\n";
}

TANDEM_REGISTERED = declare_table_writer({"json", ".json", to_json_text});

}  // namespace
}  // namespace tandem
