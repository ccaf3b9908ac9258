// Private to the store, and to its tests.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <string>
#include <vector>

namespace tandem {

// Returns a sentence for each fault of a database of this version: damage, rows that point at
// nothing, rows that a run does not count, configs and final results that do not fit the rest.
std::vector<std::string> faults_of(SQLite::Database& db);

}  // namespace tandem
