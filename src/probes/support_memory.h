// This remembers which positions of one layer are in a gradient's support, which were once and when
// they left it, and which never were. The steps on which everything is in the support are told from
// outside.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "probes/lists.h"
#include "topology/active_set.h"

namespace tandem {

class SupportMemory {
 public:
  bool known() const { return now_.known(); }
  void start(ActiveSet support) { now_ = std::move(support); }
  // After `step` the support is this one.
  void change(const ActiveSet& support, std::int64_t step);

  struct Ages {
    std::int64_t never = 0;           // positions that never were in any support
    std::vector<std::int64_t> steps;  // since each other position outside the support was in it
  };
  // last_dense is the last step whose support was everything, and 0 where there was none.
  Ages ages(std::int64_t positions, std::int64_t step, std::int64_t last_dense) const;

  NamedLists save() const;
  void load(const std::string& what, const std::vector<std::int64_t>& values);

 private:
  ActiveSet now_;
  std::vector<std::int64_t> places_,
      left_;  // outside now and once inside, ascending; when they left
};

}  // namespace tandem
