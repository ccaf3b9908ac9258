#include "analysis/published.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <system_error>

#include "analysis/run_data.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr double kNormal = 1.959963984540054;  // half of a 95% interval, in standard errors

struct PublishedSource {
  std::string cite, protocol;
  std::optional<std::int64_t> runs;
  Spread spread = Spread::kNone;
};

const std::vector<std::pair<std::string, Spread>> kSpreads = {
    {"sd", Spread::kSd}, {"sem", Spread::kSem}, {"ci", Spread::kCi}};

// Reads one object, and refuses what it does not know.
class ObjectReader {
 public:
  ObjectReader(const nlohmann::json& object, std::string place)
      : object_(object), place_(std::move(place)) {
    if (!object_.is_object()) fail("an object was expected");
  }

  [[noreturn]] void fail(const std::string& why) const {
    throw ConfigError(fmt::format("{}: {}", place_, why));
  }

  std::string text(const char* key, bool needed = true) {
    const nlohmann::json* value = find(key, needed);
    if (value == nullptr) return "";
    if (!value->is_string()) fail(fmt::format("\"{}\" must be a text", key));
    return value->get<std::string>();
  }

  std::optional<double> number(const char* key, bool needed = false) {
    const nlohmann::json* value = find(key, needed);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number()) fail(fmt::format("\"{}\" must be a number", key));
    return value->get<double>();
  }

  std::optional<std::pair<double, double>> range(const char* key) {
    const nlohmann::json* value = find(key, false);
    if (value == nullptr) return std::nullopt;
    const bool pair = value->is_array() && value->size() == 2 && (*value)[0].is_number() &&
                      (*value)[1].is_number() && (*value)[0] <= (*value)[1];
    if (!pair) fail(fmt::format("\"{}\" must be two numbers, [least, most]", key));
    return std::make_pair((*value)[0].get<double>(), (*value)[1].get<double>());
  }

  // Once all that is known was read.
  void expect_no_other() const {
    for (const auto& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end())
        fail(did_you_mean("entry", key, known_));
    }
  }

 private:
  const nlohmann::json* find(const char* key, bool needed) {
    known_.emplace_back(key);
    const auto found = object_.find(key);
    if (found != object_.end()) return &*found;
    if (needed) fail(fmt::format("it has no \"{}\"", key));
    return nullptr;
  }

  const nlohmann::json& object_;
  std::string place_;
  std::vector<std::string> known_;
};

PublishedSource read_source(const nlohmann::json& object, const std::string& place) {
  ObjectReader reader(object, place);
  PublishedSource source;
  source.cite = reader.text("cite");
  source.protocol = reader.text("protocol", false);
  if (const auto runs = reader.number("runs")) {
    source.runs = static_cast<std::int64_t>(*runs);
    if (*runs < 1 || static_cast<double>(*source.runs) != *runs)
      reader.fail("\"runs\" must be a whole number of at least 1");
  }
  const std::string kind = reader.text("spread", false);
  for (const auto& [name, value] : kSpreads) {
    if (name == kind) source.spread = value;
  }
  if (!kind.empty() && source.spread == Spread::kNone)
    reader.fail(did_you_mean("kind of spread", kind, {"sd", "sem", "ci"}));
  reader.expect_no_other();
  return source;
}

Published read_row(const nlohmann::json& object, const std::string& place,
                   const std::map<std::string, PublishedSource>& sources) {
  ObjectReader reader(object, place);
  Published row;
  row.grid = reader.text("grid");
  row.method = reader.text("method");
  try {
    row.where = parse_conditions(reader.text("where"));
    row.measure = parse_measure(reader.text("measure"));
  } catch (const ConfigError& error) {
    reader.fail(error.what());
  }
  if (!row.measure.versus.empty()) reader.fail("a published figure is no difference (vs)");
  row.mean = *reader.number("mean", true);
  row.spread = reader.number("spread");
  row.gate = reader.range("gate");
  const std::string name = reader.text("source");
  reader.expect_no_other();
  const auto source = sources.find(name);
  if (source == sources.end()) {
    std::vector<std::string> names;
    for (const auto& [each, facts] : sources) names.push_back(each);
    reader.fail(did_you_mean("source", name, names));
  }
  if (row.spread && source->second.spread == Spread::kNone)
    reader.fail("it has a spread, and its source does not say of which kind");
  row.kind = row.spread ? source->second.spread : Spread::kNone;
  row.runs = source->second.runs;
  row.cite = source->second.cite;
  row.protocol = source->second.protocol;
  return row;
}

// The standard error of a published mean; nothing where it can't be told.
std::optional<double> standard_error(const Published& row) {
  if (!row.spread) return std::nullopt;
  switch (row.kind) {
    case Spread::kSem:
      return *row.spread;
    case Spread::kCi:
      return *row.spread / kNormal;
    case Spread::kSd:
      if (row.runs) return *row.spread / std::sqrt(static_cast<double>(*row.runs));
      break;
    case Spread::kNone:
      break;
  }
  return std::nullopt;
}

std::string spread_text(const Published& row) {
  if (!row.spread) return "";
  for (const auto& [name, value] : kSpreads) {
    if (value == row.kind) return fmt::format("{:.2f} {}", *row.spread, name);
  }
  return "";
}

Checked check_row(const RunSet& set, const std::string& split, const WantedRuns& wanted,
                  const Published& row) {
  Checked checked;
  checked.published = row;
  for (const WantedRun& run : wanted.runs) checked.wanted += may_meet(run.config, row.where);
  std::vector<double> values;
  for (const RunData& run : set.runs) {
    if (!run.meets(row.where)) continue;
    if (checked.one.empty()) checked.one = run.id;
    checked.diverged += run.diverged();
    if (run.diverged()) continue;
    if (const auto value = value_of(run, row.measure, split))
      values.push_back(is_share(row.measure) ? 100 * *value : *value);
  }
  checked.ours = summarize(values);
  checked.split = split;
  // A run that diverged is no missing one, and its mean is not within any gate.
  if (row.gate && checked.diverged > 0) checked.met = false;
  if (checked.ours.n == 0) return checked;
  if (row.gate && checked.diverged == 0) {
    checked.met = checked.ours.mean >= row.gate->first && checked.ours.mean <= row.gate->second;
  }
  const auto theirs = standard_error(row);
  if (theirs && checked.ours.sd) {
    const double own = *checked.ours.sd / std::sqrt(static_cast<double>(checked.ours.n));
    const double both = std::hypot(own, *theirs);
    if (both > 0) checked.z = (checked.ours.mean - row.mean) / both;
  }
  return checked;
}

}  // namespace

std::string published_beside(const std::string& suite) {
  namespace fs = std::filesystem;
  std::error_code error;
  const fs::path path(suite);
  return ((fs::is_directory(path, error) ? path : path.parent_path()) / "reference.json").string();
}

std::vector<ReferenceRecord> references_of(const std::string& grid,
                                           const std::vector<Published>& published) {
  std::vector<ReferenceRecord> records;
  for (const Published& row : published) {
    if (row.grid != grid) continue;
    ReferenceRecord record{.source = row.cite,
                           .method = row.method,
                           .setting = grid + ": " + conditions_text(row.where),
                           .metric = row.measure.text,
                           .value = row.mean};
    for (const auto& [name, kind] : kSpreads) {
      if (row.spread && kind == row.kind) record.spread_kind = name == "ci" ? "ci95" : name;
    }
    record.spread = row.spread.value_or(0);
    record.n = row.runs.value_or(0);
    record.note = row.protocol;
    records.push_back(record);
  }
  return records;
}

std::vector<Published> read_published(const std::string& file) {
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(read_file(file));
  } catch (const nlohmann::json::exception& error) {
    throw ConfigError(fmt::format("{}: it is no JSON: {}", file, error.what()));
  }
  if (!json.is_object() || !json.contains("sources") || !json.contains("rows") ||
      !json["sources"].is_object() || !json["rows"].is_array()) {
    throw ConfigError(file + ": an object with \"sources\" and \"rows\" was expected");
  }
  std::map<std::string, PublishedSource> sources;
  for (const auto& [name, object] : json["sources"].items()) {
    sources[name] = read_source(object, fmt::format("{}: source {}", file, name));
  }
  std::vector<Published> rows;
  for (const nlohmann::json& object : json["rows"]) {
    rows.push_back(read_row(object, fmt::format("{}: row {}", file, rows.size() + 1), sources));
  }
  return rows;
}

std::vector<Checked> check_published(const StoreReader& store, const std::string& grid,
                                     const WantedRuns& wanted,
                                     const std::vector<Published>& published) {
  TablePlan plan;
  plan.name = plan.grid = grid;
  plan.wanted = wanted;
  std::vector<Published> rows;
  for (const Published& row : published) {
    if (row.grid != grid) continue;
    rows.push_back(row);
    plan.measures.push_back(row.measure);
    for (const Condition& condition : row.where) plan.rows.push_back(condition.key);
  }
  std::vector<Checked> checked;
  if (rows.empty()) return checked;
  const RunSet set = select_runs(store, plan);
  const std::string split = split_shown(set, plan);
  for (const Published& row : rows) checked.push_back(check_row(set, split, wanted, row));
  return checked;
}

QueryResult checked_rows(const std::vector<Checked>& checked) {
  QueryResult result;
  result.columns = {"grid",       "method", "where", "measure",   "split",
                    "ours",       "sd",     "runs",  "published", "spread",
                    "difference", "z",      "gate",  "verdict",   "one"};
  const auto number = [](const std::optional<double>& value, int digits) {
    return value ? fmt::format("{:.{}f}", *value, digits) : std::string();
  };
  for (const Checked& row : checked) {
    const Published& theirs = row.published;
    const bool any = row.ours.n > 0;
    const std::string mean = any ? fmt::format("{:.2f}", row.ours.mean) : std::string();
    std::string runs = fmt::format("{}/{}", row.ours.n, row.wanted);
    if (row.diverged > 0) runs += fmt::format(", {} diverged", row.diverged);
    const std::string verdict = row.diverged > 0 ? "diverged"
                                : !any           ? "missing"
                                : !row.met       ? ""
                                : !*row.met      ? "outside"
                                : row.complete() ? "met"
                                                 : "met so far";
    std::vector<std::string> cells = {
        theirs.grid,
        theirs.method,
        conditions_text(theirs.where),
        theirs.measure.text,
        any ? row.split : std::string(),
        mean,
        number(row.ours.sd, 2),
        runs,
        fmt::format("{:.2f}{}", theirs.mean,
                    theirs.runs ? fmt::format(" ({})", *theirs.runs) : std::string()),
        spread_text(theirs),
        any ? fmt::format("{:+.2f}", row.ours.mean - theirs.mean) : std::string(),
        number(row.z, 2),
        theirs.gate ? fmt::format("{:g}..{:g}", theirs.gate->first, theirs.gate->second)
                    : std::string(),
        verdict,
        row.one.substr(0, 12)};
    std::vector<bool> null;
    for (const std::string& cell : cells) null.push_back(cell.empty());
    result.rows.push_back(std::move(cells));
    result.null.push_back(std::move(null));
  }
  return result;
}

}  // namespace tandem
