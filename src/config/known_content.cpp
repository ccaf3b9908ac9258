#include "config/known_content.h"

#include <map>
#include <stdexcept>

namespace tandem {
namespace {

std::map<std::string, std::string>& known_contents() {
  static std::map<std::string, std::string> contents;
  return contents;
}

}  // namespace

bool declare_known_content(const std::string& data, const std::string& hash) {
  if (!known_contents().emplace(data, hash).second) {
    throw std::logic_error("two contents are declared as that of data set " + data);
  }
  return true;
}

std::string known_content(const std::string& data) {
  const auto found = known_contents().find(data);
  return found == known_contents().end() ? "" : found->second;
}

std::string expected_content(const std::string& data, const std::string& corpus,
                             const std::string& data_hash) {
  if (!data_hash.empty()) return data_hash;
  return corpus.empty() ? known_content(data) : "";
}

}  // namespace tandem
