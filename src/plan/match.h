// match = train_flops: a run's schedule is stretched by one factor, so that its training costs what
// dense training costs for the steps that the config says:
//   factor x steps x E[operations per step of this run] = steps x (dense operations per step)
// by the ledger's own formulas (plan/step_flops.h), over masks as their schedule makes them, with
// drawn streams at their expectation. A method that costs more than dense training is cut short.
//
// Everything that is counted in steps or epochs is stretched with it: the length of tasks,
// warm-ups, the intervals of topology updates, refreshes and prunings, and those of probes and
// evaluations, so that a run has as many of each as it would have unstretched. Shares of the run
// stay shares. What is a rule from step to step (weights_align_every, weights_draw_steps) stays as
// it is, and so does an interval of one step.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/model.h"
#include "plan/plan.h"
#include "plan/step_flops.h"
#include "topology/budgets.h"

namespace tandem {

class ScheduleMatcher {
 public:
  // `shape`: what the model was made of; `rows` as in FlopsLedger.
  ScheduleMatcher(Model& model, const ModelShape& shape, double rows)
      : model_(model), shape_(shape), rows_(rows) {}

  // The run as `match` asks for it: itself, or stretched. Throws ConfigError where it can't be.
  RunSchedule matched(const RunSchedule& run);

 private:
  double factor_of(const RunSchedule& run) const;

  Model& model_;
  ModelShape shape_;
  double rows_;
  std::map<std::string, double> factors_;  // by what they depend on
};

// The run with all that is counted in steps times `factor`.
RunSchedule stretched(const RunSchedule& run, double factor);

}  // namespace tandem
