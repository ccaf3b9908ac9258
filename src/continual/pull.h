// What EWC, SI and MAS share: each weight has an importance Omega and a centre, and
//   factor sum_w Omega_w (w - centre_w)^2
// is added to the loss, once a step whatever passes it takes. Both are slots of the parameters, so
// that topology updates move them: a weight that is new to the topology has no importance, and
// nothing pulls on it. (The constant of the logged term keeps the part of weights that are gone.)
#pragma once

#include <string>
#include <vector>

#include "continual/strategy.h"

namespace tandem {

class QuadraticPull : public Strategy {
 public:
  // factor(config) times `stability`.
  QuadraticPull(StrategyView view, double factor);

  StrategyNeeds needs() const override { return {.looks_back = true}; }

  // The term and its gradient.
  at::Tensor gradient(StepGradients& gradients) override;
  NamedTensors save(std::int64_t r) const override;
  void load(std::int64_t r, const std::string& name, const at::Tensor& values) override;

 protected:
  at::Tensor slot(Parameter& parameter, const char* what) const;
  // Another pull (importances by parameter, beside Parameter::flat()) toward the weights as they
  // are now joins the one that there is: their sum is one pull again and a constant, which is kept.
  void join(const std::vector<at::Tensor>& importance);
  // The old importances are multiplied with keep [R], the others are added, and the centre of all
  // is the weights as they are now.
  void follow(const std::vector<at::Tensor>& importance, const at::Tensor& keep);
  // Nothing comes after it.
  bool is_last(std::int64_t task) const {
    return task == static_cast<std::int64_t>(view_.sequences.front().tasks.size());
  }

 private:
  std::string name_;     // of the strategy, and the first word of what it keeps
  at::Tensor factor_;    // [R], factor times stability
  at::Tensor constant_;  // double [R]
};

// Examples [R] of a task that importances are taken over: fisher_examples of each, drawn without
// replacement, or all where it says 0.
std::vector<std::vector<std::int64_t>> examples_of_importance(
    const StrategyView& view, std::int64_t task,
    const std::vector<std::vector<std::int64_t>>& examples);

}  // namespace tandem
