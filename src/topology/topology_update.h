// The updater interprets a TopologyRule over all layers of a group, whatever their storage.
// kDrop opens a pair with int(fraction x active) positions and kGrow closes it with as many; grow
// first (MEST) likewise the other way round. Whole-net operations rank all layers together: the
// global selection gives each layer its count, and the layer's own selection of that count is the
// same set, since ties go to the smaller (layer, position).
//
// Shapes: R replicas (runs of the group), L layers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/demands.h"
#include "policy/policy.h"
#include "topology/budgets.h"
#include "topology/connections.h"

namespace tandem {

// UpdateCounts say what an update did to one layer; replicas that are not reported have dropped =
// grown = 0 and no hash.
struct UpdateCounts {
  std::size_t layer = 0;
  std::vector<std::int64_t> nnz;             // [R] active now
  std::vector<std::int64_t> dropped, grown;  // [R] active before and not now; now and not before
  std::vector<std::string> mask_hash;        // [R] ActiveSet::hash() of what is active now
  std::vector<ActiveSet> before, after;      // [R] unknown: not due
};

// An UpdateMoment says where in its run each replica is when an update happens. Entries of replicas
// that are not due are ignored.
struct UpdateMoment {
  std::vector<char> due;             // [R]
  std::vector<double> progress;      // [R] in [0,1] of the rule's span [begin, end]
  std::vector<std::int64_t> number;  // [R] of this update in its run, from 1: keys the random draws
  std::vector<char> reported = {};   // [R] its counts are wanted; empty: of all that are due
};

class TopologyUpdater {
 public:
  // There is one entry per layer (null connections: exempt, never changed) and one per replica.
  // Rules and starts agree in kind. Throws ConfigError for an unknown criterion or an impossible
  // combination.
  TopologyUpdater(std::vector<Connections*> layers, std::vector<LayerShape> shapes,
                  std::vector<TopologyRule> rules, std::vector<Start> starts,
                  std::vector<std::uint64_t> run_keys);

  // From now on each layer keeps a superset B of its mask of this density [R], spread as budgets
  // are, and chosen now and after each update: the largest |w| beside the mask, or others at
  // random. With outside_zero the values and slots of what leaves B are cleared.
  void keep_superset(std::vector<double> density, bool random, bool outside_zero);
  // From now on each layer keeps nested masks at these shares of each replica's density, which
  // descend from 1.
  void keep_nested(std::vector<std::vector<double>> shares);  // [R][shares]

  // Announces backward passes whose dense gradient update() will read, or that none will be.
  void expect_gradient(bool expected);
  // After a backward pass, shows the criteria that keep a slot up to date by it the dense gradient
  // of the replicas that take part
  // (apply, bool [R], on the parameters' device); the others' slots keep every bit.
  void accumulate(const at::Tensor& apply);
  // Returns one entry per layer that is not exempt, and none where nothing is reported.
  std::vector<UpdateCounts> update(const UpdateMoment& moment, bool zero_dormant);

 private:
  using Operation = TopologyOperation;
  using Counts = std::vector<std::vector<std::int64_t>>;  // [L][R]

  // These are the sizes of one layer, or sums over all layers, for one replica.
  struct Size {
    std::int64_t positions = 0, active = 0, target = 0, moved = 0, free = 0, held = 0;
  };

  std::size_t replicas() const { return rules_.size(); }
  bool changes(std::size_t layer) const {
    return layers_[layer] != nullptr && !shapes_[layer].exempt;
  }
  Policies policies_of(std::size_t replica) const;
  bool excludes_dropped() const { return rules_[0].regrown == TopologyRule::Regrown::kExclude; }
  void begin(const UpdateMoment& moment);
  Size size(std::size_t layer, std::size_t replica) const;
  std::int64_t amount(const Operation& operation, const Size& size, double fraction) const;
  Counts layer_counts(const Operation& operation, const UpdateMoment& moment) const;
  Counts whole_net_counts(const Operation& operation, const Criterion& chosen,
                          const UpdateMoment& moment) const;
  std::vector<std::int64_t> spread(const Operation& operation, const Criterion& chosen,
                                   std::size_t replica, std::int64_t count,
                                   std::int64_t number) const;
  // These spread the growth of all layers together anew, by layer_weight_.
  void weigh_layers(const UpdateMoment& moment);
  void redistribute(Counts& counts, const UpdateMoment& moment) const;
  void choose_superset(const UpdateMoment& moment);
  void choose_nested(const UpdateMoment& moment);
  std::vector<std::int64_t> spread_at_random(const Operation& operation, std::size_t replica,
                                             std::int64_t count, std::int64_t number) const;
  TopologyChange change_of(const Operation& operation, std::size_t layer, const Counts& counts,
                           const UpdateMoment& moment) const;
  void apply(const Operation& operation, const Criterion& chosen, const UpdateMoment& moment,
             bool zero_dormant);
  UpdateCounts report(std::size_t layer, const UpdateMoment& moment);

  std::vector<Connections*> layers_;
  std::vector<LayerShape> shapes_;
  std::vector<TopologyRule> rules_;
  std::vector<Start> starts_;
  std::vector<std::uint64_t> run_keys_;
  Demands demands_;                  // of the rule and the start alone
  std::vector<Criterion> criteria_;  // the operations' in order, then those of redistribution

  std::vector<double> superset_;  // [R] density of B; empty: there is none
  bool superset_random_ = false, outside_zero_ = false;
  std::vector<std::vector<double>> nested_;  // [R][shares]; empty: there are none

  // These belong to the update under way.
  std::vector<std::vector<double>> layer_weight_;  // [L][R], where growth is redistributed
  std::optional<Operation::Kind> opened_;          // the operation that waits for its counterpart
  Counts moved_, targets_;                         // what it moved; scheduled active counts
  Counts free_;                                    // items that were not active when it began
  std::vector<std::vector<ActiveSet>> before_;     // [L][R]
};

}  // namespace tandem
