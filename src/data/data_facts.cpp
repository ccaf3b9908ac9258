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

SeenData seen_data(const Config& config) {
  const DataFacts& facts = data_facts(config);
  if (facts.kind == Dataset::Kind::kImages && facts.features == 0) {
    const auto data = load_dataset(config);
    return {data->features, data->classes};
  }
  const std::int64_t side = config.integer("pad_to");
  return {side > 0 ? facts.channels * side * side : facts.features,
          facts.classes_option != nullptr ? config.integer(facts.classes_option) : facts.classes};
}

}  // namespace tandem
