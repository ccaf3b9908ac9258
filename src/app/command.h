// A subcommand: one file of src/app that registers itself.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/option.h"
#include "core/error.h"

namespace tandem {

using Arguments = std::vector<std::string>;

struct Command {
  std::string name;
  std::string summary;                          // one line for `tandem --help`
  std::string usage;                            // lines after "usage: "
  std::string text = {};                        // what --help says beyond the options
  std::function<std::string()> late_text = {};  // more of it, known once all parts are registered
  std::vector<Option> options = {};             // those that only this command has
  bool takes_config = false;  // --help lists options of a run as well, --help-all all of them
  bool hidden = false;        // not in `tandem --help`
  std::function<ExitCode(const Arguments&)> run;
};

// A name that is taken is our own mistake: std::logic_error.
bool declare_command(Command command);
std::vector<const Command*> all_commands();  // sorted by name
// Throws ConfigError with the nearest names.
const Command& find_command(const std::string& name);

// What was compared is not alike: replay, check.
constexpr ExitCode kExitDiffers = kExitStore;

// --format of a command that prints rows, for parse_query_format().
Option format_option();

// --format of a command that prints tables: the names of table_writers().
Option table_format_option();

// An option of a command that takes any text and is empty unless it is said.
Option text_option(const char* name, const char* help);

std::string program_help();
std::string command_help(const Command& command, bool all = false);
std::string version_text();

// Sends on what was printed. Throws StoreError, once, where it can't be written: nothing may be
// lost unsaid.
void flush_output();

}  // namespace tandem
