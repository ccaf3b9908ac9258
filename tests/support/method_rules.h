// What a method's policies promise of every step, whatever the method: how many connections exist,
// what may change outside of them, and how newborn ones start.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "support/layer_state.h"
#include "train/trainer.h"

namespace tandem::test {

// Requires that a layer's mask has the granularity's structure: each group at its quota, blocks
// whole. Returns how many items are active.
std::int64_t require_held(const Linear& layer, const Granularity& granularity,
                          std::int64_t replica = 0);

bool grows(const TopologyRule& rule);  // some operation does

// A trainer under observation.
class Observed {
 public:
  explicit Observed(Trainer& trainer);  // in the first stage, no step taken
  ~Observed() { trainer_.before_update = nullptr; }
  Observed(const Observed&) = delete;
  Observed& operator=(const Observed&) = delete;

  // Takes step `step` and requires of each replica what its policies promise.
  void advance(std::int64_t step);

  bool updated() const { return updated_; }  // some topology update took place
  bool grew() const { return grew_; }        // and weights were born in it

 private:
  struct Replica {
    std::vector<LayerState> layers;
    std::vector<LayerState> found;    // by the update of the last step; empty: there was none
    std::vector<std::int64_t> items;  // active, per layer
    std::vector<std::int64_t> at_first;
  };

  void require_start(std::int64_t replica);
  void require_budget(std::int64_t replica, const ReplicaPlan& plan);
  void require_superset(std::int64_t replica);
  void require_policy(const Policies& policies, const ReplicaPlan& plan, const LayerState& before,
                      const LayerState& after);
  std::vector<std::int64_t> held_items(std::int64_t replica) const;

  Trainer& trainer_;
  std::vector<Replica> replicas_;
  bool updated_ = false, grew_ = false;
};

// The masks of all layers and replicas in a line.
std::string mask_hashes(Trainer& trainer);

}  // namespace tandem::test
