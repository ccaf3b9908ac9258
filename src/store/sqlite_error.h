// SQLite's failures as StoreErrors that say what to do. Private to the store.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>

#include <string>
#include <utility>

namespace tandem {

// `doing` completes "... while <doing>".
[[noreturn]] void throw_store_error(const SQLite::Exception& error, const std::string& path,
                                    const std::string& doing);

template <class F>
auto guarded(const std::string& path, const std::string& doing, F&& action) {
  try {
    return std::forward<F>(action)();
  } catch (const SQLite::Exception& error) {
    throw_store_error(error, path, doing);
  }
}

}  // namespace tandem
