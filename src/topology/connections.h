// The connections of a linear layer, whatever their storage. Methods, optimizers, strategies and
// checkpoints ask these questions only: the product; scores visited block by block; drop k by a
// score; grow k by a score or at random; the active values and their slots (through Parameter).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "topology/criteria.h"
#include "topology/parameter.h"

namespace tandem {

// How a product is computed; see View in nn/context.h, which maps onto this.
struct ProductPlan {
  bool full = true, sparse = false;  // outputs wanted
  bool selected = false;             // one output: per replica W where full_runs, M*W elsewhere
  at::Tensor full_runs;              // bool [R], with selected
  bool mask_gradient = false;        // gradient of the sparse product reaches active weights only
};

struct TwoStreams {
  at::Tensor full, sparse;  // [R,N,out]; undefined where not asked for. selected: in full
};

// What a topology update does to one layer, per replica. Entries of replicas not due are 0 /
// ignored.
struct Change {
  std::vector<char> due;                 // [R]
  std::vector<std::int64_t> count;       // [R] how many to drop or grow, or the new active count
  std::vector<std::uint64_t> keys = {};  // [R] as Newborn::keys; read by random criteria
  std::vector<std::int64_t> negatives =
      {};  // [R] per-sign criteria: how many of count are negative
};

// How the newborn of an update are treated.
struct Newborn {
  double deviation = 0;             // 0: value zero, else normal draws
  bool keep_regrown = true;         // a position dropped in this update keeps its value and slots
  std::vector<std::uint64_t> keys;  // [R] random stream of this (run, layer, update)
};

class Connections {
 public:
  virtual ~Connections() = default;

  virtual std::int64_t replicas() const = 0;
  virtual std::int64_t positions() const = 0;  // in x out
  virtual std::int64_t active(std::int64_t replica) const = 0;
  virtual Parameter& parameter() = 0;
  // [R+1] offsets into Parameter::flat().
  virtual std::vector<std::int64_t> segments() const {
    std::vector<std::int64_t> offsets;
    for (std::int64_t r = 0; r <= replicas(); ++r) offsets.push_back(r * positions());
    return offsets;
  }

  // y = x W_eff + b; bias may be undefined.
  virtual TwoStreams product(const at::Tensor& x, const at::Tensor& bias,
                             const ProductPlan& plan) const = 0;

  // Active flags, uint8 [total] beside Parameter::flat(). Undefined: everything is active.
  virtual at::Tensor active_flags() const = 0;
  // Packed mask of a replica (bit i = position i), for hashes and checkpoints.
  virtual std::vector<std::uint8_t> packed_mask(std::int64_t replica) const = 0;
  // The same of the replicas that are wanted [R]; empty for the others.
  virtual std::vector<std::vector<std::uint8_t>> packed_masks(
      const std::vector<char>& wanted) const {
    std::vector<std::vector<std::uint8_t>> masks(wanted.size());
    for (std::size_t r = 0; r < wanted.size(); ++r) {
      if (wanted[r]) masks[r] = packed_mask(static_cast<std::int64_t>(r));
    }
    return masks;
  }
  virtual void set_packed_mask(std::int64_t replica, const std::vector<std::uint8_t>& bits) = 0;

  // Calls visit(first position, scores, active flags) over consecutive blocks of all positions of a
  // replica, in order; what is not stored has the criterion's score of a zero weight.
  virtual void visit_scores(std::int64_t replica, const Criterion& criterion,
                            const std::function<void(std::int64_t, const at::Tensor& scores,
                                                     const at::Tensor& active)>& visit) const = 0;

  // New mask = the count[r] highest of the criterion over all positions (active or not).
  virtual void rank(const Change& change, const Criterion& criterion, bool zero_dormant) = 0;
  // Drops the count[r] lowest of the criterion among the active; remembers them until finish().
  virtual void drop(const Change& change, const Criterion& criterion) = 0;
  // Grows count[r] among all positions that are not active now (just dropped ones included).
  virtual void grow(const Change& change, const Criterion& criterion, const Newborn& newborn) = 0;
  // Ends an update: values and slots of what left the topology are cleared where zero_dormant.
  virtual void finish(const Change& change, bool zero_dormant) = 0;
};

}  // namespace tandem
