// The small language of a [table] section: measures, read-outs and conditions.
#include "analysis/table_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "analysis/metric_names.h"
#include "analysis/sequence_measures.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

const std::vector<std::string> kEvalNames = {"accuracy", "loss", "bits_per_byte"};
const std::vector<std::pair<std::string, Measure::Kind>> kMetricKinds = {
    {"metric:", Measure::Kind::kMetric}, {"average:", Measure::Kind::kAverage}};

bool has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

[[noreturn]] void refuse(const std::string& measure, const std::string& why) {
  throw ConfigError(fmt::format("column \"{}\": {}", measure, why));
}

LevelReadout parse_level(const std::string& text, const std::string& measure) {
  if (text == "full") return {};
  if (text == "own") return {.own = true};
  LevelReadout level{true, 1};
  if (text == "sparse") return level;
  const bool divide = text.rfind("sparse/", 0) == 0;
  if (divide || text.rfind("sparse*", 0) == 0) {
    const auto factor = parse_real(text.substr(7));
    if (factor && *factor > 0) {
      level.factor = divide ? 1 / *factor : *factor;
      return level;
    }
  }
  refuse(
      measure,
      fmt::format("\"{}\" is no read-out; expected full, own, sparse, sparse/2 or sparse*2", text));
}

// A part that stands beside the levels of a read-out.
bool is_beside_levels(const std::string& part) {
  return part == "beyond" || part.rfind("context*", 0) == 0 || part.rfind("scaling=", 0) == 0;
}

double parse_multiple(const std::string& part, const std::string& measure) {
  const auto multiple = parse_integer(part.substr(8));
  if (multiple && *multiple >= 1) return static_cast<double>(*multiple);
  refuse(measure, fmt::format("\"{}\" is no length; expected context*2, context*4, ...", part));
}

std::string parse_scaling(const std::string& name, const std::string& measure) {
  if (name == "none") return "";
  if (name == "linear" || name == "ntk") return name;
  refuse(measure, fmt::format("\"{}\" is no scaling; expected none, linear or ntk", name));
}

Readout parse_readout(const std::string& text, const std::string& measure) {
  Readout readout;
  bool whole = false;
  for (const std::string& raw : split(text, ',')) {
    const std::string part = trim(raw);
    if (part == "masked") {
      readout.masked = true;
    } else if (part == "beyond") {
      readout.beyond = true;
    } else if (part.rfind("context*", 0) == 0) {
      readout.context = parse_multiple(part, measure);
    } else if (part.rfind("scaling=", 0) == 0) {
      readout.scaling = parse_scaling(part.substr(8), measure);
    } else if (part.rfind("attention=", 0) == 0) {
      readout.by_level = true;
      readout.attention = parse_level(part.substr(10), measure);
    } else if (part.rfind("weights=", 0) == 0) {
      readout.by_level = true;
      readout.weights = parse_level(part.substr(8), measure);
    } else {
      whole = true;
      readout.attention = readout.weights = parse_level(part, measure);
    }
  }
  if (whole && readout.by_level) refuse(measure, "name both levels, or none");
  if (readout.context == 1 && (readout.beyond || !readout.scaling.empty())) {
    refuse(measure,
           "beyond and scaling are of windows longer than those of training; say which, "
           "context*2");
  }
  return readout;
}

// A list of measures is split at commas, but for those inside one measure's read-out or a value it
// is compared with (widths=400,400).
std::vector<std::string> split_measures(const std::string& text) {
  std::vector<std::string> measures;
  for (const std::string& raw : split(text, ',')) {
    const std::string part = trim(raw);
    const bool inside = part.rfind("attention=", 0) == 0 || part.rfind("weights=", 0) == 0 ||
                        part.rfind("masked", 0) == 0 || is_beside_levels(part) ||
                        (!part.empty() && std::isdigit(static_cast<unsigned char>(part[0])));
    if (inside && !measures.empty())
      measures.back() += "," + part;
    else if (!part.empty())
      measures.push_back(part);
  }
  return measures;
}

std::vector<std::string> split_keys(const std::string& text) {
  std::vector<std::string> keys;
  for (const std::string& raw : split(text, ','))
    if (!trim(raw).empty()) keys.push_back(trim(raw));
  return keys;
}

std::vector<Condition> parse_versus(const std::string& text, const std::string& measure) {
  std::vector<Condition> versus;
  try {
    versus = parse_conditions(text);
  } catch (const ConfigError& e) {
    refuse(measure, fmt::format("after vs, {}", e.what()));
  }
  if (versus.empty()) refuse(measure, "expected vs OPTION=VALUE");
  for (const Condition& c : versus)
    if (c.values.size() != 1)
      refuse(measure,
             fmt::format("{} has {} values after vs; one is expected", c.key, c.values.size()));
  return versus;
}

void expect_dimensions(const TablePlan& plan) {
  for (const Measure& m : plan.measures)
    for (const Condition& c : m.versus)
      if (!has(plan.rows, c.key) && !has(plan.across, c.key))
        refuse(m.text, fmt::format("{} must be one of rows or across, so that a row has one value "
                                   "of it; rows are {}",
                                   c.key, join(plan.rows, ", ")));
}

}  // namespace

std::vector<std::string> readout_measures() {
  std::vector<std::string> names = kEvalNames;
  for (const std::string& name : sequence_measure_names()) names.push_back(name);
  return names;
}

Measure parse_measure(const std::string& said) {
  Measure m;
  const std::size_t as = said.find(" as ");
  m.text = trim(said.substr(0, as));
  m.label = as == std::string::npos ? m.text : trim(said.substr(as + 4));
  const std::size_t vs = m.text.find(" vs ");
  if (vs != std::string::npos) m.versus = parse_versus(m.text.substr(vs + 4), said);
  const std::string stem = trim(m.text.substr(0, vs));
  const std::size_t at = stem.find('@');
  m.name = stem.substr(0, at);
  const std::string rest = at == std::string::npos ? "" : stem.substr(at + 1);
  if (m.name.empty() || (at != std::string::npos && rest.empty()))
    refuse(said, "expected NAME or NAME@READOUT");
  for (const auto& [prefix, kind] : kMetricKinds) {
    if (m.name.rfind(prefix, 0) != 0) continue;
    m.kind = kind;
    m.name = m.name.substr(prefix.size());
    m.layer = rest;
    if (m.name.empty()) refuse(said, "expected " + prefix + "NAME");
    return m;
  }
  if (has(kEvalNames, m.name) || find_sequence_measure(m.name) != nullptr || matrix_cell(m.name)) {
    m.kind = has(kEvalNames, m.name) ? Measure::Kind::kEval : Measure::Kind::kContinual;
    if (!rest.empty()) m.readout = parse_readout(rest, said);
    return m;
  }
  m.kind = Measure::Kind::kRun;
  if (!rest.empty()) {
    std::vector<std::string> names = readout_measures();
    for (const std::string& name : documented_metrics()) names.push_back("metric:" + name);
    const std::vector<std::string> near = nearest_names(m.name, names, 3);
    refuse(said, fmt::format("only {}, r_STAGE_TASK, metric:NAME and average:NAME have read-outs "
                             "or layers{}",
                             join(readout_measures(), ", "),
                             near.empty() ? "" : "; did you mean " + join(near, " or ") + "?"));
  }
  return m;
}

std::vector<Measure> parse_measures(const std::string& list) {
  std::vector<Measure> measures;
  for (const std::string& text : split_measures(list)) measures.push_back(parse_measure(text));
  return measures;
}

namespace {

// "NAME[@READOUT]=VALUE over OPTION"
Matched parse_matched(const std::string& text) {
  const std::size_t over = text.find(" over ");
  const std::string what = trim(text.substr(0, over));
  const std::size_t equals = what.rfind('=');
  if (over == std::string::npos || equals == std::string::npos)
    throw ConfigError(fmt::format("\"at {}\" is not at MEASURE=VALUE over OPTION", text));
  const auto value = parse_real(trim(what.substr(equals + 1)));
  if (!value)
    throw ConfigError(fmt::format("\"{}\" after at is no number", what.substr(equals + 1)));
  return {parse_measure(trim(what.substr(0, equals))), *value, trim(text.substr(over + 6))};
}

}  // namespace

Contrast parse_contrast(const std::string& name, const std::string& text) {
  const auto refuse_contrast = [&](const std::string& why) {
    throw ConfigError(
        fmt::format("contrast {} = \"{}\": {}; expected MEASURE [at MEASURE=VALUE over OPTION] of "
                    "CONDITIONS vs "
                    "CONDITIONS [vs CONDITIONS]",
                    name, text, why));
  };
  Contrast contrast{name, text, {}, {}, {}};
  const std::size_t of = text.find(" of ");
  if (of == std::string::npos) refuse_contrast("it has no \" of \"");
  const std::string what = text.substr(0, of);
  const std::size_t at = what.find(" at ");
  contrast.measure = parse_measure(trim(what.substr(0, at)));
  try {
    if (at != std::string::npos) contrast.at = parse_matched(what.substr(at + 4));
  } catch (const ConfigError& e) {
    refuse_contrast(e.what());
  }
  if (!contrast.measure.versus.empty()) refuse_contrast("vs comes after of");
  std::size_t begin = of + 4;
  for (bool first = true; begin != std::string::npos; first = false) {
    const std::size_t vs = text.find(" vs ", begin);
    const std::vector<Condition> conditions = parse_conditions(text.substr(begin, vs - begin));
    if (conditions.empty()) refuse_contrast("a side has no conditions");
    first ? contrast.of = conditions : contrast.versus.emplace_back(conditions);
    begin = vs == std::string::npos ? vs : vs + 4;
  }
  if (contrast.versus.empty()) refuse_contrast("it has no \" vs \"");
  if (contrast.versus.size() > 2) refuse_contrast("it has more than two vs");
  return contrast;
}

std::vector<Condition> parse_conditions(const std::string& text) {
  std::vector<Condition> conditions;
  for (const std::string& part : split(text, ' ')) {
    if (part.empty()) continue;
    const std::size_t equals = part.find('=');
    if (equals == 0 || equals == std::string::npos)
      throw ConfigError(fmt::format(
          "condition \"{}\": expected key=value or key=value|value, several parted by spaces",
          part));
    conditions.push_back({part.substr(0, equals), split(part.substr(equals + 1), '|')});
  }
  return conditions;
}

std::string conditions_text(const std::vector<Condition>& conditions) {
  std::vector<std::string> pairs;
  for (const Condition& c : conditions) pairs.push_back(c.key + "=" + join(c.values, "|"));
  return join(pairs, " ");
}

namespace {

// Names of columns and of rows that decide what is marked.
void expect_marking(const TablePlan& plan) {
  if (plan.bold == Bold::kNone && !plan.within.empty()) {
    throw ConfigError(
        fmt::format("table {}: within says among which rows the best is marked, and bold = none "
                    "marks none; say "
                    "bold = best or tied",
                    plan.name));
  }
  for (const std::string& key : plan.within) {
    if (!has(plan.rows, key)) {
      throw ConfigError(
          did_you_mean("key of within, of the rows of table " + plan.name, key, plan.rows));
    }
  }
  std::vector<std::string> labels;
  for (const Measure& m : plan.measures) labels.push_back(m.label);
  for (const auto* said : {&plan.higher, &plan.lower}) {
    for (const std::string& label : *said) {
      if (!has(labels, label)) {
        throw ConfigError(
            did_you_mean("column of table " + plan.name + " for higher and lower", label, labels));
      }
      if (has(plan.higher, label) && has(plan.lower, label)) {
        throw ConfigError(fmt::format("table {}: {} stands in higher and in lower; give it once",
                                      plan.name, label));
      }
    }
  }
}

}  // namespace

TablePlan plan_table(const TableSpec& spec) {
  TablePlan plan;
  plan.name = spec.name;
  for (const auto& [key, value] : spec.settings) {
    if (key == "rows") {
      plan.rows = split_keys(value);
    } else if (key == "across") {
      plan.across = split_keys(value);
    } else if (key == "columns") {
      plan.measures = parse_measures(value);
    } else if (key == "where") {
      plan.where = parse_conditions(value);
    } else if (key == "grid") {
      plan.grid = value;
    } else if (key == "split") {
      plan.split = value;
    } else if (key == "digits") {
      const auto digits = parse_integer(value);
      if (!digits || *digits < 0 || *digits > 12)
        throw ConfigError(fmt::format("digits = {}: expected an integer of 0..12", value));
      plan.digits = static_cast<int>(*digits);
    } else if (key == "title") {
      plan.title = value;
    } else if (key == "bold") {
      const std::map<std::string, Bold> kinds = {
          {"none", Bold::kNone}, {"best", Bold::kBest}, {"tied", Bold::kTied}};
      const auto kind = kinds.find(value);
      if (kind == kinds.end())
        throw ConfigError(did_you_mean("bold", value, {"none", "best", "tied"}));
      plan.bold = kind->second;
    } else if (key == "within") {
      plan.within = split_keys(value);
    } else if (key == "higher" || key == "lower") {
      for (const std::string& label : split(value, ',')) {
        (key == "higher" ? plan.higher : plan.lower).push_back(trim(label));
      }
    } else if (key.rfind("contrast.", 0) == 0) {
      plan.contrasts.push_back(parse_contrast(key.substr(9), value));
    } else {
      throw ConfigError(
          did_you_mean("setting of a table", key,
                       {"rows", "columns", "across", "where", "grid", "split", "digits", "title",
                        "bold", "higher", "lower", "within", "contrast.NAME"}));
    }
  }
  if (!has({"auto", "train", "validation", "test"}, plan.split))
    throw ConfigError(did_you_mean("split", plan.split, {"auto", "train", "validation", "test"}));
  if (!plan.contrasts.empty()) {
    if (plan.bold != Bold::kNone || !plan.higher.empty() || !plan.lower.empty() ||
        !plan.within.empty())
      throw ConfigError(
          fmt::format("table {} has contrasts, whose columns have no best row: leave "
                      "out bold, higher, lower and within",
                      plan.name));
    if (!plan.rows.empty() || !plan.measures.empty() || !plan.across.empty())
      throw ConfigError(fmt::format(
          "table {} has contrasts, and rows, columns or across as well: make two tables of it",
          plan.name));
    for (const Contrast& c : plan.contrasts) {
      plan.measures.push_back(c.measure);
      if (c.at) plan.measures.push_back(c.at->by);
    }
    return plan;
  }
  if (plan.rows.empty()) plan.rows = {"weights"};
  if (plan.measures.empty())
    throw ConfigError(fmt::format(
        "table {} has no columns; give columns = accuracy@full, accuracy@sparse or others",
        plan.name));
  expect_dimensions(plan);
  expect_marking(plan);
  return plan;
}

bool is_share(const Measure& m) {
  if (m.kind == Measure::Kind::kContinual) {
    const SequenceMeasure* named = find_sequence_measure(m.name);
    return named == nullptr || named->unit == SequenceMeasure::Unit::kShare;
  }
  return m.kind == Measure::Kind::kEval && m.name == "accuracy";
}

Direction direction_of(const Measure& m) {
  if (!m.versus.empty()) return Direction::kNone;  // of a difference it depends on what differs
  if (m.kind == Measure::Kind::kEval) {
    return m.name == "accuracy" ? Direction::kHigher : Direction::kLower;
  }
  if (m.kind != Measure::Kind::kContinual) return Direction::kNone;
  const SequenceMeasure* named = find_sequence_measure(m.name);
  if (named == nullptr) return Direction::kHigher;  // r_STAGE_TASK
  return named->lower_is_better ? Direction::kLower : Direction::kHigher;
}

int decimals(const Measure& m) {
  if (is_share(m)) return 2;
  return m.kind == Measure::Kind::kRun ? -1 : 3;
}

}  // namespace tandem
