// Runs of another database, taken over whole. Private to the store; StoreWriter::merge() is its
// face.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <functional>
#include <string>

#include "store/store.h"

namespace tandem {

// A database that can be attached: the file itself, or a copy in `folder` where the file is of an
// earlier version or a dump (.sql, .sql.xz). StoreError where it is neither.
std::string attachable(const std::string& file, const std::string& folder);

// Merges the attached schema `source` into main; within a transaction. `remove`: removes a run of
// main that the source has a better result of. StoreError, before anything is changed, where one
// name stands for two grids; `named`: the two files, for what is said.
MergeReport merge_source(SQLite::Database& db, const MergeRequest& request,
                         const std::function<void(const std::string& run)>& remove,
                         const std::pair<std::string, std::string>& named);

}  // namespace tandem
