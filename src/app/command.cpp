// The table of subcommands and the help texts.
#include "app/command.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <stdexcept>

#include "analysis/table_writers.h"
#include "config/command_line.h"
#include "core/embedded.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr const char* kVersion = "0.1.0";

std::map<std::string, Command>& table() {
  static std::map<std::string, Command> commands;
  return commands;
}

}  // namespace

bool declare_command(Command command) {
  const std::string name = command.name;
  if (!table().emplace(name, std::move(command)).second) {
    throw std::logic_error("subcommand '" + name + "' is registered twice");
  }
  return true;
}

std::vector<const Command*> all_commands() {
  std::vector<const Command*> commands;
  for (const auto& [name, command] : table()) commands.push_back(&command);
  return commands;
}

const Command& find_command(const std::string& name) {
  const auto found = table().find(name);
  if (found != table().end()) return found->second;
  std::vector<std::string> names;
  for (const Command* each : all_commands()) {
    if (!each->hidden) names.push_back(each->name);
  }
  throw ConfigError(did_you_mean("command", name, names));
}

Option table_format_option() {
  Option option = {.name = "format",
                   .type = OptionType::kChoice,
                   .default_value = "markdown",
                   .neutral = "markdown",
                   .help = "how the table is printed; a file's ending says it"};
  for (const TableWriter& writer : table_writers()) option.choices.push_back(writer.name);
  return option;
}

Option format_option() {
  return {.name = "format",
          .type = OptionType::kChoice,
          .default_value = "table",
          .neutral = "table",
          .help = "how rows are printed",
          .choices = {"table", "csv", "json", "jsonl", "markdown"}};
}

Option text_option(const char* name, const char* help) {
  return {
      .name = name, .type = OptionType::kText, .default_value = "", .neutral = "", .help = help};
}

std::string program_help() {
  std::string text =
      "tandem: train networks through two streams, full and sparse, at two levels, attention and "
      "weights\n\nusage: tandem COMMAND [ARGUMENTS]\n\ncommands:\n";
  for (const Command* each : all_commands()) {
    if (!each->hidden) text += fmt::format("  {:<8} {}\n", each->name, each->summary);
  }
  text +=
      "\n`tandem COMMAND --help` says more. Exit codes: 0 done, 1 bug, 2 config, 3 data, 4 store, "
      "5 "
      "device, 75 stopped and resumable.\n";
  return text;
}

std::string command_help(const Command& command, bool all) {
  std::string text = fmt::format("{}\n\n", command.summary);
  for (const auto& line : split(command.usage, '\n')) text += "usage: tandem " + line + "\n";
  if (!command.text.empty()) text += "\n" + command.text + "\n";
  if (command.late_text) text += command.late_text() + "\n";
  const OptionTable none;
  ConfigTables tables = program_tables();
  if (!command.takes_config) tables.options = &none;
  if (command.takes_config && !all) {
    return text + "\n" + short_options_help(command.options) +
           fmt::format("`tandem {} --help-all` has all {} options, and what each takes.\n",
                       command.name, all_options().size() + command.options.size());
  }
  if (command.takes_config || !command.options.empty()) {
    text += "\n" + options_help(command.options, tables);
  }
  return text;
}

void flush_output() {
  static bool told = false;
  errno = 0;
  if ((std::fflush(stdout) == 0 && std::ferror(stdout) == 0) || told) return;
  told = true;
  throw StoreError(fmt::format(
      "standard output could not be written{}{}: what was printed is not complete; free some space "
      "or send it elsewhere, and say the command again",
      errno == 0 ? "" : ": ", errno == 0 ? "" : std::strerror(errno)));
}

std::string version_text() {
  const BuildInfo build = build_info();
  return fmt::format("tandem {} (revision {}{}, {})", kVersion, build.revision.substr(0, 12),
                     build.dirty ? ", changed" : "", build.compiler);
}

}  // namespace tandem
