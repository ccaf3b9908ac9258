// The lines of a grid file, sorted into sections, with values canonical and lists taken apart.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/option.h"

namespace tandem {

// Trials of the grid NAME are stored as the grid NAME/tuning.
constexpr const char kTuningSuffix[] = "/tuning";

struct GridEntry {
  std::string name;
  std::vector<std::string> values;  // one: a setting; several: an axis; none of kTune
  int line = 0;                     // 0: from the command line
  std::string text = {};            // kTune: as written, see config/grid_tune.h
};

struct GridSection {
  enum class Kind { kBase, kWhen, kExclude, kTune, kTable };
  Kind kind = Kind::kBase;
  int line = 0;
  std::vector<GridEntry> conditions;  // kWhen, kTune: all must hold; values are alternatives
  std::vector<GridEntry> entries;     // all but kTable
  std::string name;                   // kTable
  Settings settings;                  // kTable: kept as written
};

struct GridFile {
  std::string path, name;
  std::vector<GridSection> sections;  // the first is kBase

  [[noreturn]] void fail(int line, const std::string& message) const;  // ConfigError "path:line: "
};

// Says whether a line of a [tune] section is a word of its own and no option that is tuned: seeds,
// trials or tune_seed.
bool is_tuning_word(const std::string& name);

GridFile read_sections(const std::string& text, const std::string& path,
                       const ConfigTables& tables);

// "a, b" to two values, "1..9:2" of an integer option to five, "{400,400}, {100}" of a list option
// to two; "400,400" of a list option is one. Braces make one value of any text with commas.
std::vector<std::string> grid_values(const Option& option, const std::string& text,
                                     const ConfigTables& tables);

}  // namespace tandem
