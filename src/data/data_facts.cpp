#include "data/data_facts.h"

#include "config/declared.h"

namespace tandem {
namespace {

Declared<DataFacts>& declared_data() {
  static Declared<DataFacts> all;
  return all;
}

constexpr const char* kFactsOfData = "the facts of data set";

}  // namespace

bool declare_data_facts(const std::string& data, const DataFacts& facts) {
  return declared_data().add(data, facts, kFactsOfData);
}

const DataFacts& data_facts(const Config& config) {
  return declared_data().at(config.text("data"), kFactsOfData,
                            "they belong beside its reader (data/data_facts.h)");
}

}  // namespace tandem
