// A resolved configuration of one run: every option has a value in canonical text.
//
// Resolution: option defaults, then the defaults of the selected parts (data, model, optimizer,
// scenario, strategy, attention, weights; later ones win), then what the user gave. An of_part
// option that no selected part uses takes its neutral value, so that it can't split equal runs; or
// what a selected part fixes it at, by a default for an option that others of its kind read.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tandem {

using Settings = std::map<std::string, std::string>;  // what a user gave: option name -> text

class OptionTable;
class PartTable;

// The engine's revision: raised when the step itself changes results.
constexpr int kEngineRevision = 1;

// What a config is resolved against: the program's tables, or a test's own.
struct ConfigTables {
  const OptionTable* options;
  const PartTable* parts;
  int engine_revision = kEngineRevision;
};
ConfigTables program_tables();

class Config {
 public:
  Config() = default;  // has no option; to be assigned to
  // Throws ConfigError for an unknown name, a bad value, or (with strict) a setting that no
  // selected part uses; without strict such a setting is dropped. resolve(config.values()) is the
  // same config again: the neutral value may be said where nothing uses the option.
  static Config resolve(const Settings& given, bool strict = true,
                        const ConfigTables& tables = program_tables());
  // The inverse of canonical(), revisions included. kProgram options take their defaults.
  static Config from_canonical(const std::string& canonical,
                               const ConfigTables& tables = program_tables());

  // Values by name; std::logic_error for a name that no option has or a value of another type.
  const std::string& text(const std::string& name) const;
  std::int64_t integer(const std::string& name) const;
  double real(const std::string& name) const;
  bool flag(const std::string& name) const;
  std::vector<std::int64_t> integers(const std::string& name) const;
  std::vector<double> reals(const std::string& name) const;

  // Null where no option has the name.
  const std::string* find(const std::string& name) const;
  Settings values() const;  // a copy, of every option
  // The same without a copy, in the order of names.
  using Visit = std::function<void(const std::string& name, const std::string& value)>;
  void visit_values(const Visit& visit) const;
  // A short text by which what follows from values can be kept: two configs of this process have it
  // in common only where all values are equal but those of the options that are `left_out`. It is
  // made of what a config has of its own, and so in a fraction of the time that visiting all takes.
  std::string likeness(const std::function<bool(const std::string& name)>& left_out) const;
  bool was_given(const std::string& name) const;
  Settings given() const;

  // "tandem-config v1\n", then sorted "key=value\n" of the kRun options that differ from neutral,
  // then "revision.engine=N\n" and "revision.KIND.NAME=N\n" of the selected parts that are not 1.
  // Made anew at each call.
  std::string canonical() const;
  std::string id() const;  // SHA-256 of canonical(), 64 hex digits

 private:
  struct Body;
  explicit Config(std::shared_ptr<const Body> body) : body_(std::move(body)) {}

  std::shared_ptr<const Body> body_;  // never changed, so that copies share it
};

inline std::string short_id(const std::string& id) { return id.substr(0, 12); }

}  // namespace tandem
