// A resolved configuration of one run: every option has a value in canonical text.
//
// Resolution: option defaults, then the defaults of the selected parts (data, model, optimizer,
// scenario, strategy, attention, weights; later ones win), then what the user gave. An of_part
// option that no selected part uses takes its neutral value, so that it can't split equal runs; or
// what a selected part fixes it at, by a default for an option that others of its kind read.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace tandem {

using Settings = std::map<std::string, std::string>;  // what a user gave: option name -> text

class OptionTable;
class PartTable;

// Settings of many configs that differ in a few: a base that alike ones share, and what differs, so
// that a grid of 100,000 runs takes a fraction of a kilobyte for each. Copies are cheap.
class SharedSettings {
 public:
  SharedSettings() = default;
  // Settings with one `key` and the same names share a base, whoever makes them.
  SharedSettings(std::string key, const Settings& settings);
  const std::string* find(const std::string& name) const;
  Settings all() const;
  // Calls visit(name, value) in the order of names, without a copy of them all.
  template <class Visit>
  void visit(const Visit& visit) const {
    if (base_ == nullptr) return;
    auto own = own_.begin();
    for (const auto& [name, shared] : *base_) {
      const bool differs = own != own_.end() && own->first == &name;
      visit(name, differs ? own->second : shared);
      if (differs) ++own;
    }
  }

 private:
  std::shared_ptr<const Settings> base_;
  std::vector<std::pair<const std::string*, std::string>> own_;  // names of the base, ascending
};

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
  const std::string* find(const std::string& name) const { return values_.find(name); }
  Settings values() const { return values_.all(); }  // a copy, of every option
  // The same without a copy: visit(name, value).
  template <class Visit>
  void visit_values(const Visit& visit) const {
    values_.visit(visit);
  }
  bool was_given(const std::string& name) const { return given_.find(name) != nullptr; }
  Settings given() const { return given_.all(); }

  // "tandem-config v1\n", then sorted "key=value\n" of the kRun options that differ from neutral,
  // then "revision.engine=N\n" and "revision.KIND.NAME=N\n" of the selected parts that are not 1.
  const std::string& canonical() const { return canonical_; }
  std::string id() const { return id_; }  // SHA-256 of canonical(), 64 hex digits

 private:
  void hold(const Settings& values, const Settings& given, std::string canonical);

  SharedSettings values_, given_;
  std::string canonical_, id_;
};

inline std::string short_id(const std::string& id) { return id.substr(0, 12); }

}  // namespace tandem
