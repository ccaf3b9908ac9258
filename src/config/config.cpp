// Resolution of a configuration and its canonical form.
#include "config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <unordered_map>

#include "config/option.h"
#include "config/part.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr const char* kHeader = "tandem-config v1\n";

struct Layered {
  Settings values;
  std::vector<const Part*> parts;
};

std::vector<std::string> selecting_options(const ConfigTables& tables) {
  std::vector<std::string> kinds;
  for (const auto& kind : part_kinds()) {
    if (tables.options->find(kind) != nullptr) kinds.push_back(kind);
  }
  return kinds;
}

Layered lay_once(const Settings& defaults, const Settings& selection, const Settings& given,
                 const ConfigTables& tables) {
  Layered layered{defaults, {}};
  for (const auto& kind : selecting_options(tables)) {
    const Part& chosen = tables.parts->at(kind, selection.at(kind));
    layered.parts.push_back(&chosen);
    for (const auto& [name, text] : chosen.defaults) {
      layered.values[name] = canonical_value(tables.options->at(name), text, *tables.parts);
    }
  }
  for (const auto& [name, text] : given) layered.values[name] = text;
  return layered;
}

// A part may set the default of another kind (a data set its model), so that laying is repeated
// until the selection stays.
Layered lay(const Settings& given, const ConfigTables& tables) {
  Settings defaults;
  for (const auto& each : tables.options->all()) defaults[each.name] = each.default_value;
  Settings selection = defaults;
  for (const auto& [name, text] : given) selection[name] = text;
  const auto kinds = selecting_options(tables);
  for (std::size_t round = 0; round <= kinds.size(); ++round) {
    Layered layered = lay_once(defaults, selection, given, tables);
    bool settled = true;
    for (const auto& kind : kinds) settled = settled && layered.values[kind] == selection[kind];
    if (settled) return layered;
    selection = layered.values;
  }
  throw ConfigError(
      "the defaults of the selected parts select each other in a circle; say data, model, scenario "
      "and strategy yourself");
}

std::set<std::string> used_options(const std::vector<const Part*>& parts) {
  std::set<std::string> used;
  for (const Part* each : parts) used.insert(each->uses.begin(), each->uses.end());
  return used;
}

bool is_read_by_kind(const std::string& name, const std::string& kind, const PartTable& parts) {
  return std::any_of(parts.all().begin(), parts.all().end(), [&](const Part& each) {
    return each.kind == kind &&
           std::find(each.uses.begin(), each.uses.end(), name) != each.uses.end();
  });
}

// What an option holds that no selected part reads. A part that sets an option of its own kind
// without reading it fixes it there (a byte corpus keeps its validation share at 0.1); else it is
// neutral.
std::string unread_value(const Option& option, const std::vector<const Part*>& selected,
                         const PartTable& parts) {
  for (const Part* each : selected) {
    for (const auto& [name, text] : each->defaults) {
      if (name == option.name && is_read_by_kind(name, each->kind, parts)) {
        return canonical_value(option, text, parts);
      }
    }
  }
  return option.neutral;
}

[[noreturn]] void refuse_unused(const std::string& name, const Layered& layered,
                                const ConfigTables& tables) {
  std::vector<std::string> selected, users;
  for (const Part* each : layered.parts) selected.push_back(each->kind + "=" + each->name);
  for (const auto& each : tables.parts->all()) {
    for (const auto& use : each.uses) {
      if (use == name) users.push_back(each.kind + "=" + each.name);
    }
  }
  throw ConfigError(fmt::format(
      "option '{}' is read by none of the selected parts ({}); {}", name, join(selected, ", "),
      users.empty() ? "no part reads it: leave it out"
                    : "leave it out or select one of those that read it: " + join(users, ", ")));
}

std::string canonical_lines(const Settings& values, const OptionTable& options) {
  std::string lines;
  for (const auto& [name, text] : values) {
    const Option& each = options.at(name);
    if (each.scope == OptionScope::kRun && text != each.neutral) lines += name + "=" + text + "\n";
  }
  return lines;
}

std::string revision_lines(const std::vector<const Part*>& parts, int engine_revision) {
  std::string lines;
  if (engine_revision != 1) lines += fmt::format("revision.engine={}\n", engine_revision);
  std::set<std::string> of_parts;
  for (const Part* each : parts) {
    if (each->revision == 1) continue;
    of_parts.insert(fmt::format("revision.{}.{}={}\n", each->kind, each->name, each->revision));
  }
  for (const auto& line : of_parts) lines += line;
  return lines;
}

[[noreturn]] void refuse_canonical(const std::string& why) {
  throw ConfigError("the text is no canonical config: " + why +
                    "; it must be exactly what a run's `canonical` column holds");
}

template <class Value>
Value checked(const std::string& name, const std::string& text, const std::optional<Value>& value) {
  if (value) return *value;
  throw std::logic_error(
      fmt::format("option '{}' holds '{}', which is not of the type it is read as", name, text));
}

}  // namespace

ConfigTables program_tables() { return {&option_table(), &part_table(), kEngineRevision}; }

SharedSettings::SharedSettings(std::string key, const Settings& settings) {
  static std::mutex mutex;
  static std::unordered_map<std::string, std::shared_ptr<const Settings>> bases;
  for (const auto& [name, value] : settings) key += " " + name;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    std::shared_ptr<const Settings>& base = bases[key];
    if (base == nullptr) base = std::make_shared<const Settings>(settings);
    base_ = base;
  }
  auto shared = base_->begin();
  for (const auto& [name, value] : settings) {
    if (shared->second != value) own_.emplace_back(&shared->first, value);
    ++shared;
  }
  own_.shrink_to_fit();
}

const std::string* SharedSettings::find(const std::string& name) const {
  if (base_ == nullptr) return nullptr;
  const auto own = std::lower_bound(own_.begin(), own_.end(), name,
                                    [](const auto& x, const auto& y) { return *x.first < y; });
  if (own != own_.end() && *own->first == name) return &own->second;
  const auto shared = base_->find(name);
  return shared == base_->end() ? nullptr : &shared->second;
}

Settings SharedSettings::all() const {
  Settings settings;
  visit([&settings](const std::string& name, const std::string& value) {
    settings.emplace_hint(settings.end(), name, value);
  });
  return settings;
}

namespace {

// Configs of one selection of parts are alike.
std::string selection_key(const Settings& values) {
  std::string key;
  for (const std::string& kind : part_kinds()) {
    const auto value = values.find(kind);
    if (value != values.end()) key += value->second + "/";
  }
  return key;
}

}  // namespace

void Config::hold(const Settings& values, const Settings& given, std::string canonical) {
  canonical_ = std::move(canonical);
  id_ = sha256(canonical_);
  const std::string key = selection_key(values);
  values_ = SharedSettings("values " + key, values);
  given_ = SharedSettings("given " + key, given);
}

Config Config::resolve(const Settings& said, bool strict, const ConfigTables& tables) {
  Settings given;
  for (const auto& [name, text] : said) {
    const Option& each = tables.options->at(name);
    const std::string form = canonical_form(each, text);
    const bool neutral = each.of_part && form == each.neutral;
    given[name] = neutral ? form : canonical_value(each, text, *tables.parts);
  }
  Layered layered = lay(given, tables);
  const auto used = used_options(layered.parts);
  for (const auto& each : tables.options->all()) {
    if (!each.of_part) continue;
    const std::string value = layered.values[each.name];
    if (used.count(each.name) != 0) {
      canonical_value(each, value, *tables.parts);
      continue;
    }
    const std::string unread = unread_value(each, layered.parts, *tables.parts);
    if (strict && given.count(each.name) != 0 && value != unread) {
      refuse_unused(each.name, layered, tables);
    }
    given.erase(each.name);
    layered.values[each.name] = unread;
  }
  Config config;
  config.hold(layered.values, given,
              kHeader + canonical_lines(layered.values, *tables.options) +
                  revision_lines(layered.parts, tables.engine_revision));
  return config;
}

Config Config::from_canonical(const std::string& canonical, const ConfigTables& tables) {
  const std::string header = kHeader;
  if (canonical.rfind(header, 0) != 0 || canonical.back() != '\n') {
    refuse_canonical(
        "it doesn't begin with the line 'tandem-config v1' or doesn't end its last line");
  }
  Settings given, values;
  std::string revisions;
  auto lines = split(canonical.substr(header.size()), '\n');
  lines.pop_back();
  for (const auto& line : lines) {
    const auto equals = line.find('=');
    if (equals == std::string::npos) refuse_canonical("'" + line + "' has no '='");
    if (line.rfind("revision.", 0) == 0) {
      revisions += line + "\n";
      continue;
    }
    const std::string name = line.substr(0, equals);
    given[name] = canonical_value(tables.options->at(name), line.substr(equals + 1), *tables.parts);
  }
  for (const auto& each : tables.options->all()) {
    values[each.name] = each.scope == OptionScope::kRun ? each.neutral : each.default_value;
  }
  for (const auto& [name, text] : given) values[name] = text;
  Config config;
  config.hold(values, given, header + canonical_lines(values, *tables.options) + revisions);
  if (config.canonical() != canonical) {
    refuse_canonical("its lines are unsorted, doubled, not in canonical form or at neutral values");
  }
  return config;
}

const std::string& Config::text(const std::string& name) const {
  const std::string* found = find(name);
  if (found == nullptr) throw std::logic_error(fmt::format("no option is named '{}'", name));
  return *found;
}

std::int64_t Config::integer(const std::string& name) const {
  return checked(name, text(name), parse_integer(text(name)));
}

double Config::real(const std::string& name) const {
  return checked(name, text(name), parse_real(text(name)));
}

bool Config::flag(const std::string& name) const {
  const std::string& value = text(name);
  std::optional<bool> parsed;
  if (value == "true" || value == "false") parsed = value == "true";
  return checked(name, value, parsed);
}

std::vector<std::int64_t> Config::integers(const std::string& name) const {
  std::vector<std::int64_t> values;
  if (text(name).empty()) return values;
  for (const auto& item : split(text(name), ',')) {
    values.push_back(checked(name, text(name), parse_integer(item)));
  }
  return values;
}

std::vector<double> Config::reals(const std::string& name) const {
  std::vector<double> values;
  if (text(name).empty()) return values;
  for (const auto& item : split(text(name), ',')) {
    values.push_back(checked(name, text(name), parse_real(item)));
  }
  return values;
}

}  // namespace tandem
