#include "config/strategy_start.h"

#include "config/declared.h"

namespace tandem {
namespace {

Declared<bool>& afresh() {
  static Declared<bool> names;
  return names;
}

}  // namespace

bool declare_begins_afresh(const std::string& strategy) {
  return afresh().add(strategy, true, "the fresh start of strategy");
}

std::vector<std::string> strategies_that_begin_afresh() { return afresh().names(); }

}  // namespace tandem
