// What a [tune] section says: axes, how many points are drawn from them, and for which runs.
//
//   trials = 16                    points per method; without it every point of the lists
//   seeds = 1..2                   seeds of each trial
//   tune_seed = 7                  draws other points; without it the grid's name decides
//   lr = 0.01 .. 1                 a range, log-uniform
//   weights_p = 0.2 .. 0.8 linear  a range, uniform
//   refresh_interval = 10 .. 1000  an option of integers rounds
//   activation = relu, gelu        a list, each value equally likely
//   [tune weights=ssa]             adds axes for some runs, or replaces those of the same name
//
// The i-th point of an axis depends on (tune_seed or the grid's name, the axis' name, i) alone, so
// that all methods are tried at the same values of the axes they share. Values of ranges have three
// significant digits.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/config.h"
#include "config/option.h"

namespace tandem {

struct GridFile;

struct TuneAxis {
  std::string name;
  std::vector<std::string> values = {};  // of a list; empty: a range
  double low = 0, high = 0;              // its ends
  bool linear = false, integer = false;
  std::optional<double> minimum = {}, maximum = {};  // of the option
  int line = 0;

  bool is_range() const { return values.empty(); }
  // On the range's own scale: 0 at low, 1 at high, outside of [0,1] beyond them.
  double to_unit(double value) const;
  // The text at a place, rounded, but within [from, to] and the option's bounds.
  std::string from_unit(double unit, double from, double to) const;
};

// "lr 0.01..1", "weights_p 0.2..0.8 (linear)", "activation {relu, gelu}".
std::string describe(const TuneAxis& axis);

// Throws ConfigError. `drawn`: points are drawn, so that ranges may stand.
TuneAxis parse_axis(const Option& option, const std::string& text, bool drawn,
                    const ConfigTables& tables);

// The i-th number of a stream in [0,1): eight in a row lie in different eighths.
double tune_draw(std::uint64_t key, std::int64_t i);

struct TuneCondition {
  std::string option;
  std::vector<std::string> any_of;
};

struct TuneSection {
  std::vector<TuneCondition> when;  // all must hold; none: every run
  std::vector<TuneAxis> axes;

  bool holds_for(const Config& run) const;
};

struct Tuning {
  std::vector<TuneSection> sections;  // in file order, those without axes left out
  std::int64_t trials = 0;            // 0: every point of the lists
  std::vector<std::string> seeds = {"1"};
  std::uint64_t key = 0;  // of the draws

  bool empty() const { return sections.empty(); }
  // Those of the sections that hold for the run, without what the run doesn't read.
  std::vector<TuneAxis> axes_of(const Config& run,
                                const ConfigTables& tables = program_tables()) const;
};

// Reads the file's [tune] sections; `name` is the grid's. Throws ConfigError with file and line.
Tuning read_tuning(const GridFile& file, const std::string& name, const ConfigTables& tables);

// "lr 0.01..1, weight_decay 1e-05..0.01; weights=ssa: weights_alpha 0.1..100"
std::string describe(const Tuning& tuning);

// The option is the engine's, or a part that the run selects reads it.
bool reads(const Config& run, const std::string& name, const ConfigTables& tables);

}  // namespace tandem
