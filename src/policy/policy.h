// A method is data: these policies, filled by one file of src/methods, are all that the step
// function knows of it. What the rest of the program needs is derived from them in demands.h. Kinds
// (the enums) are part of a group's key; the numbers may differ per replica.
//
// Words: M = positions used forward by the sparse stream (the mask), S = positions that get
// gradient, U = positions that change. Outside U value, slots and counts stay bit for bit.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"

namespace tandem {

enum class Level { kAttention, kWeights };
constexpr Level kLevels[] = {Level::kAttention, Level::kWeights};
std::string level_name(Level level);

// One of something for each level: by name where a level has a part of its own, by index where all
// are treated alike.
template <class T>
struct PerLevel {
  T attention = {}, weights = {};
  T& operator[](Level level) { return level == Level::kAttention ? attention : weights; }
  const T& operator[](Level level) const {
    return level == Level::kAttention ? attention : weights;
  }
  auto operator<=>(const PerLevel&) const = default;
};

// Which stream runs. kBoth runs both every step, each with its own task-loss weight; kPhases begins
// with the full one and changes over at given shares of the run.
struct Schedule {
  enum class Kind { kFull, kSparse, kBoth, kBernoulli, kTurns, kPhases };
  enum class Shape { kConstant, kLinear, kCosine };  // of p over the run
  enum class Draw { kStep, kLayer };  // kBernoulli: one for all layers, or each its own
  Kind kind = Kind::kFull;
  double p = 0.5;  // kBernoulli: probability of the full stream, at the start
  double p_final = 0.5;
  Shape shape = Shape::kConstant;
  Draw draw = Draw::kStep;
  std::int64_t draw_steps = 1;  // a draw holds for so many steps
  double loss_full = 1.0;       // kBoth: weight of the task loss of each stream
  double loss_sparse = 1.0;
  std::vector<double> phases = {};  // kPhases: ascending shares of the run
  bool empties_slots = false;  // all slots are emptied where a full phase begins after a sparse
  double last_phase_lr = 1;    // factor of the learning rate in the last phase

  bool draws_per_layer() const { return kind == Kind::kBernoulli && draw == Draw::kLayer; }
  bool ends_sparse() const { return kind == Kind::kPhases && phases.size() % 2 == 1; }
};

// kStream: the running stream's own set, i.e. M on sparse steps and everything on full ones.
// kSuperset: B, which holds M.
enum class Support { kMask, kStream, kSuperset, kAll };

struct Sets {
  Support gradient = Support::kAll;
  Support update = Support::kAll;
  // B: M and, up to this density of all positions, the largest or random others, chosen anew at
  // each topology update. 0: there is no B.
  double superset = 0;
  bool superset_random = false;
  bool full_in_superset = false;  // the full stream computes with B instead of everything
  // Values outside B are zero, what enters it is newborn: B is all that must be stored.
  bool outside_zero = false;
  // Nested masks: a sparse step uses the mask of one of these shares of the density, drawn anew at
  // each step; descending from 1. Empty: M alone. Each holds the next by rank within M.
  std::vector<double> nested = {};
};

struct Dormant {
  enum class Kind { kZero, kHold, kTrained, kDecay };
  Kind kind = Kind::kTrained;
  double eta = 0;  // kDecay: w <- w (1 - eta) on dormant positions, after the step
  bool sparse_steps_only = true;
  bool scaled_by_lr = false;      // eta is multiplied by the current learning rate
  bool in_gradient = false;       // eta w joins their gradient instead (SR-STE)
  bool zeroed_by_phases = false;  // values and slots are emptied where a sparse phase begins
};

// One operation of a topology update. `amount` of kDrop and kGrow is the drop fraction's schedule
// applied to the active count; kPruneTo and kRank go to the scheduled density of each layer.
struct TopologyOperation {
  enum class Kind {
    kDrop,     // drop fraction x active, lowest criterion first
    kGrow,     // as many as were dropped, highest criterion first, among the positions not active
    kPruneTo,  // drop down to the scheduled budget
    kGrowTo,   // grow beyond it by the drop fraction's schedule x budget (a soft bound, MEST)
    kRank,     // new mask = top of the criterion over all positions (dormant values compete)
  };
  Kind kind = Kind::kRank;
  std::string criterion = "magnitude";  // name in the criteria registry of src/topology
  bool whole_net = false;               // scope: one ranking over all layers
  double parameter = 0;                 // the criterion's own number, where it has one
  // Positions are drawn without replacement in proportion to score^sharpness instead of taken in
  // order; sharpness moves linearly over the schedule's span (CHTs).
  bool sampled = false;
  double sharpness = 1, sharpness_final = 1;
};

struct TopologyRule {
  enum class Order { kStepThenUpdate, kUpdateInsteadOfStep };
  // A position dropped and grown in one update keeps its value and slots, is newborn, or can't be:
  // growth passes over what the update dropped.
  enum class Regrown { kKeep, kZero, kExclude };
  // kSteps: drop_fraction, from three quarters of the span on halfway to drop_final (MEST).
  enum class DropSchedule { kConstant, kCosine, kLinear, kSteps };
  enum class BudgetSchedule { kConstant, kCubic };
  // How many each layer grows of what all layers dropped: as many as it dropped itself, or shares
  // by the mean |averaged gradient| of its active weights (SNFS).
  enum class Redistribution { kNone, kAveragedGradient };
  std::vector<TopologyOperation> operations;  // empty: the mask never changes
  std::int64_t interval_steps = 100;          // per replica; 0 with interval_epochs set
  double interval_epochs = 0;
  double begin = 0, end = 1;                   // shares of the run's steps
  double drop_fraction = 0.3, drop_final = 0;  // at the schedule's start and end
  DropSchedule drop_schedule = DropSchedule::kCosine;
  BudgetSchedule budget_schedule = BudgetSchedule::kConstant;
  double budget_begin = 0, budget_end = 1;  // of its schedule, shares of the span [begin, end]
  Order order = Order::kStepThenUpdate;
  Regrown regrown = Regrown::kKeep;
  Redistribution redistribution = Redistribution::kNone;
  bool at_phases = false;  // updates where a sparse phase begins, instead of by interval
  // Gradients and inputs that criteria read are means over so many batches drawn for the update,
  // at its weights. 0: the step's own batch.
  std::int64_t fresh_batches = 0;
  double newborn_sd = 0;       // 0: newborn weights start at zero
  bool newborn_stale = false;  // they resume the value that they held while dormant
  bool empties_slots =
      false;  // an update empties the slots of all weights, not of the newborn alone
};

// What is active or dormant as one. Drop and grow choose groups by the sum of their scores.
struct Granularity {
  enum class Kind {
    kElement,
    kFanIn,  // every unit has the same number of inputs
    kNm,     // n of each m consecutive inputs of a unit
    kBlock,  // block x block squares
  };
  Kind kind = Kind::kElement;
  std::int64_t n = 2, m = 4;
  std::int64_t block = 4;
  double ablation = 0;  // kFanIn: units with fewer salient weights than this share of the fan-in go
  bool operator==(const Granularity&) const = default;
};

struct Start {
  enum class Pattern { kRandom, kMagnitude, kDense };  // initial mask; kDense: all active
  enum class Budget { kUniform, kEr, kErk };
  enum class InitScale { kDense, kFanIn, kDensity };
  Pattern pattern = Pattern::kMagnitude;
  Budget budget = Budget::kEr;
  InitScale init_scale = InitScale::kDense;
  double density = 1;
  double initial_density = 0;  // of the first mask, where it is not `density`; 0: it is
  std::vector<std::string> exempt;
  Granularity granularity;
  bool drawn = false;  // the method draws its first mask, unless a net that is given says otherwise

  double first_density() const { return initial_density > 0 ? initial_density : density; }
};

struct Alignment {
  enum class Distance { kSmoothL1, kMse, kRelativeMse, kCosine, kLogitKl };
  // Before or after the block's activation, norm and gate; after its norm alone; the logits.
  enum class Site { kPre, kNorm, kPost, kLogits };
  double alpha = 0;  // 0: no alignment, no counterpart
  std::int64_t alpha_warmup_steps = 0;
  double lambda_full = 1;    // pulls the full stream toward the sparse one
  double lambda_sparse = 1;  // pulls the sparse stream toward the full one
  Distance distance = Distance::kSmoothL1;
  Site site = Site::kPre;
  bool propagated = false;  // the counterpart is computed in a pass of its own
  bool detached = false;    // the pull reaches the layer's own weights, not its input
  std::int64_t every_steps = 1;
  bool shuffled = false;  // a control: targets are another example's
  double gap_target = 0;  // > 0: alpha is steered, step by step, so that the relative gap is this
  double gap_rate = 0;    // of the steering
};

// Gradients are taken at other weights than the current ones.
struct Perturbation {
  enum class Kind {
    kNone,
    kAscent,      // w + radius x gradient (SAM)
    kCompressed,  // the same, pruned to the mask (CrAM)
  };
  Kind kind = Kind::kNone;
  double radius = 0;
  bool unit = true;       // radius is of the unit gradient g / |g|; else of g itself
  bool masked = false;    // kCompressed: what the gradient there gives dormant weights is left out
  bool adds_own = false;  // the gradient at the current weights is added (CrAM+)
};

// A dense net of its own, trained beside the run on the same batches; the run learns from its
// outputs as well: loss + alpha T^2 KL(teacher / T, own / T).
struct Teacher {
  double alpha = 0;  // 0: there is none
  double temperature = 1;
};

struct Policies {
  Schedule schedule;
  Sets sets;
  Dormant dormant;
  TopologyRule topology;
  Start start;
  Alignment alignment;
  Perturbation perturbation;
  Teacher teacher;
  double power =
      1;  // w = v |v|^(power - 1), and v is what the optimizer updates (powerpropagation)
  // Attention only.
  std::string module = "two_stream";  // in the registry of nn/attention/module.h
  // Which blocks a query reads; its own is always among them.
  struct Selector {
    std::string score = "softmax";  // in the registry of nn/attention/selector.h
    bool per_head = false;          // MoBA; else shared by the heads of a group (SSA's code)
    bool force_first = false;       // block 0 is always among them
    std::int64_t nearest = 0;       // so many before the query's own are always among them
    double top_p = 1;               // no more than make up this share of the importance
    std::int64_t subblocks = 4;     // score "subblock": parts of a block
    std::int64_t stride = 4;        // score "strided", in blocks
    // As the released kernel chooses: of all chunks of block_size blocks before a query's last one
    // and of that last one, half a chunk each at most.
    bool streaming = false;
    struct Indexer {             // score "indexer"
      std::int64_t heads = 2;    // for each key head
      std::string pool = "max";  // of a block's keys
      // What it learns: full attention over all past blocks, that over the chosen ones, or what
      // the streams that a step computes can tell.
      enum class Target { kStream, kFull, kChosen } target = Target::kStream;
      auto operator<=>(const Indexer&) const = default;
    } indexer = {};
    auto operator<=>(const Selector&) const = default;
  } selector;
  double entropy_penalty = 0;  // weight in the loss of the attention's mean entropy in bits

  bool has_full_stream() const { return schedule.kind != Schedule::Kind::kSparse; }
  // Dormant positions are zero at every step, so that a product needs no mask.
  bool dormant_stay_zero() const { return dormant.kind == Dormant::Kind::kZero; }
  // Dormant positions of the trained net hold values of their own, so that it has a full read-out.
  bool dormant_carry_values() const {
    return !dormant_stay_zero() && !(dormant.zeroed_by_phases && schedule.ends_sparse());
  }
};

// Share of positions dropped by an update at `progress` in [0,1] of the schedule's span.
double drop_fraction_at(const TopologyRule& rule, double progress);
// Density at `progress` of [begin,end]: s_t = s_f + (s_i - s_f)(1 - progress)^3 (Zhu & Gupta 2017).
double density_at(const TopologyRule& rule, const Start& start, double progress);

}  // namespace tandem
