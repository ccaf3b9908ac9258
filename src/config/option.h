// One definition of each option. It serves the command line, grid files, --help, the canonical form
// and the database row. An option is declared once, in options.cpp or in the file of the part
// (method, strategy, ...) that brings it.
//
// default and neutral differ: *default* is what a run gets when nobody says anything and may change
// (which makes new ids); *neutral* is permanent, and a key is left out of the canonical form
// exactly where its value equals it, so that a new option leaves old ids as they are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tandem {

enum class OptionType { kInt, kReal, kText, kChoice, kFlag, kIntList, kRealList };

enum class OptionScope {
  kRun,      // part of a run's identity
  kProgram,  // how the program executes (paths, device, jobs): never part of it
};

struct Option {
  std::string name;  // snake_case; the command line also takes --snake-case
  OptionType type = OptionType::kText;
  std::string default_value;
  std::string neutral;
  std::string help;
  std::string unit = "";
  std::optional<double> minimum = {}, maximum = {};
  std::vector<std::string> choices = {};  // for kChoice that no part registry fills
  bool or_list = false;  // of kChoice: a list of integers may stand in the place of a choice
  OptionScope scope = OptionScope::kRun;
  bool of_part = false;      // read only by the parts that list it in Part::uses
  bool per_replica = false;  // may differ inside a group of replicas
  // Counts steps from one event to the next, or those of a warm-up, so that it grows with the run
  // where --match stretches it.
  bool stretches = false;
  // Of kProgram: it names what a run reads, and not the name but the content is part of the run's
  // identity, by another option. It may be an axis of a grid.
  bool names_input = false;
  std::string group = "";  // heading in the help text
  // What to say in its place. A retired option keeps its meaning in the canonical forms that hold
  // it, so that stored runs stay what they are; nobody may say it any more and no help shows it.
  std::string retired = "";
};

class PartTable;
std::uint64_t next_table_state();  // counts up

// A table of options. The program has one; tests make their own.
class OptionTable {
 public:
  OptionTable() = default;
  explicit OptionTable(std::vector<Option> options);
  // Brings default and neutral into canonical form. A name that is taken or malformed, or a default
  // that the option itself refuses, is our own mistake: std::logic_error, which aborts with its
  // text where the declaration is a static one.
  void declare(Option option);

  const std::vector<Option>& all() const { return options_; }
  const Option* find(const std::string& name) const;
  const Option& at(const std::string& name) const;  // throws ConfigError as option() does
  // The same for what a user says: throws also where the option is retired, with what to say now.
  const Option& sayable(const std::string& name) const;
  // A number that no other content of a table in this process has.
  std::uint64_t state() const { return state_; }

 private:
  std::uint64_t state_ = next_table_state();
  std::vector<Option> options_;
  std::map<std::string, std::size_t> index_;
};
OptionTable& option_table();  // starts with engine_options()

// The table of all options. Declaring a name twice aborts and names it.
const std::vector<Option>& all_options();
const Option* find_option(const std::string& name);
// Throws ConfigError that lists the nearest names and says how to list all.
const Option& option(const std::string& name);
bool declare_option(Option option);  // for static registration in a part's file

// Text in canonical form: integers decimal, reals by shortest round trip with -0 as 0, flags true
// or false, lists joined by ','. Throws ConfigError naming the option, the text and what was
// expected.
std::string canonical_value(const Option& option, const std::string& text);
// The same with the names of an explicit table of parts for the options that select one.
std::string canonical_value(const Option& option, const std::string& text, const PartTable& parts);
// The form alone: neither range nor choices are asked.
std::string canonical_form(const Option& option, const std::string& text);

// Throws ConfigError that lists the nearest names of those that may be said.
[[noreturn]] void refuse_unknown_option(const std::string& name,
                                        const std::vector<Option>& options);

bool is_list(OptionType type);
// seed, seed_init, ...: what tells the repetitions of one run apart.
bool is_seed(const std::string& option_name);
// The same, and the content of the net that a repetition begins with, which may be its own.
bool is_of_repetition(const std::string& option_name);
// The option says something of the runs: of their identity, or what they read.
bool is_of_runs(const Option& option);
// For --help and error messages: "int >= 1", "one of a | b", "real 0..1", "list of ints", ...
std::string describe_domain(const Option& option, const PartTable& parts);

}  // namespace tandem
