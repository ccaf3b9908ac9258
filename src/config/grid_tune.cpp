#include "config/grid_tune.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "config/grid_file.h"
#include "config/part.h"
#include "core/error.h"
#include "core/philox.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr std::int64_t kStrata = 8;

bool is_number(const Option& option) {
  return option.type == OptionType::kInt || option.type == OptionType::kReal;
}

// Whether the text means a range, not a list: an option of integers has ranges as lists too.
bool means_range(const Option& option, const std::string& text, bool drawn) {
  if (!is_number(option) || text.find("..") == std::string::npos) return false;
  if (option.type == OptionType::kReal) return true;
  return drawn && text.find(',') == std::string::npos && text.find(':') == std::string::npos;
}

[[noreturn]] void refuse_axis(const Option& option, const std::string& text,
                              const std::string& why) {
  throw ConfigError(fmt::format("option '{}': '{}' is no range: {}", option.name, text, why));
}

// LOW .. HIGH, with "linear" or "log" after it.
void parse_range(const Option& option, const std::string& text, TuneAxis& axis,
                 const ConfigTables& tables) {
  const auto dots = text.find("..");
  std::string rest = trim(text.substr(dots + 2));
  const auto space = rest.find_first_of(" \t");
  const std::string scale = space == std::string::npos ? "log" : trim(rest.substr(space));
  rest = rest.substr(0, space);
  const auto low = parse_real(trim(text.substr(0, dots))), high = parse_real(rest);
  if (!low || !high) {
    refuse_axis(option, text, "expected LOW .. HIGH or LOW .. HIGH linear, as in 0.01 .. 1");
  }
  if (scale != "log" && scale != "linear") {
    refuse_axis(option, text, "'" + scale + "' is no scale; expected linear or log (the default)");
  }
  axis.linear = scale == "linear";
  axis.low = *low;
  axis.high = *high;
  if (!(axis.low < axis.high)) refuse_axis(option, text, "its first end must be below its second");
  if (!axis.linear && axis.low <= 0) {
    refuse_axis(option, text,
                "a logarithmic range begins above 0; add the word linear for a linear one");
  }
  canonical_value(option, trim(text.substr(0, dots)), *tables.parts);
  canonical_value(option, rest, *tables.parts);
}

double three_digits(double value) { return *parse_real(fmt::format("{:.3g}", value)); }

double value_at(const TuneAxis& axis, double place) {
  return axis.linear ? axis.low + (axis.high - axis.low) * place
                     : axis.low * std::pow(axis.high / axis.low, place);
}

// Prefixes what the options say of a bad value with file and line.
template <class Work>
auto located(const GridFile& file, int line, const Work& work) {
  try {
    return work();
  } catch (const ConfigError& error) {
    file.fail(line, error.what());
  }
}

// What holds for all methods alike.
void read_word(Tuning& tuning, const GridEntry& entry, const GridFile& file,
               const ConfigTables& tables) {
  if (entry.name == "seeds") {
    tuning.seeds = located(file, entry.line, [&] {
      return grid_values(tables.options->at("seed"), entry.text, tables);
    });
    return;
  }
  const bool trials = entry.name == "trials";
  const auto number = parse_integer(entry.text);
  if (!number || *number < (trials ? 2 : 0)) {
    file.fail(entry.line, fmt::format("{} = {}: expected an integer, {} or more", entry.name,
                                      entry.text, trials ? 2 : 0));
  }
  if (trials) {
    tuning.trials = *number;
  } else {
    tuning.key = stream_key(static_cast<std::uint64_t>(*number), "tune");
  }
}

TuneSection read_section(const GridSection& section, bool drawn, const GridFile& file,
                         const ConfigTables& tables) {
  TuneSection read;
  for (const auto& entry : section.conditions) read.when.push_back({entry.name, entry.values});
  for (const auto& entry : section.entries) {
    if (is_tuning_word(entry.name)) continue;
    read.axes.push_back(located(file, entry.line, [&] {
      return parse_axis(tables.options->at(entry.name), entry.text, drawn, tables);
    }));
    read.axes.back().line = entry.line;
  }
  return read;
}

std::string condition_text(const std::vector<TuneCondition>& when) {
  std::vector<std::string> parts;
  for (const auto& each : when) parts.push_back(each.option + "=" + join(each.any_of, "|"));
  return join(parts, ", ");
}

}  // namespace

double TuneAxis::to_unit(double value) const {
  if (linear) return (value - low) / (high - low);
  if (value <= 0) return -std::numeric_limits<double>::infinity();
  return std::log(value / low) / std::log(high / low);
}

std::string TuneAxis::from_unit(double where, double from, double to) const {
  double least = value_at(*this, from), most = value_at(*this, to);
  if (minimum) least = std::max(least, *minimum);
  if (maximum) most = std::min(most, *maximum);
  const double value = std::clamp(three_digits(value_at(*this, where)), least, most);
  return integer ? std::to_string(std::llround(value)) : real_to_text(value);
}

std::string describe(const TuneAxis& axis) {
  if (!axis.is_range()) return fmt::format("{} {{{}}}", axis.name, join(axis.values, ", "));
  return fmt::format("{} {}..{}{}", axis.name, real_to_text(axis.low), real_to_text(axis.high),
                     axis.linear ? " (linear)" : "");
}

TuneAxis parse_axis(const Option& option, const std::string& text, bool drawn,
                    const ConfigTables& tables) {
  TuneAxis axis{.name = option.name, .minimum = option.minimum, .maximum = option.maximum};
  axis.integer = option.type == OptionType::kInt;
  if (!means_range(option, text, drawn)) {
    axis.values = grid_values(option, text, tables);
    return axis;
  }
  if (!drawn) {
    refuse_axis(
        option, text,
        "nothing says how many points are drawn from it; give trials = N in [tune], or a list");
  }
  if (text.find(',') != std::string::npos) {
    refuse_axis(option, text, "a range stands alone, not in a list");
  }
  parse_range(option, text, axis, tables);
  return axis;
}

// Blocks of eight are Latin: their strata are a random order of the eighths.
double tune_draw(std::uint64_t key, std::int64_t i) {
  const auto index = static_cast<std::uint64_t>(i);
  const std::uint64_t block = index / kStrata, own = index % kStrata;
  const RandomStream order{sub_key(key, 2 * block)}, inside{sub_key(key, 2 * block + 1)};
  std::uint64_t rank = 0;
  for (std::uint64_t other = 0; other < kStrata; ++other) {
    rank += std::pair(order.bits(other), other) < std::pair(order.bits(own), own);
  }
  return (static_cast<double>(rank) + inside.uniform(own)) / static_cast<double>(kStrata);
}

bool TuneSection::holds_for(const Config& run) const {
  return std::all_of(when.begin(), when.end(), [&](const TuneCondition& each) {
    return std::find(each.any_of.begin(), each.any_of.end(), run.text(each.option)) !=
           each.any_of.end();
  });
}

std::vector<TuneAxis> Tuning::axes_of(const Config& run, const ConfigTables& tables) const {
  std::vector<TuneAxis> axes;
  for (const TuneSection& section : sections) {
    if (!section.holds_for(run)) continue;
    for (const TuneAxis& axis : section.axes) {
      if (!reads(run, axis.name, tables)) continue;
      const auto same = std::find_if(axes.begin(), axes.end(),
                                     [&](const auto& other) { return other.name == axis.name; });
      if (same == axes.end()) {
        axes.push_back(axis);
      } else {
        *same = axis;
      }
    }
  }
  return axes;
}

Tuning read_tuning(const GridFile& file, const std::string& name, const ConfigTables& tables) {
  Tuning tuning;
  tuning.key = stream_key(0, name);
  for (const auto& section : file.sections) {
    if (section.kind != GridSection::Kind::kTune) continue;
    for (const auto& entry : section.entries) {
      if (!is_tuning_word(entry.name)) continue;
      if (!section.conditions.empty()) {
        file.fail(entry.line,
                  fmt::format("'{}' is the same for every method; give it in a [tune] section "
                              "without conditions",
                              entry.name));
      }
      read_word(tuning, entry, file, tables);
    }
  }
  for (const auto& section : file.sections) {
    if (section.kind != GridSection::Kind::kTune) continue;
    TuneSection read = read_section(section, tuning.trials > 0, file, tables);
    if (!read.axes.empty()) tuning.sections.push_back(std::move(read));
  }
  return tuning;
}

std::string describe(const Tuning& tuning) {
  std::vector<std::string> parts;
  for (const TuneSection& section : tuning.sections) {
    std::vector<std::string> axes;
    for (const TuneAxis& axis : section.axes) axes.push_back(describe(axis));
    const std::string when = condition_text(section.when);
    parts.push_back((when.empty() ? "" : when + ": ") + join(axes, ", "));
  }
  return join(parts, "; ");
}

bool reads(const Config& run, const std::string& name, const ConfigTables& tables) {
  if (!tables.options->at(name).of_part) return true;
  const auto& kinds = part_kinds();
  return std::any_of(kinds.begin(), kinds.end(), [&](const std::string& kind) {
    if (tables.options->find(kind) == nullptr) return false;
    const auto& uses = tables.parts->at(kind, run.text(kind)).uses;
    return std::find(uses.begin(), uses.end(), name) != uses.end();
  });
}

}  // namespace tandem
