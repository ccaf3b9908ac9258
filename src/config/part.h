// The facts of one registered thing: a weights or attention method, a strategy, a scenario, a
// model, an optimizer, a data set. Its kind is the name of the option that selects it. Registration
// happens in the thing's own file; a duplicate name aborts and names both files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

// TANDEM_REGISTERED = criteria().add(...); registers something before main() begins. The name of
// the object differs at each use, since several files of a layer may be compiled as one.
#define TANDEM_JOIN_(a, b) a##b
#define TANDEM_JOIN(a, b) TANDEM_JOIN_(a, b)
#define TANDEM_REGISTERED [[maybe_unused]] const bool TANDEM_JOIN(registered_, __COUNTER__)

namespace tandem {

struct Part {
  std::string kind;  // "weights", "attention", "strategy", "scenario", "model", "optimizer", "data"
  std::string name;  // value of that option
  std::string summary;  // one line for `tandem list`
  std::string cite;     // arXiv id or short reference; empty for a control
  int revision = 1;     // raised when its results change; part of a run's id
  // Options it sets unless told; one that others of its kind read and it doesn't is fixed so.
  std::vector<std::pair<std::string, std::string>> defaults = {};
  std::vector<std::string> uses = {};  // of_part options it reads
  std::string file = {};               // where it is registered
  // An attention method whose runs train the sparse stream and never the full one: what `own` means
  // where tables name a read-out.
  bool trains_sparse_alone = false;
};

// The kinds that an option selects, in the order in which the defaults of selected parts are laid
// over each other.
const std::vector<std::string>& part_kinds();
bool is_part_kind(const std::string& name);
// These and the kinds that no option selects by its own name: "criterion" and "attention_module"
// (named by methods), "probe" and "selector".
const std::vector<std::string>& listed_kinds();

// A table of parts. The program has one; tests make their own.
class PartTable {
 public:
  // A taken name, or an unknown kind, is our own mistake: std::logic_error that names both files.
  void declare(Part part);
  const std::vector<Part>& all() const { return parts_; }
  const Part* find(const std::string& kind, const std::string& name) const;
  const Part& at(const std::string& kind, const std::string& name) const;  // throws ConfigError
  std::vector<Part> of(const std::string& kind) const;                     // sorted by name
  std::vector<std::string> names_of(const std::string& kind) const;        // sorted
  std::uint64_t state() const { return state_; }                           // as OptionTable's

 private:
  std::uint64_t state_ = 0;
  std::vector<Part> parts_;
};
PartTable& part_table();

bool declare_part(Part part);
const std::vector<Part>& all_parts();
std::vector<Part> parts_of(const std::string& kind);  // sorted by name
// Throws ConfigError listing the nearest and all valid names.
const Part& part(const std::string& kind, const std::string& name);

// A registry of factories beside the facts. One per kind, in a function-local static.
template <class Factory>
class Registry {
 public:
  bool add(Part facts, Factory factory) {
    factories_.emplace(facts.name, std::move(factory));
    return declare_part(std::move(facts));
  }
  // Throws ConfigError through part() for an unknown name.
  const Factory& at(const std::string& kind, const std::string& name) const {
    part(kind, name);
    return factories_.at(name);
  }
  const std::map<std::string, Factory>& all() const { return factories_; }

 private:
  std::map<std::string, Factory> factories_;
};

}  // namespace tandem
