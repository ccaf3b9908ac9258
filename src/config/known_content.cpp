#include "config/known_content.h"

#include "config/declared.h"

namespace tandem {
namespace {

Declared<std::string>& known_contents() {
  static Declared<std::string> contents;
  return contents;
}

}  // namespace

bool declare_known_content(const std::string& data, const std::string& hash) {
  return known_contents().add(data, hash, "the known content of data set");
}

std::string known_content(const std::string& data) {
  const std::string* found = known_contents().find(data);
  return found == nullptr ? "" : *found;
}

std::string expected_content(const std::string& data, const std::string& corpus,
                             const std::string& data_hash) {
  if (!data_hash.empty()) return data_hash;
  return corpus.empty() ? known_content(data) : "";
}

}  // namespace tandem
