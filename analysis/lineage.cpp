// Keys keep their order, so that the same table gives the same bytes.
#include "analysis/lineage.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/embedded.h"
#include "core/error.h"
#include "core/files.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "tandem-lineage 1";

Json optional_number(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<double> to_optional(const Json& j) {
  if (j.is_null()) return std::nullopt;
  return j.get<double>();
}

Json to_json(const LineageCell& c) {
  Json row = Json::object();
  for (const auto& [key, value] : c.row) row[key] = value;
  Json j = {{"row", row},
            {"column", c.column},
            {"measure", c.measure},
            {"text", c.text},
            {"mean", optional_number(c.mean)},
            {"ci95_half", optional_number(c.half)},
            {"n", c.n},
            {"runs", c.runs},
            {"diverged", c.diverged}};
  if (c.n_values) j["n_values"] = *c.n_values;
  if (!c.reference.empty()) j["reference"] = c.reference;
  if (c.p) j["p"] = *c.p;
  if (c.holm) j["holm"] = *c.holm;
  return j;
}

Json to_json(const TableRun& r) {
  return {{"seed", r.seed},     {"state", r.state},     {"revision", r.revision},
          {"device", r.device}, {"threads", r.threads}, {"machine", r.machine},
          {"config", r.config}};
}

Json to_json(const TunedCell& c) {
  Json trials = Json::array();
  for (const TunedTrial& t : c.trials)
    trials.push_back({{"run", t.run},
                      {"trial", t.point},
                      {"seed", t.seed},
                      {"round", t.round},
                      {"score", optional_number(t.score)},
                      {"state", t.state},
                      {"chosen", t.chosen}});
  return {{"grid", c.grid},
          {"method", c.method},
          {"readout", c.readout},
          {"runs", c.runs},
          {"trials", trials}};
}

TunedCell to_tuned(const Json& j) {
  TunedCell c;
  c.grid = j.at("grid");
  c.method = j.at("method");
  c.readout = j.at("readout");
  c.runs = j.at("runs");
  for (const Json& t : j.at("trials"))
    c.trials.push_back({t.at("trial"), t.at("run"), t.at("state"), t.at("seed"), t.at("round"),
                        to_optional(t.at("score")), t.at("chosen")});
  return c;
}

LineageCell to_cell(const Json& j) {
  LineageCell c;
  for (const auto& [key, value] : j.at("row").items())
    c.row.emplace_back(key, value.get<std::string>());
  c.column = j.at("column");
  c.measure = j.at("measure");
  c.text = j.at("text");
  c.mean = to_optional(j.at("mean"));
  c.half = to_optional(j.at("ci95_half"));
  c.n = j.at("n");
  c.runs = j.at("runs");
  c.diverged = j.at("diverged");
  if (j.contains("n_values")) c.n_values = j.at("n_values").get<std::size_t>();
  if (j.contains("reference")) c.reference = j.at("reference");
  if (j.contains("p")) c.p = j.at("p").get<double>();
  if (j.contains("holm")) c.holm = j.at("holm").get<bool>();
  return c;
}

TableRun to_run(const Json& j) {
  TableRun r;
  r.seed = j.at("seed");
  r.state = j.at("state");
  r.revision = j.at("revision");
  r.device = j.at("device");
  r.threads = j.at("threads");
  r.machine = j.at("machine");
  for (const auto& [key, value] : j.at("config").items()) r.config[key] = value;
  return r;
}

}  // namespace

Lineage lineage_of(const Table& table) {
  Lineage lineage;
  lineage.table = table.name;
  lineage.program = build_info().revision + (build_info().dirty ? " with changes" : "");
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
      c.text = cell.text;
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
  Json j = {{"format", kFormat},      {"table", lineage.table}, {"program", lineage.program},
            {"notes", lineage.notes}, {"cells", Json::array()}, {"runs", Json::object()}};
  for (const LineageCell& c : lineage.cells) j["cells"].push_back(to_json(c));
  for (const auto& [id, run] : lineage.runs) j["runs"][id] = to_json(run);
  for (const TunedCell& c : lineage.tuned) j["tuning"].push_back(to_json(c));
  return j.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Lineage read_lineage(const std::string& json) {
  try {
    const Json j = Json::parse(json);
    if (j.at("format") != kFormat)
      throw DataError(fmt::format("a lineage of format {} was found, \"{}\" is expected",
                                  j.at("format").dump(), kFormat));
    Lineage lineage;
    lineage.table = j.at("table");
    lineage.program = j.at("program");
    lineage.notes = j.at("notes");
    for (const Json& c : j.at("cells")) lineage.cells.push_back(to_cell(c));
    for (const auto& [id, run] : j.at("runs").items()) lineage.runs[id] = to_run(run);
    if (j.contains("tuning"))
      for (const Json& c : j.at("tuning")) lineage.tuned.push_back(to_tuned(c));
    return lineage;
  } catch (const nlohmann::json::exception& e) {
    throw DataError(fmt::format(
        "this is no lineage of a table ({}). `tandem table` writes one beside each table",
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
