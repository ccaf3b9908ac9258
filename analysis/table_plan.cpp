// The small language of a [table] section: measures, read-outs and conditions.
#include "analysis/table_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "analysis/hypothesis_tests.h"
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

std::vector<std::string> split_keys(const std::string& text) {
  std::vector<std::string> keys;
  for (const std::string& raw : split(text, ','))
    if (!trim(raw).empty()) keys.push_back(trim(raw));
  return keys;
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

namespace {

template <class Kind>
Kind choice_of(const std::string& key, const std::string& value,
               const std::vector<std::pair<std::string, Kind>>& kinds) {
  std::vector<std::string> names;
  for (const auto& [name, kind] : kinds) {
    if (name == value) return kind;
    names.push_back(name);
  }
  throw ConfigError(did_you_mean(key, value, names));
}

// What belongs to another kind of table, or says nothing there.
void expect_statistics(const TablePlan& plan) {
  const auto refuse_setting = [&plan](const std::string& what) {
    throw ConfigError(fmt::format("table {}: {}", plan.name, what));
  };
  if (plan.centre != Centre::kMean && plan.spread == CellSpread::kDeviation) {
    refuse_setting(
        "spread = sd belongs to a mean; a median and an interquartile mean have an "
        "interval by the bootstrap, so leave out spread or say centre = mean");
  }
  if (!plan.strata.empty() && plan.centre == Centre::kMean) {
    refuse_setting(
        "strata are those of the bootstrap, which a mean's interval does not use; say "
        "centre = iqm or centre = median, or leave them out");
  }
  if (plan.contrasts.empty()) {
    if (!plan.effect.empty())
      refuse_setting("effect = " + plan.effect + " is of contrasts, and it has none");
    if (plan.rope) refuse_setting("rope is of contrasts, and it has none");
    return;
  }
  if (plan.centre != Centre::kMean || plan.spread != CellSpread::kInterval) {
    refuse_setting(
        "contrasts are differences of means with Student's interval; leave out centre "
        "and spread");
  }
  if (hypothesis_test(plan.test).paired) return;
  for (const Contrast& contrast : plan.contrasts) {
    if (contrast.versus.size() == 2)
      refuse_setting(
          fmt::format("contrast {} is the change of a difference from seed to seed, which "
                      "only a paired test takes; test = {} is not paired",
                      contrast.name, plan.test));
  }
}

void expect_ranks(const TablePlan& plan) {
  const auto refuse_setting = [&plan](const std::string& what) {
    throw ConfigError(fmt::format("table {}: {}", plan.name, what));
  };
  if (plan.ranks.empty() != plan.over.empty()) {
    refuse_setting(plan.ranks.empty()
                       ? "over is of ranks; say ranks = COLUMNS as well"
                       : "ranks are taken over several data sets or settings; say over = COLUMNS");
  }
  if (plan.ranks.empty()) return;
  for (const std::string& key : plan.ranks)
    if (has(plan.over, key)) refuse_setting(key + " is in ranks and in over; it can't be both");
  if (!plan.rows.empty() || !plan.across.empty())
    refuse_setting("ranks stand in place of rows and across; leave these out");
  if (plan.bold != Bold::kNone || plan.centre != Centre::kMean || !plan.effect.empty() ||
      plan.spread != CellSpread::kInterval || plan.test != TablePlan().test) {
    refuse_setting("ranks have a test of their own, and no bold, centre, spread, test or effect");
  }
  for (const Measure& m : plan.measures)
    if (!m.versus.empty()) refuse_setting(m.text + " is a difference; ranks are of values");
}

}  // namespace

const std::vector<TableSetting>& table_settings() {
  using Plan = TablePlan;
  using Text = std::string;
  static const std::vector<TableSetting> settings = {
      {"rows", "columns of v_run whose values make the rows",
       [](Plan& p, const Text& value) { p.rows = split_keys(value); }},
      {"columns", "measures: accuracy@sparse, metric:gap (last), average:churn (over steps), ...",
       [](Plan& p, const Text& value) { p.measures = parse_measures(value); }},
      {"across", "repeat the columns for each value of this",
       [](Plan& p, const Text& value) { p.across = split_keys(value); }},
      {"ranks", "in place of rows: methods that are ranked, by these columns of v_run",
       [](Plan& p, const Text& value) { p.ranks = split_keys(value); }},
      {"over", "of ranks: the data sets or settings over which they are, by these columns",
       [](Plan& p, const Text& value) { p.over = split_keys(value); }},
      {"where", "conditions: weights=rigl|set density=0.1",
       [](Plan& p, const Text& value) { p.where = parse_conditions(value); }},
      {"grid", "only the runs stored under this grid's name, in place of the file's",
       [](Plan& p, const Text& value) { p.grid = value; }},
      {"split", "auto, test, validation or train",
       [](Plan& p, const Text& value) { p.split = value; }},
      {"digits", "decimals of all columns",
       [](Plan& p, const Text& value) {
         const auto digits = parse_integer(value);
         if (!digits || *digits < 0 || *digits > 12)
           throw ConfigError(fmt::format("digits = {}: expected an integer of 0..12", value));
         p.digits = static_cast<int>(*digits);
       }},
      {"title", "title of the table", [](Plan& p, const Text& value) { p.title = value; }},
      {"bold", "what is marked in each column: none, best, or tied with the best",
       [](Plan& p, const Text& value) {
         p.bold = choice_of<Bold>(
             "bold", value, {{"none", Bold::kNone}, {"best", Bold::kBest}, {"tied", Bold::kTied}});
       }},
      {"within", "the best among the rows that agree in these, of rows",
       [](Plan& p, const Text& value) { p.within = split_keys(value); }},
      {"higher", "labels of columns in which more is better, joined by ','",
       [](Plan& p, const Text& value) { p.higher = split_keys(value); }},
      {"lower", "labels of columns in which less is better, joined by ','",
       [](Plan& p, const Text& value) { p.lower = split_keys(value); }},
      {"centre", "what stands for a cell's values: mean, median, or iqm, their middle half's mean",
       [](Plan& p, const Text& value) {
         p.centre = choice_of<Centre>(
             "centre", value,
             {{"mean", Centre::kMean}, {"median", Centre::kMedian}, {"iqm", Centre::kIqm}});
       }},
      {"strata", "the bootstrap of a median or an iqm draws from the runs of each value of these",
       [](Plan& p, const Text& value) { p.strata = split_keys(value); }},
      {"spread", "what follows ±: ci95, half of Student's interval, or sd, of the sample",
       [](Plan& p, const Text& value) {
         p.spread = choice_of<CellSpread>(
             "spread", value, {{"ci95", CellSpread::kInterval}, {"sd", CellSpread::kDeviation}});
       }},
      {"test", "of differences: " + join(hypothesis_test_names(), ", "),
       [](Plan& p, const Text& value) { p.test = hypothesis_test(value).name; }},
      {"rope",
       "of contrasts: with this region of practical equivalence, in the printed unit, how probable "
       "it is that a difference is below, within or above it",
       [](Plan& p, const Text& value) {
         const auto rope = parse_real(value);
         if (!rope || !(*rope >= 0))
           throw ConfigError(fmt::format("rope = {}: expected a number of 0 or more", value));
         p.rope = rope;
       }},
      {"effect", "of contrasts: how large they are, as dz, g or superiority",
       [](Plan& p, const Text& value) { p.effect = effect_size(value).name; }}};
  return settings;
}

TablePlan plan_table(const TableSpec& spec) {
  TablePlan plan;
  plan.name = spec.name;
  plan.said = spec.settings;
  for (const auto& [key, value] : spec.settings) {
    if (key.rfind("contrast.", 0) == 0) {
      plan.contrasts.push_back(parse_contrast(key.substr(9), value));
      continue;
    }
    std::vector<std::string> names = {"contrast.NAME"};
    const TableSetting* setting = nullptr;
    for (const TableSetting& each : table_settings()) {
      names.push_back(each.name);
      if (each.name == key) setting = &each;
    }
    if (setting == nullptr) throw ConfigError(did_you_mean("setting of a table", key, names));
    setting->apply(plan, value);
  }
  if (!has({"auto", "train", "validation", "test"}, plan.split))
    throw ConfigError(did_you_mean("split", plan.split, {"auto", "train", "validation", "test"}));
  expect_statistics(plan);
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
  expect_ranks(plan);
  if (plan.rows.empty() && plan.ranks.empty()) plan.rows = {"weights"};
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

Direction direction_said(const TablePlan& plan, const Measure& m) {
  if (has(plan.higher, m.label)) return Direction::kHigher;
  return has(plan.lower, m.label) ? Direction::kLower : direction_of(m);
}

int decimals(const Measure& m) {
  if (is_share(m)) return 2;
  return m.kind == Measure::Kind::kRun ? -1 : 3;
}

}  // namespace tandem
