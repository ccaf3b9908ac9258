// This is what the net makes of the fixed batch as it is read out: through averages of weights, or
// each example through the net of its task, where a strategy says so.
//
// Shapes: R replicas (runs of the group), N examples, H units of a layer, C outputs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "probes/probe.h"

namespace tandem {

struct NetReading {
  at::Tensor logits;
  std::vector<std::pair<std::string, at::Tensor>>
      activations;  // of hidden layers [R,N,H], in order
};

// The stream is that of trained_context(). `tasks` [R][N] is the task of each example. Where tasks
// have nets of their own, what is of a task that has not begun is 0, and where each layer reads
// what the one before it writes, activations are those that are read: times the gate of the unit, 0
// where the net of the task has no weight that reads it.
NetReading read_net(const ProbeInput& input, const std::vector<std::vector<std::int64_t>>& tasks);

// Beside Model::parameters(), [R,...], what the stream that the methods train computes with: all
// weights where they train the full stream, else those of the mask, the others being zero. Memory
// may be shared with the parameters. Reads dense weights (Probe::reads_dense_weights).
std::vector<at::Tensor> trained_values(Model& model, const std::vector<ReadoutRun>& runs);

// The examples of each task that has begun, by their places in the batch: of one replica.
std::map<std::int64_t, std::vector<std::int64_t>> places_by_task(
    const std::vector<std::int64_t>& tasks, std::int64_t last);

// The outputs that each example is read with, bool [R,N,C] beside logits that are, and undefined
// where these are all: those of its own task where tasks have heads or nets of their own.
at::Tensor outputs_read(const ProbeInput& input,
                        const std::vector<std::vector<std::int64_t>>& tasks);

// What each example counts in a mean over those of a task, or of all up to it, [R,N]; 0 where a
// replica has none.
at::Tensor shares_of_task(const ProbeInput& input,
                          const std::vector<std::vector<std::int64_t>>& tasks, std::int64_t task);
at::Tensor shares_up_to(const ProbeInput& input,
                        const std::vector<std::vector<std::int64_t>>& tasks, std::int64_t task);

// The batch's tasks where a run has several and their examples are rows of the activations; else
// empty, as of a sequence model.
std::vector<std::vector<std::int64_t>> tasks_of(const ProbeInput& input);

}  // namespace tandem
