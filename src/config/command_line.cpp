// Command-line parsing and the help text, both from the table of options.
#include "config/command_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/program_options.hpp>

#include "config/part.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

namespace po = boost::program_options;

const Option* find_in(const std::vector<Option>& options, const std::string& name) {
  const auto at = std::find_if(options.begin(), options.end(),
                               [&](const Option& each) { return each.name == name; });
  return at == options.end() ? nullptr : &*at;
}

[[noreturn]] void refuse_missing_value(const std::string& name) {
  throw ConfigError(fmt::format("option '{0}' needs a value: {0} VALUE", as_typed(name)));
}

// What may follow a flag as its value; 0 and 1 may be something else's first digits, and need '='.
bool is_flag_value(const std::string& word) {
  constexpr const char* kWords[] = {"true", "false", "yes", "no", "on", "off"};
  return std::find(std::begin(kWords), std::end(kWords), word) != std::end(kWords);
}

// What Boost.Program_options doesn't do by itself: names in snake_case, flags that take the
// next word only where it can be their value, empty values after '=', and no option as another
// one's value.
std::vector<std::string> normalized(const std::vector<std::string>& args,
                                    const std::vector<Option>& options) {
  std::vector<std::string> result;
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--") {
      result.insert(result.end(), args.begin() + static_cast<std::ptrdiff_t>(i), args.end());
      break;
    }
    if (args[i].rfind("--", 0) != 0) {
      result.push_back(args[i]);
      continue;
    }
    const auto equals = args[i].find('=');
    std::string name = args[i].substr(2, equals == std::string::npos ? equals : equals - 2);
    std::replace(name.begin(), name.end(), '-', '_');
    const Option* option = find_in(options, name);
    if (equals != std::string::npos) {
      result.push_back("--" + name);
      result.push_back(args[i].substr(equals + 1));
      if (option != nullptr && option->type == OptionType::kFlag && result.back().empty()) {
        refuse_missing_value(name);
      }
    } else {
      result.push_back("--" + name);
      if (option == nullptr) continue;
      if (option->type == OptionType::kFlag) {
        const bool said = i + 1 < args.size() && is_flag_value(args[i + 1]);
        result.push_back(said ? args[++i] : "true");
      } else if (i + 1 == args.size() || args[i + 1].rfind("--", 0) == 0) {
        refuse_missing_value(name);
      } else {
        result.push_back(args[++i]);
      }
    }
  }
  return result;
}

po::options_description describe(const std::vector<Option>& options) {
  po::options_description description;
  for (const auto& each : options) {
    description.add_options()(each.name.c_str(), po::value<std::string>());
  }
  return description;
}

std::vector<Option> all_of(const std::vector<Option>& extra, const ConfigTables& tables) {
  std::vector<Option> options = tables.options->all();
  options.insert(options.end(), extra.begin(), extra.end());
  return options;
}

// Names and proposals are spelled as on a command line.
[[noreturn]] void refuse_unknown(const std::string& name, std::vector<Option> options) {
  for (auto& each : options) each.name = as_typed(each.name);
  refuse_unknown_option(as_typed(name), options);
}

std::string without_dashes(const std::string& name) {
  return name.substr(std::min(name.find_first_not_of('-'), name.size()));
}

std::vector<po::option> parse(const std::vector<std::string>& args,
                              const std::vector<Option>& options) {
  namespace style = po::command_line_style;
  const auto description = describe(options);
  try {
    return po::command_line_parser(normalized(args, options))
        .options(description)
        .style(style::allow_long | style::long_allow_next)
        .run()
        .options;
  } catch (const po::unknown_option& error) {
    refuse_unknown(without_dashes(error.get_option_name()), options);
  } catch (const po::error& error) {
    throw ConfigError(fmt::format("the command line can't be read: {}", error.what()));
  }
}

std::string entry(const Option& option, const ConfigTables& tables) {
  std::string facts = describe_domain(option, *tables.parts);
  if (!option.unit.empty()) facts += ", " + option.unit;
  if (!option.default_value.empty()) facts += "; default " + option.default_value;
  std::string text = fmt::format("  {:<26} {}\n", as_typed(option.name), option.help);
  text += fmt::format("    {:<24} ({})\n", "", facts);
  if (!option.of_part) return text;
  std::vector<std::string> readers;
  for (const auto& each : tables.parts->all()) {
    const auto& uses = each.uses;
    if (std::find(uses.begin(), uses.end(), option.name) != uses.end()) {
      readers.push_back(each.kind + "=" + each.name);
    }
  }
  std::sort(readers.begin(), readers.end());
  if (!readers.empty()) text += fmt::format("    {:<24} read by {}\n", "", join(readers, ", "));
  return text;
}

}  // namespace

ParsedArguments parse_arguments(const std::vector<std::string>& args,
                                const std::vector<Option>& extra, const ConfigTables& tables) {
  const auto options = all_of(extra, tables);
  ParsedArguments parsed;
  const bool dashes_allowed = std::find(args.begin(), args.end(), "--") != args.end();
  for (const auto& each : parse(args, options)) {
    if (each.string_key.empty()) {
      for (const auto& value : each.value) {
        if (!dashes_allowed && value.rfind('-', 0) == 0)
          refuse_unknown(without_dashes(value), options);
      }
      parsed.positionals.insert(parsed.positionals.end(), each.value.begin(), each.value.end());
      continue;
    }
    const bool of_table = tables.options->find(each.string_key) != nullptr;
    if (of_table) tables.options->sayable(each.string_key);
    Settings& target = of_table ? parsed.settings : parsed.extra;
    if (!target.emplace(each.string_key, each.value.at(0)).second) {
      throw ConfigError(
          fmt::format("option '{}' is given twice; give it once", as_typed(each.string_key)));
    }
  }
  return parsed;
}

Settings parse_settings(const std::vector<std::string>& args, const std::vector<Option>& extra,
                        const ConfigTables& tables) {
  ParsedArguments parsed = parse_arguments(args, extra, tables);
  if (!parsed.positionals.empty()) {
    throw ConfigError(
        fmt::format("'{}' is no option; options are given as --name VALUE, flags as "
                    "--name or --name=false",
                    parsed.positionals.front()));
  }
  parsed.settings.merge(parsed.extra);
  return parsed.settings;
}

std::string extra_value(const ParsedArguments& parsed, const Option& option) {
  const auto found = parsed.extra.find(option.name);
  return canonical_value(option,
                         found == parsed.extra.end() ? option.default_value : found->second);
}

std::string as_typed(const std::string& option_name) {
  std::string typed = "--" + option_name;
  std::replace(typed.begin(), typed.end(), '_', '-');
  return typed;
}

std::string words_of_command_line(const std::string& message) {
  constexpr std::string_view kBefore = "option '";
  std::string text;
  std::size_t from = 0;
  for (std::size_t at; (at = message.find(kBefore, from)) != std::string::npos;) {
    const std::size_t begin = at + kBefore.size();
    const std::size_t end =
        message.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", begin);
    const bool is_name = end != std::string::npos && end > begin && message[end] == '\'';
    text += message.substr(from, begin - from);
    if (is_name) text += as_typed(message.substr(begin, end - begin));
    from = is_name ? end : begin;
  }
  return text + message.substr(from);
}

namespace {

struct Essentials {
  const char* heading;
  std::vector<const char*> options;
};

// What most runs say; the others are for who looks for them.
const std::vector<Essentials>& essentials() {
  static const std::vector<Essentials> groups = {
      {"what is trained",
       {"data", "model", "widths", "weights", "density", "attention", "blocks", "seed"}},
      {"how", {"steps", "epochs", "batch", "optimizer", "lr", "weight_decay"}},
      {"tasks in sequence", {"scenario", "strategy"}},
      {"what is measured", {"eval_every", "final"}},
      {"where", {"db", "device", "jobs", "data_dir"}}};
  return groups;
}

// The topic of `tandem list` that has an option's values.
std::string topic_of(const std::string& kind) {
  if (kind == "weights" || kind == "attention") return "methods";
  if (kind == "strategy") return "strategies";
  return kind == "data" ? kind : kind + "s";
}

std::string short_entry(const Option& option) {
  std::string facts;
  if (!option.default_value.empty()) facts = "default " + option.default_value;
  if (option.choices.empty() && is_part_kind(option.name)) {
    facts += "; others: `tandem list " + topic_of(option.name) + "`";
  }
  const std::string help = fmt::format("  {:<20} {}", as_typed(option.name), option.help);
  return help + (facts.empty() ? "" : " (" + facts + ")") + "\n";
}

}  // namespace

std::string short_options_help(const std::vector<Option>& extra, const ConfigTables& tables) {
  std::string text;
  for (const auto& group : essentials()) {
    text += fmt::format("{}:\n", group.heading);
    for (const char* name : group.options) {
      if (const Option* option = tables.options->find(name)) text += short_entry(*option);
    }
    text += "\n";
  }
  if (extra.empty()) return text;
  text += "this command:\n";
  for (const auto& option : extra) text += short_entry(option);
  return text + "\n";
}

std::string options_help(const std::vector<Option>& extra, const ConfigTables& tables) {
  std::vector<std::pair<std::string, std::string>> groups;
  for (const auto& each : extra) {
    if (groups.empty()) groups.emplace_back("this command", "");
    groups.front().second += entry(each, tables);
  }
  for (const auto& each : tables.options->all()) {
    if (!each.retired.empty()) continue;
    const std::string group = each.group.empty() ? "parts" : each.group;
    auto at = std::find_if(groups.begin(), groups.end(),
                           [&](const auto& known) { return known.first == group; });
    if (at == groups.end()) at = groups.insert(groups.end(), {group, ""});
    at->second += entry(each, tables);
  }
  std::string text;
  for (const auto& [group, entries] : groups) text += fmt::format("{}:\n{}\n", group, entries);
  return text;
}

}  // namespace tandem
