// Checkpoints of a group: one safetensors file and a manifest with its SHA-256, whose rename is the
// commit point. Two generations are kept; a damaged one is set aside with a warning and the older
// one used. Tensors are named "RUN/parameter/NAME", "RUN/slot/NAME/SLOT", "RUN/mask/NAME", ... so
// that each run has a section of its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace tandem {

struct Checkpoint {
  std::string state;  // JSON text: step, task, per-run counters, rows not yet acknowledged
  std::vector<std::pair<std::string, at::Tensor>> tensors;  // contiguous CPU tensors
};

// Throws StoreError (disk full, read-only) and leaves the older generations as they are.
void save_checkpoint(const std::string& folder, const Checkpoint& checkpoint);
std::optional<Checkpoint> load_checkpoint(const std::string& folder);
// The state alone of the newest checkpoint whose manifest is whole; tensors aren't looked at.
std::optional<std::string> checkpoint_state(const std::string& folder);
void remove_checkpoints(const std::string& folder);
bool has_checkpoint(const std::string& folder);  // a manifest is there, whole or not

}  // namespace tandem
