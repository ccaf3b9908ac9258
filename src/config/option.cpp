// The table of options and the canonical form of their values.
#include "config/option.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "config/options.h"
#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

[[noreturn]] void refuse(const Option& option, const std::string& text,
                         const std::string& expected) {
  throw ConfigError(fmt::format("option '{}': '{}' is not allowed; expected {}. {}", option.name,
                                text, expected, option.help));
}

std::string scalar_name(OptionType type) {
  return type == OptionType::kReal || type == OptionType::kRealList ? "a finite real number"
                                                                    : "an integer";
}

std::string number_form(const Option& option, const std::string& text) {
  if (option.type != OptionType::kReal && option.type != OptionType::kRealList) {
    if (const auto value = parse_integer(text)) return std::to_string(*value);
  } else if (const auto value = parse_real(text)) {
    return real_to_text(*value);
  }
  refuse(option, text, scalar_name(option.type));
}

std::string list_form(const Option& option, const std::string& text) {
  if (text.empty()) return "";
  std::vector<std::string> items;
  for (const auto& item : split(text, ',')) items.push_back(number_form(option, trim(item)));
  return join(items, ",");
}

// Begins as a list of integers does, and no choice.
bool is_listed(const Option& option, const std::string& text) {
  const char first = text.empty() ? ' ' : text[0];
  return option.or_list && ((first >= '0' && first <= '9') || first == '-');
}

std::string flag_form(const Option& option, const std::string& text) {
  for (const char* word : {"true", "yes", "on", "1"}) {
    if (text == word) return "true";
  }
  for (const char* word : {"false", "no", "off", "0"}) {
    if (text == word) return "false";
  }
  refuse(option, text, "true or false");
}

std::vector<std::string> choices_of(const Option& option, const PartTable& parts) {
  if (option.choices.empty() && is_part_kind(option.name)) return parts.names_of(option.name);
  return option.choices;
}

std::string range_of(const Option& option) {
  const auto bound = [](double value) { return real_to_text(value); };
  if (option.minimum && option.maximum) {
    return fmt::format(" {}..{}", bound(*option.minimum), bound(*option.maximum));
  }
  if (option.minimum) return fmt::format(" >= {}", bound(*option.minimum));
  if (option.maximum) return fmt::format(" <= {}", bound(*option.maximum));
  return "";
}

void check_range(const Option& option, const std::string& text) {
  const double value = *parse_real(text);
  if ((option.minimum && value < *option.minimum) || (option.maximum && value > *option.maximum)) {
    refuse(option, text, scalar_name(option.type) + range_of(option));
  }
}

void check_choice(const Option& option, const std::string& text, const PartTable& parts) {
  if (option.choices.empty() && is_part_kind(option.name)) {
    parts.at(option.name, text);
    return;
  }
  const auto& choices = option.choices;
  if (std::find(choices.begin(), choices.end(), text) == choices.end()) {
    const std::string what = "value of option '" + option.name + "':";
    throw ConfigError(option.or_list
                          ? did_you_mean(what, text, choices, "Or give a list of integers.")
                          : did_you_mean(what, text, choices));
  }
}

bool well_formed(const std::string& name) {
  return !name.empty() && name[0] >= 'a' && name[0] <= 'z' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
         });
}

}  // namespace

void refuse_unknown_option(const std::string& name, const std::vector<Option>& options) {
  std::vector<std::string> names;
  for (const auto& each : options) {
    if (each.retired.empty()) names.push_back(each.name);
  }
  throw ConfigError(did_you_mean("option", name, names, "`tandem list options` lists them all."));
}

bool is_seed(const std::string& name) { return name == "seed" || name.rfind("seed_", 0) == 0; }

bool is_of_repetition(const std::string& name) { return is_seed(name) || name == "init_hash"; }

bool is_of_runs(const Option& option) {
  return option.scope == OptionScope::kRun || option.names_input;
}

bool is_list(OptionType type) {
  return type == OptionType::kIntList || type == OptionType::kRealList;
}

std::string canonical_form(const Option& option, const std::string& raw) {
  const std::string text = trim(raw);
  if (std::any_of(text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; })) {
    refuse(option, text, "text without line ends or other control characters");
  }
  switch (option.type) {
    case OptionType::kInt:
    case OptionType::kReal:
      return number_form(option, text);
    case OptionType::kIntList:
    case OptionType::kRealList:
      return list_form(option, text);
    case OptionType::kFlag:
      return flag_form(option, text);
    case OptionType::kChoice:
      return is_listed(option, text) ? list_form(option, text) : text;
    case OptionType::kText:
      break;
  }
  return text;
}

std::string canonical_value(const Option& option, const std::string& raw, const PartTable& parts) {
  std::string text = canonical_form(option, raw);
  const bool listed = is_listed(option, text);
  if (option.type == OptionType::kChoice && !listed) {
    check_choice(option, text, parts);
  } else if (option.type == OptionType::kInt || option.type == OptionType::kReal) {
    check_range(option, text);
  } else if ((is_list(option.type) || listed) && !text.empty()) {
    for (const auto& item : split(text, ',')) check_range(option, item);
  }
  return text;
}

std::string canonical_value(const Option& option, const std::string& text) {
  return canonical_value(option, text, part_table());
}

std::string describe_domain(const Option& option, const PartTable& parts) {
  switch (option.type) {
    case OptionType::kInt:
      return "int" + range_of(option);
    case OptionType::kReal:
      return "real" + range_of(option);
    case OptionType::kIntList:
      return "list of ints" + range_of(option);
    case OptionType::kRealList:
      return "list of reals" + range_of(option);
    case OptionType::kFlag:
      return "flag";
    case OptionType::kText:
      return "text";
    case OptionType::kChoice:
      break;
  }
  const std::string choices = "one of " + join(choices_of(option, parts), " | ");
  return option.or_list ? choices + ", or a list of ints" + range_of(option) : choices;
}

std::uint64_t next_table_state() {
  static std::atomic<std::uint64_t> state{0};
  return ++state;
}

OptionTable::OptionTable(std::vector<Option> options) {
  for (auto& each : options) declare(std::move(each));
}

void OptionTable::declare(Option added) {
  if (!well_formed(added.name)) {
    throw std::logic_error(
        fmt::format("option '{}' is declared with a malformed name", added.name));
  }
  if (const Option* there = find(added.name)) {
    throw std::logic_error(fmt::format("option '{}' is declared twice: \"{}\" and \"{}\"",
                                       added.name, there->help, added.help));
  }
  const bool selects_part = added.choices.empty() && is_part_kind(added.name);
  try {
    added.default_value = selects_part ? canonical_form(added, added.default_value)
                                       : canonical_value(added, added.default_value, PartTable());
    added.neutral = canonical_form(added, added.neutral);
  } catch (const ConfigError& error) {
    throw std::logic_error(fmt::format("the declaration of an option is wrong: {}", error.what()));
  }
  index_[added.name] = options_.size();
  options_.push_back(std::move(added));
  state_ = next_table_state();
}

const Option* OptionTable::find(const std::string& name) const {
  const auto at = index_.find(name);
  return at == index_.end() ? nullptr : &options_[at->second];
}

const Option& OptionTable::at(const std::string& name) const {
  if (const Option* found = find(name)) return *found;
  refuse_unknown_option(name, options_);
}

const Option& OptionTable::sayable(const std::string& name) const {
  const Option& found = at(name);
  if (found.retired.empty()) return found;
  throw ConfigError(fmt::format("option '{}' is retired: {}", name, found.retired));
}

OptionTable& option_table() {
  static OptionTable table(engine_options());
  return table;
}

const std::vector<Option>& all_options() { return option_table().all(); }
const Option* find_option(const std::string& name) { return option_table().find(name); }
const Option& option(const std::string& name) { return option_table().at(name); }

bool declare_option(Option added) {
  option_table().declare(std::move(added));
  return true;
}

}  // namespace tandem
