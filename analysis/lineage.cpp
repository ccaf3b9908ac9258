// Keys keep their order, so that the same table gives the same bytes. What most runs share is
// written once, and each run has its differences; cells and choices name runs by their place in the
// list.
#include "analysis/lineage.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "analysis/table_writers.h"
#include "core/embedded.h"
#include "core/error.h"
#include "core/files.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kSeed[] = "seed";
constexpr std::size_t kTrialDigits = 16;  // of a trial's id, which is in no list
constexpr char kFirstFormat[] = "tandem-lineage 1", kFormat[] = "tandem-lineage 2";

Json optional_number(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<double> to_optional(const Json& j) {
  if (j.is_null()) return std::nullopt;
  return j.get<double>();
}

// Runs are named by their place in the file's list.
using RunPlaces = std::map<std::string, std::size_t>;

Json to_places(const std::vector<std::string>& ids, const RunPlaces& places) {
  Json list = Json::array();
  for (const std::string& id : ids) list.push_back(places.at(id));
  return list;
}

Json to_json(const LineageCell& c, const std::vector<std::string>& runs_of_row,
             const RunPlaces& places) {
  Json j = {{"text", c.text},
            {"mean", optional_number(c.mean)},
            {"ci95_half", optional_number(c.half)},
            {"n", c.n}};
  if (c.runs != runs_of_row) j["runs"] = to_places(c.runs, places);
  if (!c.diverged.empty()) j["diverged"] = to_places(c.diverged, places);
  if (c.n_values) j["n_values"] = *c.n_values;
  if (!c.reference.empty()) j["reference"] = to_places(c.reference, places);
  if (c.p) j["p"] = *c.p;
  if (c.holm) j["holm"] = *c.holm;
  return j;
}

// The cells of each row on a line, in the order of the columns.
Json rows_of(const std::vector<LineageCell>& cells, const RunPlaces& places) {
  Json rows = Json::array();
  for (std::size_t i = 0; i < cells.size();) {
    Json row = {{"row", Json::object()},
                {"runs", to_places(cells[i].runs, places)},
                {"cells", Json::array()}};
    for (const auto& [key, value] : cells[i].row) row["row"][key] = value;
    std::size_t j = i;
    for (; j < cells.size() && cells[j].row == cells[i].row; ++j) {
      row["cells"].push_back(to_json(cells[j], cells[i].runs, places));
    }
    rows.push_back(row);
    i = j;
  }
  return rows;
}

// Heads and measures of the columns, from the first row.
Json columns_of(const std::vector<LineageCell>& cells) {
  Json columns = Json::array();
  for (const LineageCell& c : cells) {
    if (c.row != cells.front().row) break;
    columns.push_back({{"column", c.column}, {"measure", c.measure}});
  }
  return columns;
}

// What is told of a run beside its seed, by name; of its config each option by its own.
std::map<std::string, std::string> facts_of(const TableRun& r) {
  std::map<std::string, std::string> facts = {{"state", r.state},
                                              {"revision", r.revision},
                                              {"device", r.device},
                                              {"threads", r.threads},
                                              {"machine", r.machine}};
  for (const auto& [name, value] : r.config) {
    if (name != kSeed) facts["config." + name] = value;
  }
  return facts;
}

TableRun run_of(const std::map<std::string, std::string>& facts) {
  TableRun r;
  const std::string config = "config.";
  for (const auto& [name, value] : facts) {
    if (name.rfind(config, 0) == 0) r.config[name.substr(config.size())] = value;
  }
  const auto at = [&facts](const char* name) {
    const auto found = facts.find(name);
    if (found == facts.end()) throw DataError(fmt::format("a run without \"{}\"", name));
    return found->second;
  };
  r.state = at("state");
  r.revision = at("revision");
  r.device = at("device");
  r.threads = at("threads");
  r.machine = at("machine");
  return r;
}

// The value of each fact that most runs have; of equally many the first.
std::map<std::string, std::string> shared_facts(const std::map<std::string, TableRun>& runs) {
  std::map<std::string, std::map<std::string, std::size_t>> counts;
  for (const auto& [id, run] : runs) {
    for (const auto& [name, value] : facts_of(run)) ++counts[name][value];
  }
  std::map<std::string, std::string> shared;
  for (const auto& [name, values] : counts) {
    shared[name] = std::max_element(values.begin(), values.end(), [](const auto& x, const auto& y) {
                     return x.second < y.second;
                   })->first;
  }
  return shared;
}

using Facts = std::map<std::string, std::string>;

// Differences from what is shared; null where a fact is lacking.
Json differences(const Facts& own, const Facts& shared) {
  Json j = Json::object();
  for (const auto& [name, value] : shared) {
    const auto found = own.find(name);
    if (found == own.end()) {
      j[name] = nullptr;
    } else if (found->second != value) {
      j[name] = found->second;
    }
  }
  return j;
}

Facts with_differences(Facts facts, const Json& j) {
  for (const auto& [name, value] : j.items()) {
    if (value.is_null()) {
      facts.erase(name);
    } else {
      facts[name] = value;
    }
  }
  return facts;
}

// Adds "shared", "settings" and "runs": what runs have but for their seeds is written once for all
// that have it.
RunPlaces add_runs(Json& j, const std::map<std::string, TableRun>& runs) {
  const Facts shared = shared_facts(runs);
  RunPlaces places;
  std::map<Facts, std::size_t> settings;
  j["shared"] = shared;
  j["settings"] = Json::array();
  j["runs"] = Json::array();
  for (const auto& [id, run] : runs) {
    const Facts facts = facts_of(run);
    const auto [setting, added] = settings.emplace(facts, settings.size());
    if (added) j["settings"].push_back(differences(facts, shared));
    places.emplace(id, places.size());
    j["runs"].push_back(Json::array({id, run.seed, setting->second}));
  }
  return places;
}

std::vector<std::string> read_runs_of(const Json& j, std::map<std::string, TableRun>& runs) {
  std::vector<std::string> ids;
  const Facts shared = j.at("shared");
  for (const Json& run : j.at("runs")) {
    ids.push_back(run.at(0));
    TableRun& own = runs[ids.back()];
    own = run_of(with_differences(shared, j.at("settings").at(run.at(2).get<std::size_t>())));
    own.seed = own.config[kSeed] = run.at(1);
  }
  return ids;
}

// Trials are lists in this order.
constexpr const char* kTrialColumns[] = {"trial", "run",   "seed",  "round",
                                         "score", "state", "chosen"};

Json to_json(const TunedCell& c, const RunPlaces& places) {
  Json trials = Json::array();
  for (const TunedTrial& t : c.trials) {
    trials.push_back(Json::array({t.point, t.run.substr(0, kTrialDigits), t.seed, t.round,
                                  optional_number(t.score), t.state, t.chosen}));
  }
  return {{"grid", c.grid},
          {"method", c.method},
          {"readout", c.readout},
          {"runs", to_places(c.runs, places)},
          {"trials", trials}};
}

std::vector<std::string> to_ids(const Json& j, const std::vector<std::string>& ids) {
  std::vector<std::string> named;
  for (const Json& place : j) named.push_back(ids.at(place.get<std::size_t>()));
  return named;
}

TunedCell to_tuned(const Json& j, const std::vector<std::string>& ids) {
  TunedCell c;
  c.grid = j.at("grid");
  c.method = j.at("method");
  c.readout = j.at("readout");
  c.runs = to_ids(j.at("runs"), ids);
  for (const Json& t : j.at("trials")) {
    c.trials.push_back(
        {t.at(0), t.at(1), t.at(5), t.at(2), t.at(3), to_optional(t.at(4)), t.at(6)});
  }
  return c;
}

LineageCell to_cell(const Json& j, const Json& row, const Json& column,
                    const std::vector<std::string>& ids) {
  LineageCell c;
  for (const auto& [key, value] : row.at("row").items())
    c.row.emplace_back(key, value.get<std::string>());
  c.column = column.at("column");
  c.measure = column.at("measure");
  c.text = j.at("text");
  c.mean = to_optional(j.at("mean"));
  c.half = to_optional(j.at("ci95_half"));
  c.n = j.at("n");
  c.runs = to_ids(j.contains("runs") ? j.at("runs") : row.at("runs"), ids);
  if (j.contains("diverged")) c.diverged = to_ids(j.at("diverged"), ids);
  if (j.contains("n_values")) c.n_values = j.at("n_values").get<std::size_t>();
  if (j.contains("reference")) c.reference = to_ids(j.at("reference"), ids);
  if (j.contains("p")) c.p = j.at("p").get<double>();
  if (j.contains("holm")) c.holm = j.at("holm").get<bool>();
  return c;
}

void read_rows(const Json& j, const std::vector<std::string>& ids, Lineage& lineage) {
  for (const Json& row : j.at("rows")) {
    std::size_t column = 0;
    for (const Json& cell : row.at("cells")) {
      lineage.cells.push_back(to_cell(cell, row, j.at("columns").at(column++), ids));
    }
  }
}

// Format 1 named runs by their ids everywhere, and had every run's whole config.
Lineage read_first_format(const Json& j) {
  Lineage lineage;
  const auto ids_at = [](const Json& of, const char* name) {
    return of.contains(name) ? of.at(name).get<std::vector<std::string>>()
                             : std::vector<std::string>();
  };
  for (const auto& [id, run] : j.at("runs").items()) {
    Facts facts;
    for (const auto& [name, value] : run.items()) {
      if (name != "config") facts[name] = value;
    }
    for (const auto& [name, value] : run.at("config").items()) facts["config." + name] = value;
    lineage.runs[id] = run_of(facts);
    lineage.runs[id].seed = lineage.runs[id].config[kSeed] = run.at("seed");
  }
  for (const Json& cell : j.at("cells")) {
    Json own = cell;
    for (const char* name : {"runs", "diverged", "reference"}) own[name] = Json::array();
    LineageCell c = to_cell(own, cell, cell, {});
    c.runs = ids_at(cell, "runs");
    c.diverged = ids_at(cell, "diverged");
    c.reference = ids_at(cell, "reference");
    lineage.cells.push_back(std::move(c));
  }
  if (!j.contains("tuning")) return lineage;
  for (const Json& cell : j.at("tuning")) {
    Json own = cell;
    own["runs"] = Json::array();
    for (Json& trial : own["trials"]) {
      Json list = Json::array();
      for (const char* name : kTrialColumns) list.push_back(trial.at(name));
      trial = list;
    }
    lineage.tuned.push_back(to_tuned(own, {}));
    lineage.tuned.back().runs = ids_at(cell, "runs");
  }
  return lineage;
}

std::string text_of(const Json& j) {
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// An element a line, so that a change of one is a change of a line.
std::string lines_of(const Json& list) {
  std::string text = "[";
  for (const Json& element : list) text += (text.size() == 1 ? "\n" : ",\n") + text_of(element);
  return text + "\n]";
}

}  // namespace

Lineage lineage_of(const Table& table) {
  Lineage lineage;
  lineage.table = table.name;
  lineage.program = build_info().revision + (build_info().dirty ? " with changes" : "");
  lineage.spec = TableSpec{table.name, table.said};
  lineage.grid = table.grid;
  lineage.notes = table.notes;
  lineage.runs = table.runs;
  lineage.tuned = table.tuned;
  for (const TableRow& row : table.rows)
    for (std::size_t j = 0; j < row.cells.size(); ++j) {
      const TableCell& cell = row.cells[j];
      LineageCell c;
      for (std::size_t i = 0; i < row.keys.size(); ++i)
        c.row.emplace_back(table.key_names[i], row.keys[i]);
      c.column = table.columns[j];
      c.measure = table.measures[j].text;
      c.text = cell_text(cell);
      c.mean = cell.mean;
      c.half = cell.half;
      c.n = cell.n;
      if (cell.n_values != cell.runs.size()) c.n_values = cell.n_values;
      c.runs = cell.runs;
      c.diverged = cell.diverged;
      c.reference = cell.reference;
      c.p = cell.p;
      c.holm = cell.holm;
      lineage.cells.push_back(std::move(c));
    }
  return lineage;
}

std::string write_lineage(const Lineage& lineage) {
  Json j;
  const RunPlaces places = add_runs(j, lineage.runs);
  Json tuning = Json::array();
  for (const TunedCell& c : lineage.tuned) tuning.push_back(to_json(c, places));
  std::string text = "{\n\"format\": " + text_of(kFormat);
  text += ",\n\"table\": " + text_of(lineage.table);
  text += ",\n\"program\": " + text_of(lineage.program);
  if (lineage.spec) {
    text +=
        ",\n\"plan\": " + text_of({{"grid", lineage.grid}, {"settings", lineage.spec->settings}});
  }
  text += ",\n\"notes\": " + lines_of(lineage.notes);
  text += ",\n\"shared\": " + text_of(j["shared"]);
  text += ",\n\"settings\": " + lines_of(j["settings"]);
  text += ",\n\"runs\": " + lines_of(j["runs"]);
  text += ",\n\"columns\": " + lines_of(columns_of(lineage.cells));
  text += ",\n\"rows\": " + lines_of(rows_of(lineage.cells, places));
  if (!tuning.empty()) text += ",\n\"tuning\": " + lines_of(tuning);
  return text + "\n}\n";
}

Lineage read_lineage(const std::string& json) {
  try {
    const Json j = Json::parse(json);
    Lineage lineage;
    if (j.at("format") == kFirstFormat) {
      lineage = read_first_format(j);
    } else if (j.at("format") == kFormat) {
      const std::vector<std::string> ids = read_runs_of(j, lineage.runs);
      read_rows(j, ids, lineage);
      if (j.contains("tuning"))
        for (const Json& c : j.at("tuning")) lineage.tuned.push_back(to_tuned(c, ids));
    } else {
      throw DataError(fmt::format("a lineage of format {} was found, \"{}\" is expected",
                                  j.at("format").dump(), kFormat));
    }
    lineage.table = j.at("table");
    if (j.contains("plan")) {
      lineage.grid = j.at("plan").at("grid");
      lineage.spec = TableSpec{lineage.table, j.at("plan").at("settings").get<Settings>()};
    }
    lineage.program = j.at("program");
    lineage.notes = j.at("notes");
    return lineage;
  } catch (const nlohmann::json::exception& e) {
    throw DataError(fmt::format(
        "this is no lineage of a table ({}). `tandem table` writes one beside each table",
        e.what()));
  } catch (const std::out_of_range& e) {
    throw DataError(
        fmt::format("this lineage of a table names a run that is not in its list ({}). `tandem "
                    "table` writes one "
                    "beside each table",
                    e.what()));
  }
}

void save_table(const Table& table, const std::string& stem) {
  OutputFiles files;
  files.add(stem + ".md", to_markdown(table));
  files.add(stem + ".csv", to_csv(table));
  files.add(stem + ".lineage.json", write_lineage(lineage_of(table)));
  files.commit();
}

}  // namespace tandem
