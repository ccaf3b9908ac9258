// A method is data: these policies, filled by one file of src/methods, are all that the step
// function knows of it. Kinds (the enums) are part of a group's key; the numbers may differ per
// replica.
//
// Words: M = positions used forward by the sparse stream (the mask), S = positions that get
// gradient, U = positions that change. Outside U value, slots and counts stay bit for bit.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

enum class Level { kAttention, kWeights };
std::string level_name(Level level);

// Which stream runs. kBoth runs both every step, each with its own task-loss weight.
struct Schedule {
  enum class Kind { kFull, kSparse, kBoth, kBernoulli, kTurns };
  Kind kind = Kind::kFull;
  double p = 0.5;          // kBernoulli: probability of the full stream
  double loss_full = 1.0;  // kBoth: weight of the task loss of each stream
  double loss_sparse = 1.0;
};

// kStream: the running stream's own set, i.e. M on sparse steps and everything on full ones.
enum class Support { kMask, kStream, kAll };

struct Sets {
  Support gradient = Support::kAll;
  Support update = Support::kAll;
};

struct Dormant {
  enum class Kind { kZero, kHold, kTrained, kDecay };
  Kind kind = Kind::kTrained;
  double eta = 0;  // kDecay: w <- w (1 - eta) on dormant positions, after the step
  bool sparse_steps_only = true;
  bool scaled_by_lr = false;  // eta is multiplied by the current learning rate
};

// One operation of a topology update. `amount` of kDrop and kGrow is the drop fraction's schedule
// applied to the active count; kPruneTo and kRank go to the scheduled density of each layer.
struct TopologyOperation {
  enum class Kind {
    kDrop,     // drop fraction x active, lowest criterion first
    kGrow,     // as many as were dropped, highest criterion first, among the positions not active
    kPruneTo,  // drop down to the scheduled budget
    kRank,     // new mask = top of the criterion over all positions (dormant values compete)
  };
  Kind kind = Kind::kRank;
  std::string criterion = "magnitude";  // name in the criteria registry of src/topology
  bool whole_net = false;               // scope: one ranking over all layers
};

struct TopologyRule {
  enum class Order { kStepThenUpdate, kUpdateInsteadOfStep };
  enum class Regrown { kKeep, kZero };  // value of a position dropped and grown in one update
  enum class DropSchedule { kConstant, kCosine, kLinear };
  enum class BudgetSchedule { kConstant, kCubic };
  std::vector<TopologyOperation> operations;  // empty: the mask never changes
  std::int64_t interval_steps = 100;          // per replica; 0 with interval_epochs set
  double interval_epochs = 0;
  double begin = 0, end = 1;  // shares of the run's steps
  double drop_fraction = 0.3;
  DropSchedule drop_schedule = DropSchedule::kCosine;
  BudgetSchedule budget_schedule = BudgetSchedule::kConstant;
  Order order = Order::kStepThenUpdate;
  Regrown regrown = Regrown::kKeep;
  double newborn_sd = 0;  // 0: newborn weights start at zero
};

struct Start {
  enum class Pattern { kRandom, kMagnitude, kDense };  // initial mask; kDense: all active
  enum class Budget { kUniform, kEr, kErk };
  enum class InitScale { kDense, kFanIn, kDensity };
  Pattern pattern = Pattern::kMagnitude;
  Budget budget = Budget::kEr;
  InitScale init_scale = InitScale::kDense;
  double density = 1;
  std::vector<std::string> exempt;
};

struct Alignment {
  enum class Distance { kSmoothL1, kMse, kRelativeMse, kLogitKl };
  enum class Site { kPre, kPost, kLogits };  // before or after the activation, norm or gate; logits
  double alpha = 0;                          // 0: no alignment, no counterpart
  std::int64_t alpha_warmup_steps = 0;
  double lambda_full = 1;    // pulls the full stream toward the sparse one
  double lambda_sparse = 1;  // pulls the sparse stream toward the full one
  Distance distance = Distance::kSmoothL1;
  Site site = Site::kPre;
  bool propagated = false;  // the counterpart is computed in a pass of its own
  std::int64_t every_steps = 1;
};

struct Policies {
  Schedule schedule;
  Sets sets;
  Dormant dormant;
  TopologyRule topology;
  Start start;
  Alignment alignment;
  // Attention only.
  struct Selector {
    bool per_head = false;     // MoBA; else shared by the heads of a group (SSA's code)
    bool softmax = true;       // importance by softmax over complete blocks; else the plain product
    bool force_first = false;  // block 0 always selected (the current block always is)
  } selector;

  bool has_full_stream() const { return schedule.kind != Schedule::Kind::kSparse; }
  // Dormant positions hold values of their own, so that a full read-out exists.
  bool dormant_carry_values() const { return dormant.kind != Dormant::Kind::kZero; }
};

// Kinds agree, so that two runs may share a group. The numbers may differ.
bool same_kind(const Policies& a, const Policies& b);

// Share of positions dropped by an update at `progress` in [0,1] of the schedule's span.
double drop_fraction_at(const TopologyRule& rule, double progress);
// Density at `progress` of [begin,end]: s_t = s_f + (s_i - s_f)(1 - progress)^3 (Zhu & Gupta 2017).
double density_at(const TopologyRule& rule, double final_density, double progress);

}  // namespace tandem
