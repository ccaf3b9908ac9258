#include "data/data_facts.h"

#include <map>
#include <stdexcept>

namespace tandem {
namespace {

std::map<std::string, DataFacts>& declared_data() {
  static std::map<std::string, DataFacts> all;
  return all;
}

}  // namespace

bool declare_data_facts(const std::string& data, const DataFacts& facts) {
  if (declared_data().emplace(data, facts).second) return true;
  throw std::logic_error("the facts of data set '" + data + "' are declared twice");
}

const DataFacts& data_facts(const Config& config) {
  const auto found = declared_data().find(config.text("data"));
  if (found != declared_data().end()) return found->second;
  throw std::logic_error("data set '" + config.text("data") +
                         "' declares no facts (data/data_facts.h) beside its reader");
}

}  // namespace tandem
