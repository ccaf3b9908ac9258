// Expansion of grid files: read lines into sections, lay overrides over them, multiply the axes,
// apply each [when] to the cells that match, leave out what [exclude] matches, drop equal ids.
#include "config/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "config/grid_file.h"
#include "config/option.h"
#include "config/part.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::size_t kMostCells = 1'000'000;

// What is said for one run: names and values of the file's entries, which outlive it, since a grid
// may have very many runs.
class Cell {
 public:
  void set(const std::string& name, const std::string& value) {
    for (auto& [known, said] : said_) {
      if (*known == name) {
        said = &value;
        return;
      }
    }
    said_.emplace_back(&name, &value);
  }
  Settings settings() const {
    Settings all;
    for (const auto& [name, value] : said_) all[*name] = *value;
    return all;
  }

 private:
  std::vector<std::pair<const std::string*, const std::string*>> said_;
};

void multiply(std::vector<Cell>& cells, const GridEntry& axis, const GridFile& file) {
  if (cells.size() * axis.values.size() > kMostCells) {
    file.fail(axis.line, fmt::format("'{}' brings the grid beyond {} cells; make it smaller",
                                     axis.name, kMostCells));
  }
  std::vector<Cell> product;
  product.reserve(cells.size() * axis.values.size());
  for (const Cell& cell : cells) {
    for (const auto& value : axis.values) {
      product.push_back(cell);
      product.back().set(axis.name, value);
    }
  }
  cells = std::move(product);
}

bool matches(const Config& config, const std::vector<GridEntry>& conditions) {
  return std::all_of(conditions.begin(), conditions.end(), [&](const GridEntry& condition) {
    const auto& any_of = condition.values;
    return std::find(any_of.begin(), any_of.end(), config.text(condition.name)) != any_of.end();
  });
}

Config resolve_cell(const Cell& cell, const GridFile& file, const ConfigTables& tables) {
  try {
    return Config::resolve(cell.settings(), false, tables);
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("{}: {}", file.path, error.what()));
  }
}

// A section for no run at all is a mistake. Its error says what the runs have in place of what the
// first condition that none of them meets asks for.
[[noreturn]] void refuse_idle(const std::string& head, int line,
                              const std::vector<GridEntry>& conditions,
                              const std::vector<Config>& runs, const GridFile& file) {
  constexpr std::size_t kShown = 12;
  for (const GridEntry& condition : conditions) {
    std::set<std::string> had;
    bool met = false;
    for (const Config& run : runs) {
      had.insert(run.text(condition.name));
      met = met || matches(run, {condition});
    }
    if (met) continue;
    std::vector<std::string> shown(had.begin(), had.end());
    const std::vector<std::string> near = nearest_names(condition.values.front(), shown);
    if (shown.size() > kShown) shown.resize(kShown), shown.emplace_back("...");
    file.fail(line, fmt::format("{} matches no run of this grid: none has {} = {}{}; they have {}. "
                                "Mend the condition, or drop the section",
                                head, condition.name, join(condition.values, " or "),
                                near.empty() ? "" : ", did you mean " + join(near, " or "),
                                join(shown, ", ")));
  }
  file.fail(line, fmt::format("{} matches no run of this grid: its conditions are met by some runs "
                              "each, but by none together. Mend them, or drop the section",
                              head));
}

// `strict`: refuses a section that no cell meets.
void apply_when(std::vector<Cell>& cells, const GridSection& section, const GridFile& file,
                const ConfigTables& tables, bool strict) {
  std::vector<Cell> result;
  std::vector<Config> runs;
  bool any = false;
  for (const Cell& cell : cells) {
    std::vector<Cell> branch = {cell};
    Config run = resolve_cell(cell, file, tables);
    if (matches(run, section.conditions)) {
      any = true;
      for (const auto& entry : section.entries) multiply(branch, entry, file);
    }
    if (!any) runs.push_back(std::move(run));
    std::move(branch.begin(), branch.end(), std::back_inserter(result));
  }
  if (strict && !any) refuse_idle("[when]", section.line, section.conditions, runs, file);
  cells = std::move(result);
}

std::vector<GridEntry> overriding_entries(const Settings& overrides, const ConfigTables& tables) {
  std::vector<GridEntry> entries;
  for (const auto& [name, text] : overrides) {
    entries.push_back({name, grid_values(tables.options->at(name), text, tables), 0});
  }
  return entries;
}

// The file's own mention of an overridden option goes, in [when] and [tune] too; conditions stay.
void remove_overridden(GridFile& file, const Settings& overrides) {
  for (auto& section : file.sections) {
    const bool sets = section.kind == GridSection::Kind::kBase ||
                      section.kind == GridSection::Kind::kWhen ||
                      section.kind == GridSection::Kind::kTune;
    if (!sets) continue;
    std::erase_if(section.entries,
                  [&](const GridEntry& entry) { return overrides.count(entry.name) != 0; });
  }
}

std::vector<Cell> expand(const GridFile& file, const std::vector<GridEntry>& overrides,
                         const ConfigTables& tables, bool strict) {
  std::vector<Cell> cells(1);
  for (const auto& entry : file.sections.front().entries) multiply(cells, entry, file);
  for (const auto& entry : overrides) multiply(cells, entry, file);
  for (const auto& section : file.sections) {
    if (section.kind == GridSection::Kind::kWhen) apply_when(cells, section, file, tables, strict);
  }
  return cells;
}

void check_excludes(const std::vector<Config>& runs, const GridFile& file) {
  for (const auto& section : file.sections) {
    if (section.kind != GridSection::Kind::kExclude) continue;
    const bool any = std::any_of(runs.begin(), runs.end(),
                                 [&](const Config& run) { return matches(run, section.entries); });
    if (!any) refuse_idle("[exclude]", section.line, section.entries, runs, file);
  }
}

bool excluded(const Config& config, const GridFile& file) {
  return std::any_of(file.sections.begin(), file.sections.end(), [&](const GridSection& section) {
    return section.kind == GridSection::Kind::kExclude && matches(config, section.entries);
  });
}

// What a run says of what it reads, whose content makes it another run once it is known.
std::string inputs_of(const Config& config, const ConfigTables& tables) {
  std::string text;
  for (const Option& option : tables.options->all()) {
    if (option.names_input) text += "\n" + config.text(option.name);
  }
  return text;
}

void keep_runs(Grid& grid, const std::vector<Cell>& cells, const GridFile& file,
               const ConfigTables& tables, bool strict) {
  std::set<std::string> ids;
  std::vector<Config> runs;
  runs.reserve(cells.size());
  for (const Cell& cell : cells) runs.push_back(resolve_cell(cell, file, tables));
  if (strict) check_excludes(runs, file);
  for (Config& config : runs) {
    if (excluded(config, file)) continue;
    if (!ids.insert(config.id() + inputs_of(config, tables)).second) continue;
    grid.runs.push_back(std::move(config));
  }
  if (grid.runs.empty()) {
    throw ConfigError(
        fmt::format("{}: no run is left; an [exclude] section matches all of them", file.path));
  }
}

// Where the file sets an option.
int line_that_sets(const std::string& name, const GridFile& file) {
  for (const auto& section : file.sections) {
    const bool sets =
        section.kind == GridSection::Kind::kBase || section.kind == GridSection::Kind::kWhen;
    for (const auto& entry : section.entries) {
      if (sets && entry.name == name) return entry.line;
    }
  }
  return 0;
}

void check_tuning(const Grid& grid, const GridFile& file, const ConfigTables& tables) {
  for (const Config& run : grid.runs) {
    for (const TuneAxis& axis : grid.tune.axes_of(run, tables)) {
      if (!run.was_given(axis.name)) continue;
      file.fail(axis.line, fmt::format("'{}' is tuned here and set in line {}; keep one", axis.name,
                                       line_that_sets(axis.name, file)));
    }
  }
}

// A [tune] section for methods that an override took away asks for nothing.
bool is_for_no_run(const GridSection& section, const Grid& grid) {
  return section.kind == GridSection::Kind::kTune &&
         std::none_of(grid.runs.begin(), grid.runs.end(),
                      [&](const Config& run) { return matches(run, section.conditions); });
}

void check_tune_sections(const Grid& grid, const GridFile& file) {
  for (const auto& section : file.sections) {
    if (is_for_no_run(section, grid))
      refuse_idle("[tune]", section.line, section.conditions, grid.runs, file);
  }
}

// Whether the command line says anything of the runs, not only of how the program works.
bool changes_runs(const Settings& overrides, const ConfigTables& tables) {
  return std::any_of(overrides.begin(), overrides.end(),
                     [&](const auto& said) { return is_of_runs(tables.options->at(said.first)); });
}

// One run of nothing but defaults is not what anybody writes a file for.
void expect_content(const GridFile& file) {
  const bool any =
      std::any_of(file.sections.begin(), file.sections.end(), [](const GridSection& section) {
        return section.kind != GridSection::Kind::kTable &&
               section.kind != GridSection::Kind::kBase;
      });
  if (any || !file.sections.front().entries.empty()) return;
  throw ConfigError(file.path +
                    ": the file says nothing of its runs; give at least one line option = value, "
                    "such as seed = 1..5");
}

// The file is a grid as it stands, of which no line is for nothing.
bool is_whole(const Grid& grid, const ConfigTables& tables) {
  try {
    parse_grid(grid.text, grid.file, {}, tables);
  } catch (const ConfigError&) {
    return false;
  }
  return true;
}

// A cell drops what its parts don't read; what no run at all reads is a mistake. A line of the file
// whose runs an override took away (`strict`: there is none) is not.
void check_use(const Grid& grid, const GridFile& file, const std::vector<GridEntry>& overrides,
               const ConfigTables& tables, bool strict) {
  const auto check = [&](const GridEntry& entry) {
    const bool used = std::any_of(grid.runs.begin(), grid.runs.end(), [&](const Config& run) {
      return reads(run, entry.name, tables);
    });
    if (used || (entry.line != 0 && !strict && is_whole(grid, tables))) return;
    const std::string why = fmt::format(
        "option '{}' is read by no part that a run of this grid selects; leave it out", entry.name);
    if (entry.line == 0) throw ConfigError(why);
    file.fail(entry.line, why);
  };
  for (const auto& section : file.sections) {
    if (section.kind == GridSection::Kind::kExclude || section.kind == GridSection::Kind::kTable) {
      continue;
    }
    if (is_for_no_run(section, grid)) continue;
    for (const auto& entry : section.entries) {
      if (section.kind != GridSection::Kind::kTune || !is_tuning_word(entry.name)) check(entry);
    }
  }
  for (const auto& entry : overrides) check(entry);
}

}  // namespace

Grid parse_grid(const std::string& text, const std::string& path, const Settings& overrides,
                const ConfigTables& tables) {
  GridFile file = read_sections(text, path, tables);
  expect_content(file);
  const bool strict = !changes_runs(overrides, tables);
  remove_overridden(file, overrides);
  const auto replacing = overriding_entries(overrides, tables);
  Grid grid;
  grid.name = file.name.empty() ? std::filesystem::path(path).stem().string() : file.name;
  grid.file = path;
  grid.text = text;
  keep_runs(grid, expand(file, replacing, tables, strict), file, tables, strict);
  grid.tune = read_tuning(file, grid.name, tables);
  check_tuning(grid, file, tables);
  if (strict) check_tune_sections(grid, file);
  for (const auto& section : file.sections) {
    if (section.kind == GridSection::Kind::kTable) {
      grid.tables.push_back({section.name, section.settings});
    }
  }
  check_use(grid, file, replacing, tables, strict);
  return grid;
}

Grid read_grid(const std::string& path, const Settings& overrides, const ConfigTables& tables) {
  std::string text;
  try {
    text = read_file(path);
  } catch (const DataError& error) {
    throw ConfigError(std::string(error.what()) + "; give the path of a grid file");
  }
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.rfind(kByteOrderMark, 0) == 0) text.erase(0, kByteOrderMark.size());
  if (text.find('\0') != std::string::npos) {
    throw ConfigError(path + " is no text in UTF-8; a grid file has lines NAME = VALUE");
  }
  if (trim(text).empty()) {
    throw ConfigError(path +
                      " is empty; a grid file has lines NAME = VALUE, as those in experiments/");
  }
  return parse_grid(text, path, overrides, tables);
}

}  // namespace tandem
