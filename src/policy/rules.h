// Which options go together, in one table. A rule is a condition under which a run is refused, or
// warned of, and the sentence that says why and what to do. Conditions ask policies and facts of
// registered parts; none names a method.
//
// A rule of policies alone is checked wherever policies are made from a config or handed to a
// topology's updates. The others are checked before anything runs: first those that a config and a
// device decide, then, once nothing is too large, those that ask the run's data and network.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "policy/policy.h"

namespace tandem {

struct LayerFacts {
  std::string name;
  std::int64_t inputs = 0, outputs = 0;
};

// What rules may ask of a run. Rules of policies read the first two alone; who checks a whole run
// (jobs/run_check.h) fills in the rest.
struct RunFacts {
  const Policies& weights;
  const Policies& attention;
  // For rules of a config.
  const Config* config = nullptr;
  std::string device = "cpu";
  bool on_gpu = false;
  std::string sparse_refusal = {};    // why sparse connections can't serve the policies, or ""
  double bytes = 0, bytes_there = 0;  // memory that one run needs at least, and the device's
  // For rules of a run.
  std::vector<LayerFacts> layers = {};  // linear layers, in the order of the network
  std::int64_t most_drawing_layers = 0;
  bool has_attention = false;      // the model
  double reachable_density = 0;    // the share of weights that the run's density gives this net
  double settled_density = 0;      // near it, a density that is reached as it is said
  std::int64_t task_steps = 0;     // of the shortest task
  std::int64_t steps = 0;          // of the run
  std::int64_t task_examples = 0;  // training examples of the smallest task
  std::int64_t examples = 0;       // of all tasks
  std::int64_t epoch_steps = 0;    // of the shortest epoch
  std::int64_t replay_slots = 0;   // examples that one replay of a step may have
  std::int64_t tasks = 1;          // of the sequence
  std::int64_t stages = 1;         // in which they are trained: one where all are trained at once
  bool fresh_start = false;        // each stage begins with the run's first network and topology
  bool holds_weights = false;      // weights of finished tasks stay in the topology, one by one
  bool weights_rest = false;       // free weights rest toward the end of each task
  bool within_mask = false;        // the strategy computes with active weights alone
  bool replaces_values = false;    // steps are taken at other values than the weights'
  bool gates_units = false;        // hidden units are gated, or tasks', between layers of a chain
  bool looks_back = false;         // the strategy does nothing before a first task has ended
  std::int64_t least_buffer = 0;   // with fewer examples it does nothing
  bool stores_outputs = false;     // what enters its memory enters with the outputs of its step
  bool own_outputs = false;        // each class of each task must have an output of its own
  bool shares_outputs = false;     // tasks do, or there are no classes
  bool exact_fisher = false;       // there is a gradient of each output of each row
  bool keeps_classes = false;      // stages are memories that are balanced over classes
  bool own_tasks = true;           // each stage trains on its task alone
  bool needs_ends = false;         // the strategy acts where tasks end, or by what is a task's own
  bool in_order = false;           // examples come in an order of their own, each once
  bool sequences = false;          // examples are sequences of tokens, which have no class
  bool windows = false;            // they are windows of a byte corpus, of any length
  // Validation and test examples, windows of a byte corpus: of all tasks, and of the task that has
  // the fewest.
  std::int64_t validation_examples = 0, test_examples = 0, task_validation_examples = 0;
  std::string too_large_to_copy = {};  // why no dense copies are made of what it stores, or ""
  bool begins_at_budget = true;        // its first mask is the net that is read out
  std::vector<std::string> copying_probes = {};  // those that read dense copies
};

// The first level whose policies are so, the weights level first; null: none is.
inline const Level* level_where(const RunFacts& f, bool (*is)(const Policies&, const RunFacts&)) {
  static constexpr Level kOrder[] = {Level::kWeights, Level::kAttention};
  for (const Level& level : kOrder) {
    if (is(level == Level::kWeights ? f.weights : f.attention, f)) return &level;
  }
  return nullptr;
}
inline const Policies& policies_at(const RunFacts& f, Level level) {
  return level == Level::kWeights ? f.weights : f.attention;
}

struct Rule {
  enum class Verdict { kRefused, kWarned };
  enum class Of { kPolicies, kConfig, kRun };
  std::string name;  // for tests and for people who read the table
  Verdict verdict;
  Of of;
  bool (*breaks)(const RunFacts&);
  std::string (*sentence)(const RunFacts&);
};

const std::vector<Rule>& rules();
// The parts of the table.
std::vector<Rule> weights_rules();     // streams, sets, alignment, dormant weights
std::vector<Rule> topology_rules();    // granularity, budget and operations of updates
std::vector<Rule> divergence_rules();  // settings that are known to diverge
std::vector<Rule> run_rules();         // what the run's device, network, data and length allow
std::vector<Rule> data_rules();        // options that count what the data may not have
std::vector<Rule> unread_rules();      // options that nothing reads under the others

// Throws ConfigError with the sentence of the first rule of policies that the weights level breaks.
void check_policies(const Policies& weights);
// The same of the attention level's.
void check_attention_policies(const Policies& attention);
// The same for rules of a config, and for those of a run.
void check_config(const RunFacts& facts);
void check_run(const RunFacts& facts);
// The same for the rules of these names alone, by who holds only what these ask.
void check_rules(const std::vector<std::string>& names, const RunFacts& facts);
// Sentences of the warnings that apply: those of policies alone, and those of the run.
std::vector<std::string> policy_warnings(const Policies& weights, const Policies& attention);
std::vector<std::string> run_warnings(const RunFacts& facts);

}  // namespace tandem
