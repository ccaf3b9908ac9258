// The table of registered parts.
#include "config/part.h"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "config/option.h"
#include "core/error.h"
#include "core/text.h"

namespace tandem {

const std::vector<std::string>& part_kinds() {
  static const std::vector<std::string> kinds = {"data",     "model",     "optimizer", "scenario",
                                                 "strategy", "attention", "weights"};
  return kinds;
}

bool is_part_kind(const std::string& name) {
  return std::find(part_kinds().begin(), part_kinds().end(), name) != part_kinds().end();
}

const std::vector<std::string>& listed_kinds() {
  static const std::vector<std::string> kinds = [] {
    auto all = part_kinds();
    all.insert(all.end(), {"criterion", "probe", "selector", "attention_module"});
    return all;
  }();
  return kinds;
}

void PartTable::declare(Part added) {
  const auto& kinds = listed_kinds();
  if (std::find(kinds.begin(), kinds.end(), added.kind) == kinds.end()) {
    throw std::logic_error(fmt::format("'{}' in {} is registered under the kind '{}'; kinds are {}",
                                       added.name, added.file, added.kind, join(kinds, ", ")));
  }
  if (const Part* there = find(added.kind, added.name)) {
    throw std::logic_error(fmt::format("{} '{}' is registered twice: in {} and in {}", added.kind,
                                       added.name, there->file, added.file));
  }
  parts_.push_back(std::move(added));
  state_ = next_table_state();
}

const Part* PartTable::find(const std::string& kind, const std::string& name) const {
  for (const auto& each : parts_) {
    if (each.kind == kind && each.name == name) return &each;
  }
  return nullptr;
}

const Part& PartTable::at(const std::string& kind, const std::string& name) const {
  if (const Part* found = find(kind, name)) return *found;
  const std::string what = is_part_kind(kind) ? "value of option '" + kind + "':" : kind;
  throw ConfigError(did_you_mean(what, name, names_of(kind)));
}

std::vector<Part> PartTable::of(const std::string& kind) const {
  std::vector<Part> found;
  for (const auto& each : parts_) {
    if (each.kind == kind) found.push_back(each);
  }
  std::sort(found.begin(), found.end(),
            [](const Part& a, const Part& b) { return a.name < b.name; });
  return found;
}

std::vector<std::string> PartTable::names_of(const std::string& kind) const {
  std::vector<std::string> names;
  for (const auto& each : parts_) {
    if (each.kind == kind) names.push_back(each.name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

PartTable& part_table() {
  static PartTable table;
  return table;
}

bool declare_part(Part added) {
  part_table().declare(std::move(added));
  return true;
}

const std::vector<Part>& all_parts() { return part_table().all(); }
std::vector<Part> parts_of(const std::string& kind) { return part_table().of(kind); }
const Part& part(const std::string& kind, const std::string& name) {
  return part_table().at(kind, name);
}

}  // namespace tandem
