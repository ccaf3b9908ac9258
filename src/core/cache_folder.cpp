#include "core/cache_folder.h"

#include <cstdlib>

namespace tandem {
namespace {

std::string set_in_environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string cache_folder() {
  const std::string own = set_in_environment("TANDEM_CACHE");
  if (!own.empty()) return own;
  const std::string cache = set_in_environment("XDG_CACHE_HOME");
  if (!cache.empty()) return cache + "/tandem";
  const std::string home = set_in_environment("HOME");
  return home.empty() ? "" : home + "/.cache/tandem";
}

}  // namespace tandem
