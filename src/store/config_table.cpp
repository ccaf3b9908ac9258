#include "store/config_table.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <algorithm>
#include <optional>
#include <set>

#include "config/part.h"
#include "core/hash.h"
#include "core/text.h"
#include "store/rows.h"
#include "store/store.h"

namespace tandem {
namespace {

constexpr std::size_t kSettingDigits = 16;

using Values = std::map<std::string, std::string>;

// Options that no selected part reads stand at their neutral value.
bool is_read(const Option& option, const Values& values) {
  const auto value = values.find(option.name);
  if (value == values.end() || value->second.empty()) return false;
  if (!option.of_part || value->second != option.neutral) return true;
  for (const std::string& kind : part_kinds()) {
    const auto selected = values.find(kind);
    if (selected == values.end()) continue;
    const Part* part = part_table().find(kind, selected->second);
    if (part == nullptr) continue;
    if (std::count(part->uses.begin(), part->uses.end(), option.name) != 0) return true;
  }
  return false;
}

void bind_value(SQLite::Statement& statement, int column, const Option& option,
                const std::string& text) {
  if (option.type == OptionType::kFlag) {
    statement.bind(column, text == "true" ? 1 : 0);
  } else {
    statement.bind(column, text);  // the column's affinity makes it a number
  }
}

std::optional<double> real_or_null(sqlite3_value* value) {
  if (sqlite3_value_type(value) == SQLITE_NULL) return std::nullopt;
  return sqlite3_value_double(value);
}

std::string text_value(sqlite3_value* value) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_value_text(value));
  return text == nullptr ? "" : text;
}

void give_text(sqlite3_context* context, const std::string& text) {
  sqlite3_result_text(context, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}

// tandem_identity(attention, budget, weights, budget, masked), of a read-out as versions before 4
// had it.
void sql_identity(sqlite3_context* context, int /*count*/, sqlite3_value** values) {
  ReadoutRecord readout;
  readout.attention = {text_value(values[0]), real_or_null(values[1]), "blocks"};
  readout.weights = {text_value(values[2]), real_or_null(values[3]), "density"};
  readout.masked = sqlite3_value_int(values[4]) != 0;
  give_text(context, identity_of(readout));
}

void sql_setting(sqlite3_context* context, int /*count*/, sqlite3_value** values) {
  give_text(context, setting_of(text_value(values[0])));
}

}  // namespace

std::vector<const Option*> config_options() {
  static const std::set<std::string> kOfTable = {"weights", "attention", "scenario", "strategy",
                                                 "model",   "data",      "seed"};
  std::vector<const Option*> options;
  for (const Option& o : all_options()) {
    if (o.scope == OptionScope::kRun && kOfTable.count(o.name) == 0) options.push_back(&o);
  }
  std::sort(options.begin(), options.end(),
            [](const Option* a, const Option* b) { return a->name < b->name; });
  return options;
}

const char* column_type(OptionType type) {
  switch (type) {
    case OptionType::kInt:
    case OptionType::kFlag:
      return "BIGINT";
    case OptionType::kReal:
      return "DOUBLE";
    case OptionType::kText:
    case OptionType::kChoice:
    case OptionType::kIntList:
    case OptionType::kRealList:
      return "TEXT";
  }
  return "TEXT";
}

std::set<std::string> columns_of(SQLite::Database& db, const std::string& table) {
  std::set<std::string> names;
  SQLite::Statement each(db, fmt::format("SELECT name FROM pragma_table_info('{}')", table));
  while (each.executeStep()) names.insert(each.getColumn(0).getString());
  return names;
}

void add_config_columns(SQLite::Database& db) {
  const std::set<std::string> there = columns_of(db, "config");
  for (const Option* option : config_options()) {
    if (there.count(option->name) != 0) continue;
    db.exec(fmt::format("ALTER TABLE config ADD COLUMN \"{}\" {}", option->name,
                        column_type(option->type)));
  }
}

std::string setting_of(const std::string& canonical) {
  std::string shared;
  for (const auto& line : split(canonical, '\n')) {
    const std::string text(line);
    if (!is_of_repetition(text.substr(0, text.find('=')))) shared += text + "\n";
  }
  return sha256(shared).substr(0, kSettingDigits);
}

Values values_of(const RunRecord& run) {
  Values values;
  for (const Option& option : all_options()) {
    if (option.scope == OptionScope::kRun) values[option.name] = option.neutral;
  }
  for (const auto& line : split(run.canonical, '\n')) {
    const std::string text(line);
    const std::size_t at = text.find('=');
    if (at == std::string::npos || text.rfind("revision.", 0) == 0) continue;
    values[text.substr(0, at)] = text.substr(at + 1);
  }
  return values;
}

void ConfigTable::add(std::int64_t run,
                      const std::vector<std::pair<std::string, std::string>>& values) {
  if (sql_.empty()) {
    options_ = config_options();
    std::string names, marks;
    for (const Option* option : options_) {
      names += fmt::format(", \"{}\"", option->name);
      marks += ", ?";
    }
    sql_ =
        fmt::format("INSERT INTO config (run{}) VALUES (?{}) ON CONFLICT DO NOTHING", names, marks);
    insert_ = std::make_unique<SQLite::Statement>(db_, sql_);
  }
  const Values by_name(values.begin(), values.end());
  insert_->tryReset();
  insert_->clearBindings();
  insert_->bind(1, run);
  for (std::size_t i = 0; i < options_.size(); ++i) {
    if (!is_read(*options_[i], by_name)) continue;
    bind_value(*insert_, static_cast<int>(i) + 2, *options_[i], by_name.at(options_[i]->name));
  }
  insert_->exec();
}

void add_migration_functions(SQLite::Database& db) {
  constexpr int kFlags = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
  sqlite3_create_function(db.getHandle(), "tandem_identity", 5, kFlags, nullptr, sql_identity,
                          nullptr, nullptr);
  sqlite3_create_function(db.getHandle(), "tandem_setting", 1, kFlags, nullptr, sql_setting,
                          nullptr, nullptr);
}

void fill_configs(SQLite::Database& db) {
  add_config_columns(db);
  ConfigTable configs(db);
  SQLite::Statement runs(db, "SELECT key, canonical FROM run ORDER BY key");
  while (runs.executeStep()) {
    RunRecord record;
    record.canonical = runs.getColumn(1).getString();
    const Values values = values_of(record);
    configs.add(runs.getColumn(0).getInt64(), {values.begin(), values.end()});
  }
}

}  // namespace tandem
