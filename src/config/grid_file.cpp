// Reading of grid files line by line. '#' and ';' start a comment at the beginning of a line or
// after a space.
#include "config/grid_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::int64_t kLongestRange = 100'000;

std::string without_comment(const std::string& line) {
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool starts = i == 0 || line[i - 1] == ' ' || line[i - 1] == '\t';
    if (starts && (line[i] == '#' || line[i] == ';')) return line.substr(0, i);
  }
  return line;
}

// At separators outside of braces; a part that is one brace group loses its braces.
std::vector<std::string> split_outside_braces(const std::string& what, const std::string& text,
                                              char separator) {
  std::vector<std::string> parts = {""};
  int depth = 0;
  for (const char c : text) {
    depth += c == '{' ? 1 : c == '}' ? -1 : 0;
    if (depth < 0 || depth > 1) break;
    if (c == separator && depth == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (depth != 0) {
    throw ConfigError(
        fmt::format("{}: the braces in '{}' don't pair; write {{a,b}}, {{c}}", what, text));
  }
  for (auto& part : parts) {
    part = trim(part);
    if (part.size() >= 2 && part.front() == '{' && part.back() == '}') {
      part = trim(part.substr(1, part.size() - 2));
    }
  }
  return parts;
}

bool append_range(const Option& option, const std::string& text, std::vector<std::string>& to) {
  const auto dots = text.find("..");
  if (option.type != OptionType::kInt || dots == std::string::npos) return false;
  const auto colon = text.find(':', dots);
  const auto first = parse_integer(trim(text.substr(0, dots)));
  const auto last = parse_integer(trim(
      text.substr(dots + 2, colon == std::string::npos ? std::string::npos : colon - dots - 2)));
  const auto step = colon == std::string::npos ? std::optional<std::int64_t>(1)
                                               : parse_integer(trim(text.substr(colon + 1)));
  if (!first || !last || !step || *step < 1 || *last < *first) {
    throw ConfigError(fmt::format(
        "option '{}': '{}' is no range; expected FIRST..LAST or FIRST..LAST:STEP, rising, as in "
        "1..5 or 1..9:2",
        option.name, text));
  }
  const auto count = (static_cast<std::uint64_t>(*last) - static_cast<std::uint64_t>(*first)) /
                     static_cast<std::uint64_t>(*step);
  if (count >= static_cast<std::uint64_t>(kLongestRange)) {
    throw ConfigError(fmt::format("option '{}': the range '{}' has more than {} values; shorten it",
                                  option.name, text, kLongestRange));
  }
  for (std::uint64_t i = 0; i <= count; ++i) {
    to.push_back(std::to_string(*first + static_cast<std::int64_t>(i) * *step));
  }
  return true;
}

std::string snake(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class Reader {
 public:
  Reader(const std::string& path, const ConfigTables& tables) : tables_(tables) {
    file_.path = path;
    file_.sections.emplace_back();
  }

  void read(const std::string& raw) {
    ++line_;
    const std::string line = trim(without_comment(raw));
    if (line.empty()) return;
    if (line.front() == '[') {
      open_section(line);
    } else {
      add_entry(line);
    }
  }
  GridFile take() { return std::move(file_); }

 private:
  using Kind = GridSection::Kind;

  // Prefixes what the options say of a bad value with file and line.
  template <class Work>
  auto located(const Work& work) const {
    try {
      return work();
    } catch (const ConfigError& error) {
      file_.fail(line_, error.what());
    }
  }

  void open_section(const std::string& line) {
    if (line.back() != ']') file_.fail(line_, "'" + line + "' lacks its closing ']'");
    const std::string inside = trim(line.substr(1, line.size() - 2));
    const auto space = inside.find_first_of(" \t");
    const std::string word = inside.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : trim(inside.substr(space));
    GridSection section;
    section.line = line_;
    if (word == "when") {
      section.kind = Kind::kWhen;
      section.conditions = conditions(word, rest);
    } else if (word == "exclude") {
      section.kind = Kind::kExclude;
    } else if (word == "tune") {
      section.kind = Kind::kTune;
      if (rest.empty()) {
        refuse_second(Kind::kTune, "");
      } else {
        section.conditions = conditions(word, rest);
      }
    } else if (word == "table") {
      section.kind = Kind::kTable;
      section.name = rest;
      if (rest.empty()) file_.fail(line_, "a table needs a name: [table NAME]");
      refuse_second(Kind::kTable, rest);
    } else {
      file_.fail(line_, did_you_mean("section", word, {"when", "exclude", "tune", "table"}));
    }
    if (word == "exclude" && !rest.empty()) {
      file_.fail(line_, fmt::format("[exclude] takes nothing more, but '{}' follows", rest));
    }
    file_.sections.push_back(std::move(section));
  }

  void refuse_second(Kind kind, const std::string& name) const {
    for (const auto& section : file_.sections) {
      if (section.kind == kind && section.name == name && section.conditions.empty()) {
        file_.fail(line_, fmt::format("this section stands in line {} already", section.line));
      }
    }
  }

  // weights=rigl|set, density=0.1
  std::vector<GridEntry> conditions(const std::string& word, const std::string& text) const {
    if (text.empty())
      file_.fail(line_, "[when] needs conditions: [when weights=rigl, density=0.1]");
    const std::string section = "[" + word + "]";
    std::vector<GridEntry> found;
    for (const auto& each : split_outside_braces(section, text, ',')) {
      const auto equals = each.find('=');
      if (equals == std::string::npos) {
        file_.fail(line_, fmt::format("'{}' is no condition; expected option=value", each));
      }
      located([&] {
        const Option& option = tables_.options->sayable(snake(trim(each.substr(0, equals))));
        GridEntry condition{option.name, {}, line_};
        for (const auto& value : split_outside_braces(section, each.substr(equals + 1), '|')) {
          condition.values.push_back(canonical_value(option, value, *tables_.parts));
        }
        found.push_back(std::move(condition));
      });
    }
    return found;
  }

  void add_entry(const std::string& line) {
    const auto equals = line.find('=');
    const std::string name = snake(trim(line.substr(0, equals)));
    if (equals == std::string::npos || name.empty()) {
      file_.fail(line_, fmt::format("'{}' is neither option = value nor a [section]", line));
    }
    const std::string value = trim(line.substr(equals + 1));
    GridSection& section = file_.sections.back();
    if (section.kind == Kind::kTable) {
      if (!section.settings.emplace(name, value).second) refuse_double(name);
      return;
    }
    if (section.kind == Kind::kBase && name == "name") {
      if (!file_.name.empty()) refuse_double(name);
      if (value.empty()) file_.fail(line_, "the grid's name is empty; give one or drop the line");
      if (value.ends_with(kTuningSuffix)) {
        file_.fail(line_, fmt::format("'{}' would be the name of another grid's trials; give one "
                                      "that does not end in {}",
                                      value, kTuningSuffix));
      }
      file_.name = value;
      return;
    }
    for (const auto& entry : section.entries) {
      if (entry.name == name) refuse_double(name);
    }
    if (section.kind == Kind::kTune) {
      check_tuned(name);
      section.entries.push_back({name, {}, line_, value});
    } else {
      section.entries.push_back({name, values_of(name, value), line_});
    }
  }

  void check_tuned(const std::string& name) const {
    if (is_tuning_word(name)) return;
    located([&] {
      if (tables_.options->sayable(name).scope != OptionScope::kProgram) return;
      throw ConfigError(fmt::format("option '{}' is none of a run's and can't be tuned", name));
    });
  }

  std::vector<std::string> values_of(const std::string& name, const std::string& text) const {
    return located([&] {
      const Option& option = tables_.options->sayable(name);
      auto values = grid_values(option, text, tables_);
      if (!is_of_runs(option) && values.size() > 1) {
        throw ConfigError(fmt::format("option '{}' is none of a run's and can't be an axis", name));
      }
      return values;
    });
  }

  [[noreturn]] void refuse_double(const std::string& name) const {
    file_.fail(line_, fmt::format("'{}' stands twice in this section; keep one", name));
  }

  const ConfigTables& tables_;
  GridFile file_;
  int line_ = 0;
};

}  // namespace

bool is_tuning_word(const std::string& name) {
  return name == "seeds" || name == "trials" || name == "tune_seed";
}

void GridFile::fail(int line, const std::string& message) const {
  throw ConfigError(fmt::format("{}:{}: {}", path, line, message));
}

std::vector<std::string> grid_values(const Option& option, const std::string& text,
                                     const ConfigTables& tables) {
  const bool one_list = is_list(option.type) && text.find('{') == std::string::npos;
  std::vector<std::string> values;
  for (const auto& part : one_list
                              ? std::vector<std::string>{text}
                              : split_outside_braces("option '" + option.name + "'", text, ',')) {
    if (!append_range(option, part, values)) values.push_back(part);
  }
  for (auto& value : values) value = canonical_value(option, value, *tables.parts);
  return values;
}

GridFile read_sections(const std::string& text, const std::string& path,
                       const ConfigTables& tables) {
  Reader reader(path, tables);
  for (const auto& line : split(text, '\n')) reader.read(line);
  GridFile file = reader.take();
  for (const auto& section : file.sections) {
    if (section.kind == GridSection::Kind::kExclude && section.entries.empty()) {
      file.fail(section.line, "[exclude] without a line would leave out every run; drop it");
    }
  }
  return file;
}

}  // namespace tandem
