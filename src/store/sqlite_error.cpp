// What each of SQLite's codes means to somebody who wants to go on.
#include "store/sqlite_error.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "core/error.h"

namespace tandem {
namespace {

std::string advice(int code) {
  switch (code & 0xFF) {
    case SQLITE_FULL:
      return "The disk or the quota is full. What was acknowledged before is safe; free some space "
             "and start the same command again";
    case SQLITE_IOERR:
      return "The file could not be read or written (disk full, quota, size limit or a failing "
             "disk). What was acknowledged before is safe; mend the cause and start again";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "Another program holds the file's lock. Close it (a database browser, a copy in "
             "progress) and start again";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return "The file or its folder cannot be written. Change its permissions or choose another "
             "place with --db";
    case SQLITE_CANTOPEN:
      return "The file could not be opened. Check that its folder exists and can be read; a "
             "database that was left open by its writer also needs a writable folder beside it, so "
             "copy FILE and FILE-wal to one";
    case SQLITE_NOTADB:
      return "The file is not an SQLite database. Choose another one with --db";
    case SQLITE_CORRUPT:
      return "The file is damaged. Keep a copy, then try: sqlite3 FILE .recover | sqlite3 NEW";
    case SQLITE_CONSTRAINT:
      return "A row breaks the schema's rules, which is a bug in the program that made it";
    case SQLITE_ERROR:
      return "Check the SQL text; the views v_run, v_eval, v_metric and v_continual hold plain "
             "names";
    default:
      return "See https://sqlite.org/rescode.html for the code";
  }
}

}  // namespace

void throw_store_error(const SQLite::Exception& error, const std::string& path,
                       const std::string& doing) {
  throw StoreError(fmt::format("{}: {} (SQLite code {}) while {}. {}.", path, error.what(),
                               error.getExtendedErrorCode(), doing, advice(error.getErrorCode())));
}

}  // namespace tandem
