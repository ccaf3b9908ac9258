// Resolution of a configuration and its canonical form.
#include "config/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
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

// Every option of a run in the order of names, as the run's parts lay it down. Configs of alike
// runs share one, so that a grid of 100,000 runs takes a fraction of a kilobyte for each.
struct ConfigBase {
  struct Entry {
    std::string name, value, neutral;
    bool of_run;  // part of the identity
  };
  std::uint64_t number = 0;    // of this process, by which bases are told apart
  std::vector<Entry> options;  // ascending names
  std::string revisions;       // the last lines of a canonical form

  // options.size() where there is none.
  std::size_t place_of(const std::string& name) const {
    const auto at =
        std::lower_bound(options.begin(), options.end(), name,
                         [](const Entry& entry, const std::string& x) { return entry.name < x; });
    const bool found = at != options.end() && at->name == name;
    return found ? static_cast<std::size_t>(at - options.begin()) : options.size();
  }
};

namespace {

constexpr const char* kHeader = "tandem-config v1\n";

std::vector<std::string> selecting_options(const ConfigTables& tables) {
  std::vector<std::string> kinds;
  for (const auto& kind : part_kinds()) {
    if (tables.options->find(kind) != nullptr) kinds.push_back(kind);
  }
  return kinds;
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

// A part's default may be an option's neutral value where nobody can say that: the part reads the
// option, and has a meaning of its own for a run that says nothing.
std::string default_value(const Option& option, const std::string& text, const PartTable& parts) {
  return text == option.neutral ? text : canonical_value(option, text, parts);
}

bool is_left_out(const Option& option, const std::vector<const Part*>& selected) {
  return std::any_of(selected.begin(), selected.end(), [&option](const Part* each) {
    return std::any_of(each->defaults.begin(), each->defaults.end(), [&option](const auto& said) {
      return said.first == option.name && said.second == option.neutral;
    });
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

[[noreturn]] void refuse_unused(const std::string& name, const std::vector<std::string>& selected,
                                const ConfigTables& tables) {
  std::vector<std::string> users;
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

// What a selection of parts makes of the options, before anybody says anything.
struct Layout {
  std::vector<std::string> selected;       // "weights=rigl", in the order of part_kinds()
  std::shared_ptr<const ConfigBase> base;  // what stands where nothing else is said
  std::set<std::string> used;              // of_part options that a part reads
  std::vector<std::string> refused;        // used ones whose own value is not allowed
};

// What follows from tables alone is made once for each selection of parts, and once for each list
// of names that are said: a grid has few of them and many runs.
class Layouts {
 public:
  const Layout& of_selection(const Settings& given, const ConfigTables& tables);
  // The base of canonical forms with these revisions: they leave out what is neutral.
  std::shared_ptr<const ConfigBase> neutral(const std::string& revisions,
                                            const ConfigTables& tables);
  std::shared_ptr<const std::vector<std::string>> names_of(const Settings& given);

 private:
  using Selection = std::map<std::string, std::string>;  // kind -> part
  struct Laid {
    Selection selected;  // what the defaults of the parts select
    Layout layout;
  };
  const Laid& lay(const Selection& selection, const ConfigTables& tables);

  std::mutex mutex_;
  std::map<std::pair<std::string, Selection>, Laid> laid_;
  std::map<std::string, Selection> defaults_;
  std::unordered_map<std::string, std::shared_ptr<const ConfigBase>> neutral_;
  std::unordered_map<std::string, std::shared_ptr<const std::vector<std::string>>> names_;
};

std::string state_of(const ConfigTables& tables) {
  return fmt::format("{} {} {}", tables.options->state(), tables.parts->state(),
                     tables.engine_revision);
}

std::shared_ptr<const ConfigBase> make_base(const Settings& values, std::string revisions,
                                            const ConfigTables& tables) {
  static std::atomic<std::uint64_t> number{0};
  auto base = std::make_shared<ConfigBase>();
  base->number = ++number;
  for (const auto& [name, value] : values) {
    const Option& option = tables.options->at(name);
    base->options.push_back({name, value, option.neutral, option.scope == OptionScope::kRun});
  }
  base->revisions = std::move(revisions);
  return base;
}

bool is_allowed(const Option& option, const std::string& value, const PartTable& parts) {
  try {
    canonical_value(option, value, parts);
    return true;
  } catch (const ConfigError&) {
    return false;
  }
}

const Layouts::Laid& Layouts::lay(const Selection& selection, const ConfigTables& tables) {
  const auto [at, added] = laid_.try_emplace({state_of(tables), selection});
  Laid& laid = at->second;
  if (!added) return laid;
  try {
    Settings values;
    for (const auto& each : tables.options->all()) values[each.name] = each.default_value;
    std::vector<const Part*> parts;
    for (const std::string& kind : selecting_options(tables)) {
      parts.push_back(&tables.parts->at(kind, selection.at(kind)));
      laid.layout.selected.push_back(kind + "=" + selection.at(kind));
    }
    for (const Part* part : parts) {
      for (const auto& [name, text] : part->defaults) {
        values[name] = default_value(tables.options->at(name), text, *tables.parts);
      }
    }
    for (const auto& [kind, name] : selection) laid.selected[kind] = values.at(kind);
    laid.layout.used = used_options(parts);
    for (const auto& each : tables.options->all()) {
      if (!each.of_part) continue;
      if (laid.layout.used.count(each.name) == 0) {
        values[each.name] = unread_value(each, parts, *tables.parts);
      } else if (!is_allowed(each, values[each.name], *tables.parts) && !is_left_out(each, parts)) {
        laid.layout.refused.push_back(each.name);
      }
    }
    for (const auto& [kind, name] : selection) values[kind] = name;
    laid.layout.base = make_base(values, revision_lines(parts, tables.engine_revision), tables);
  } catch (...) {
    laid_.erase(at);
    throw;
  }
  return laid;
}

// A part may set the default of another kind (a data set its model), so that laying is repeated
// until the selection stays.
const Layout& Layouts::of_selection(const Settings& given, const ConfigTables& tables) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto [defaults, added] = defaults_.try_emplace(state_of(tables));
  if (added) {
    for (const auto& kind : selecting_options(tables)) {
      defaults->second[kind] = tables.options->at(kind).default_value;
    }
  }
  const auto with_given = [&given](Selection selection) {
    for (auto& [kind, name] : selection) {
      const auto said = given.find(kind);
      if (said != given.end()) name = said->second;
    }
    return selection;
  };
  Selection selection = with_given(defaults->second);
  for (std::size_t round = 0; round <= selection.size(); ++round) {
    const Laid& laid = lay(selection, tables);
    Selection next = with_given(laid.selected);
    if (next == selection) return laid.layout;
    selection = std::move(next);
  }
  throw ConfigError(
      "the defaults of the selected parts select each other in a circle; say data, model, scenario "
      "and strategy yourself");
}

std::shared_ptr<const ConfigBase> Layouts::neutral(const std::string& revisions,
                                                   const ConfigTables& tables) {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& base = neutral_[state_of(tables) + "\n" + revisions];
  if (base == nullptr) {
    Settings values;
    for (const auto& each : tables.options->all()) {
      values[each.name] = each.scope == OptionScope::kRun ? each.neutral : each.default_value;
    }
    base = make_base(values, revisions, tables);
  }
  return base;
}

std::shared_ptr<const std::vector<std::string>> Layouts::names_of(const Settings& given) {
  std::string key;
  for (const auto& [name, text] : given) key += name + " ";
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& names = names_[key];
  if (names == nullptr) {
    std::vector<std::string> all;
    for (const auto& [name, text] : given) all.push_back(name);
    names = std::make_shared<const std::vector<std::string>>(std::move(all));
  }
  return names;
}

Layouts& layouts() {
  static Layouts all;
  return all;
}

}  // namespace

ConfigTables program_tables() { return {&option_table(), &part_table(), kEngineRevision}; }

struct Config::Body {
  Body(std::shared_ptr<const ConfigBase> of, const Settings& said)
      : base(std::move(of)), given(layouts().names_of(said)) {
    for (const auto& [name, text] : said) {
      const std::size_t i = base->place_of(name);
      if (base->options[i].value != text) own.emplace_back(static_cast<std::uint32_t>(i), text);
    }
    own.shrink_to_fit();
    const std::string hash = sha256(canonical());
    std::copy(hash.begin(), hash.end(), id.begin());
  }

  template <class F>
  void visit(const F& each) const {
    auto differs = own.begin();
    for (std::size_t i = 0; i < base->options.size(); ++i) {
      const bool other = differs != own.end() && differs->first == i;
      each(base->options[i], other ? differs->second : base->options[i].value);
      if (other) ++differs;
    }
  }

  std::string canonical() const {
    std::string text = kHeader;
    visit([&text](const ConfigBase::Entry& option, const std::string& value) {
      if (!option.of_run || value == option.neutral) return;
      text.append(option.name).append("=").append(value).append("\n");
    });
    return text + base->revisions;
  }

  std::shared_ptr<const ConfigBase> base;
  std::vector<std::pair<std::uint32_t, std::string>> own;  // where the base has another value
  std::shared_ptr<const std::vector<std::string>> given;   // names, ascending; alike runs share it
  std::array<char, 64> id = {};
};

Config Config::resolve(const Settings& said, bool strict, const ConfigTables& tables) {
  Settings given;
  for (const auto& [name, text] : said) {
    const Option& each = tables.options->at(name);
    std::string form = canonical_form(each, text);
    const bool neutral = each.of_part && form == each.neutral;
    if (!neutral) canonical_value(each, text, *tables.parts);
    given.emplace_hint(given.end(), name, std::move(form));
  }
  const Layout& layout = layouts().of_selection(given, tables);
  const ConfigBase& base = *layout.base;
  for (const std::string& name : layout.refused) {
    if (given.count(name) != 0) continue;
    canonical_value(tables.options->at(name), base.options[base.place_of(name)].value,
                    *tables.parts);
  }
  for (auto each = given.begin(); each != given.end();) {
    const auto& [name, text] = *each;
    const Option& option = tables.options->at(name);
    if (!option.of_part) {
      ++each;
    } else if (layout.used.count(name) != 0) {
      // What holds where nothing is said may always be said, as a config's own values are.
      const bool refused =
          std::find(layout.refused.begin(), layout.refused.end(), name) != layout.refused.end();
      if (refused || text != base.options[base.place_of(name)].value) {
        canonical_value(option, text, *tables.parts);
      }
      ++each;
    } else {
      if (strict && text != base.options[base.place_of(name)].value) {
        refuse_unused(name, layout.selected, tables);
      }
      each = given.erase(each);
    }
  }
  return Config(std::make_shared<const Body>(layout.base, given));
}

Config Config::from_canonical(const std::string& canonical, const ConfigTables& tables) {
  const std::string header = kHeader;
  if (canonical.rfind(header, 0) != 0 || canonical.back() != '\n') {
    refuse_canonical(
        "it doesn't begin with the line 'tandem-config v1' or doesn't end its last line");
  }
  Settings given;
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
  Config config(std::make_shared<const Body>(layouts().neutral(revisions, tables), given));
  if (config.canonical() != canonical) {
    refuse_canonical("its lines are unsorted, doubled, not in canonical form or at neutral values");
  }
  return config;
}

std::string Config::canonical() const { return body_ == nullptr ? "" : body_->canonical(); }

std::string Config::id() const {
  return body_ == nullptr ? "" : std::string(body_->id.begin(), body_->id.end());
}

const std::string* Config::find(const std::string& name) const {
  if (body_ == nullptr) return nullptr;
  const ConfigBase& base = *body_->base;
  const std::size_t i = base.place_of(name);
  if (i == base.options.size()) return nullptr;
  const auto own = std::find_if(body_->own.begin(), body_->own.end(),
                                [i](const auto& each) { return each.first == i; });
  return own != body_->own.end() ? &own->second : &base.options[i].value;
}

void Config::visit_values(const Visit& visit) const {
  if (body_ == nullptr) return;
  body_->visit([&visit](const ConfigBase::Entry& option, const std::string& value) {
    visit(option.name, value);
  });
}

std::string Config::likeness(const std::function<bool(const std::string&)>& left_out) const {
  if (body_ == nullptr) return "";
  std::string text = fmt::format("{}\n", body_->base->number);
  for (const auto& [i, value] : body_->own) {
    const std::string& name = body_->base->options[i].name;
    if (!left_out(name)) text += name + "=" + value + "\n";
  }
  return text;
}

Settings Config::values() const {
  Settings all;
  visit_values([&all](const std::string& name, const std::string& value) {
    all.emplace_hint(all.end(), name, value);
  });
  return all;
}

bool Config::was_given(const std::string& name) const {
  return body_ != nullptr && std::binary_search(body_->given->begin(), body_->given->end(), name);
}

Settings Config::given() const {
  Settings all;
  if (body_ == nullptr) return all;
  for (const std::string& name : *body_->given) all.emplace_hint(all.end(), name, *find(name));
  return all;
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
