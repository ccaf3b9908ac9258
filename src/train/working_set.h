// What one replica keeps in memory while it trains: estimates by which groups are sized.
#pragma once

#include "config/config.h"

namespace tandem {

// Numbers that one replica's step holds: its weights, and its activations.
struct WorkingSet {
  double weights = 0, activations = 0;
};

// A read-out keeps nothing for a backward pass, but it may be wider than the batch; with
// `read_out_share` of a training step's activations it counts, with 0 it does not.
WorkingSet working_set(const Config& config, double read_out_share);

// Bytes of one replica on a GPU, its teacher's net and kept copies of perturbed weights among them.
double gpu_bytes_of(const Config& config);

}  // namespace tandem
