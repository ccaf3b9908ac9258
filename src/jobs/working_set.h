// What one replica keeps in memory while it trains: estimates by which groups are sized.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "policy/policy.h"
#include "topology/storage.h"

namespace tandem {

// Numbers that one replica's step holds: its weights, and its activations.
struct WorkingSet {
  double weights = 0, activations = 0;
};

// A read-out keeps nothing for a backward pass, but it may be wider than the batch; with
// `read_out_share` of a training step's activations it counts, with 0 it does not.
WorkingSet working_set(const Config& config, double read_out_share);

// Bytes that one run needs in any case, alone and with nothing kept but what a step can't do
// without: what is larger than a machine's memory can't be had there.
double least_bytes_of(const Config& config, const Policies& weights, bool on_gpu);

// Bytes of one replica on a GPU, its teacher's net and kept copies of perturbed weights among them.
double gpu_bytes_of(const Config& config);

// How many replicas a group should have on a device: by working set on a CPU, by memory on a GPU.
std::int64_t group_size(const Config& config, const std::string& device,
                        const std::vector<Storage>& storage = {});

}  // namespace tandem
