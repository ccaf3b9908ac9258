// What a run would be refused for, or warned of, before anything of it is made: its policies, then
// whether its memory can be had, then its data, tasks, network and strategy are asked.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "config/config.h"
#include "continual/scenario.h"
#include "jobs/storage_choice.h"
#include "policy/rules.h"
#include "topology/budgets.h"

namespace tandem {

class RunCheck {
 public:
  // `device` as resolve_device() says it. `storage` is asked how layers are stored that would be
  // too large for dense copies.
  explicit RunCheck(std::string device, StorageChooser storage = storage_chooser())
      : device_(std::move(device)), storage_(std::move(storage)) {}

  // Throws ConfigError or DataError for the first thing that the run would be refused for; what it
  // would be warned of is returned, in whole sentences. Reads the run's data set, once per process.
  std::vector<std::string> check(const Config& run);

 private:
  const TaskSequence& tasks_of(const Config& run, const Dataset& data);
  void ask_copies(RunFacts& facts, const std::vector<LayerShape>& layers);

  std::string device_;
  StorageChooser storage_;
  std::map<std::string, TaskSequence> tasks_;  // by all that they depend on but the seed
};

// Runs that are alike but for their seeds are checked once. Warnings with the number of runs that
// they are of.
std::map<std::string, int> check_all(const std::vector<Config>& runs, const std::string& device,
                                     StorageChooser storage = storage_chooser());

}  // namespace tandem
