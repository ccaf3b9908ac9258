// A ledger of training floating-point operations (2 per multiply-add), per replica and step, from
// the sets in use: each product that a method needs is charged with the connections that take part
// in it, whatever the storage computes. Closed forms: f_D forward of the dense net; dense training
// 3 f_D; static and SET 3 f_S; RigL (3 f_S dT + 2 f_S + f_D)/(dT + 1) with updates in place of
// steps (Evci et al. 2020, appendix H); Top-KAST 2 f_S + f_B. A gradient at other weights costs a
// second step (SAM, CrAM), a teacher a dense one.
//
// Shapes: R replicas (runs of the group).
#pragma once

#include <cstdint>
#include <vector>

#include "nn/model.h"
#include "plan/plan.h"
#include "plan/step_flops.h"
#include "policy/policy.h"

namespace tandem {

class FlopsLedger {
 public:
  // `rows` is the number of rows that a linear layer sees per example (1, or tokens).
  FlopsLedger(Model& model, const std::vector<RunSchedule>& runs, double rows);

  // Reads the connections' active counts anew, after they have changed.
  void record_masks();
  // Charges one step; examples[r] in replica r's batch, and passed[r] that only pass forward once
  // more. It counts once charge_steps() says that it was taken.
  void charge(const std::vector<ReplicaPlan>& plans, const std::vector<double>& examples,
              const std::vector<double>& passed = {});
  // Charges what took place between steps.
  void add(std::int64_t r, double operations) {
    training_[static_cast<std::size_t>(r)] += operations;
  }
  // Forward operations of one example in the stream that the method trains.
  double trained_forward(std::int64_t r) const;
  // Says that the first `taken` of the steps charged to r since the last call took place: a replica
  // that diverges stands still from then on, which the host learns later.
  void charge_steps(std::int64_t r, std::int64_t taken);
  double training(std::int64_t r) const { return training_[static_cast<std::size_t>(r)]; }
  void set_training(std::int64_t r, double value) {
    training_[static_cast<std::size_t>(r)] = value;
  }
  // Forward operations of one example in the streams given.
  double forward(std::int64_t r, bool attention_full, bool weights_full) const;

 private:
  void record_layers(const std::vector<Linear*>& linears,
                     const std::vector<std::vector<double>>& supersets, std::int64_t r);

  Model& model_;
  std::vector<RunSchedule> runs_;
  double rows_;
  std::vector<ForwardFlops> forward_;         // [R]
  std::vector<std::vector<double>> charged_;  // [R], of steps not known to be taken yet
  std::vector<double> training_;
};

}  // namespace tandem
