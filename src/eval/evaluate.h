// Read-outs: how a trained net does with each stream, at the trained budget and at others.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/nearest_mean.h"
#include "probes/probe.h"
#include "store/rows.h"
#include "train/trainer.h"

namespace tandem {

// A read-out of a group: budgets are multiples of each run's own, so that one forward pass serves
// all.
struct BudgetReadout {
  bool attention_sparse = false;
  bool weights_sparse = false;
  double attention_factor = 1, weights_factor = 1;
  std::int64_t context_multiple = 1;  // how long windows are, of those of training
  std::string scaling = "none";       // of rotary positions there (nn/rope.h)
  bool operator==(const BudgetReadout&) const = default;
};

// The read-outs of a method pair. Where dormant weights carry no values the full read-out at the
// weights level does not exist, and budgets above the trained one neither. With `curve`: quarter,
// half, same, double, four times and everything, one level at a time.
std::vector<BudgetReadout> readouts_of(const RunSchedule& run, bool has_attention, bool curve);

struct Evaluation {
  std::int64_t stage = 0;  // tasks finished
  std::string split = "validation";
  bool curve = false;          // all budgets, and one bit per example on images
  std::vector<char> wanted;    // [R] which replicas' rows are wanted
  std::int64_t last_task = 0;  // tasks up to this one are evaluated; 0: all
  bool longer = false;         // also in the longer windows that the runs ask for
};

// Rows per replica, over the tasks of its sequence. A read-out of windows longer than those of
// training has another row for each, of the targets beyond the trained length alone.
std::vector<std::vector<EvalRow>> evaluate(Trainer& trainer, const Evaluation& evaluation);

// The runs as read-outs and probes want them, as they are now.
std::vector<ReadoutRun> probe_runs(const Trainer& trainer);

// The fixed batch of probes, and of rankings that read gradients or inputs: the first validation
// examples; where there is no validation, training examples that lie evenly.
Batch probe_batch(const Trainer& trainer);
// The task of each of its examples, [R][examples]; empty where runs have one task.
std::vector<std::vector<std::int64_t>> probe_tasks(const Trainer& trainer);
RankingBatch ranking_batch(const Batch& batch);

// Where the net is read by the nearest mean: the means of its read-outs at the trained density, by
// the weights' stream ("full", "sparse").
std::map<std::string, NearestMean> means_of_readouts(Trainer& trainer);

// Masks of the sparse read-out at the trained density, uint8 [R,n] beside Model::linears().
// Undefined: the layer has no connections. Empty: every run's is the mask that it trains with.
LayerMasks sparse_net(Trainer& trainer);

}  // namespace tandem
