#include "config/data_score.h"

#include "config/declared.h"

namespace tandem {
namespace {

Declared<bool>& in_bits() {
  static Declared<bool> names;
  return names;
}

}  // namespace

bool declare_told_in_bits(const std::string& data) {
  return in_bits().add(data, true, "the score of data set");
}

bool told_in_bits(const std::string& data) { return in_bits().find(data) != nullptr; }

std::vector<std::string> data_told_in_bits() { return in_bits().names(); }

}  // namespace tandem
