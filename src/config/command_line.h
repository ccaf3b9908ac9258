// The command line, through Boost.Program_options: --snake-case or --snake_case, VALUE after a
// space or '='; flags as --flag, --flag=false or --flag false. Values stay as said:
// canonical_value() judges them. What this prints writes options as they are typed, with hyphens;
// in files and in the database they have underscores.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/option.h"

namespace tandem {

struct ParsedArguments {
  Settings settings;                     // options of the table
  Settings extra;                        // options that only this subcommand has
  std::vector<std::string> positionals;  // what begins with no dash, or follows "--"
};

// Throws ConfigError for an unknown option (with the nearest names), a missing value or an option
// given twice. Defaults of options that nobody gave are not filled in.
ParsedArguments parse_arguments(const std::vector<std::string>& args,
                                const std::vector<Option>& extra = {},
                                const ConfigTables& tables = program_tables());

// For subcommands without positionals: options of the table and extra ones in one map.
Settings parse_settings(const std::vector<std::string>& args, const std::vector<Option>& extra = {},
                        const ConfigTables& tables = program_tables());

// The value of an extra option in canonical text: as given, or its default.
std::string extra_value(const ParsedArguments& parsed, const Option& option);

// One entry per option, by group: name, what it takes, default, unit, help, who reads it.
std::string options_help(const std::vector<Option>& extra = {},
                         const ConfigTables& tables = program_tables());
// The options of a run that most people need, a line each.
std::string short_options_help(const std::vector<Option>& extra = {},
                               const ConfigTables& tables = program_tables());

// "--weight-decay" of weight_decay.
std::string as_typed(const std::string& option_name);
// A message about options as one about the command line: option 'weight_decay' becomes option
// '--weight-decay'.
std::string words_of_command_line(const std::string& message);

}  // namespace tandem
