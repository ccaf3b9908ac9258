// A walk over every registered weights method in every storage that serves it with every registered
// optimizer that serves both: small nets, few steps, busy topologies. Each stop is a section of its
// own, so that one failure hides no other.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "train/trainer.h"

namespace tandem::test {

constexpr std::int64_t kWalkSteps = 16;  // updates after 4, 8 and 12 of them
constexpr std::int64_t kWalkInterval = 4;

// Two runs of different seeds and, where they may, of different densities.
struct MethodCase {
  std::string method, storage, optimizer;
  std::vector<Config> runs = {};
  Policies policies = {};  // of the first
  TrainerOptions options = {};

  // Another trainer at the start of the first stage.
  std::unique_ptr<Trainer> start() const;
};

struct MethodWalk {
  Settings settings = {};  // on top of the method's; what a method does not read is left out
  at::ScalarType dtype = at::kFloat;
  std::string label = {};       // of the sections, where a test case walks more than once
  bool one_optimizer = false;   // the method's default one alone
  bool may_be_refused = false;  // whatever the optimizer
  std::string only_with = {};   // an option: methods that don't read it are left out

  using Visit = std::function<void(const MethodCase& each, Trainer& trainer)>;
  void over_methods(const Visit& visit) const;
  // Each method under each choice and flag of its own that is not its default, and under numbers
  // that are off by default; what a method refuses is left out (refused_choices() has all of it).
  void over_choices(const Visit& visit) const;
  // The storages and optimizers of one method alone.
  void over(const std::string& method, const Visit& visit) const;
  // Throws ConfigError where the two can't go together.
  MethodCase case_of(const std::string& method, const std::string& storage,
                     const std::string& optimizer) const;

 private:
  void visit_case(const std::string& method, const std::string& storage,
                  const std::string& optimizer, const Visit& visit) const;
};

// Which of the stops over_choices() leaves out, as "METHOD OPTION=VALUE ...", sorted.
std::vector<std::string> refused_choices();
// Which methods, as they are, the sparse storage serves; and which methods and optimizers refuse
// each other, as "METHOD OPTIMIZER". Sorted.
std::vector<std::string> sparse_methods();
std::vector<std::string> refused_optimizers();

}  // namespace tandem::test
