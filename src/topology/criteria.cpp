// The registry of criteria; each is in a file of its own beside this one.
#include "topology/criteria.h"

namespace tandem {

Registry<Criterion>& criteria() {
  static Registry<Criterion> registry;
  return registry;
}

const Criterion& criterion(const std::string& name) { return criteria().at("criterion", name); }

}  // namespace tandem
