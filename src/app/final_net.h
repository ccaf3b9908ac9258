// The final weights of a finished run, as a read-out has them: the parameters, in the sparse one
// with zeros outside of the masks that the run's sparse net was evaluated with at its density, and
// the buffers of the model.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <utility>
#include <vector>

#include "store/store.h"

namespace tandem {

using NamedTensors = std::vector<std::pair<std::string, at::Tensor>>;

struct FinalNetOptions {
  bool sparse = false;        // the sparse read-out, else all weights
  bool torch_layout = false;  // weights of layers are [out,in], else [in,out]
  std::string task = "0";     // the net of this task, where each has one; "0": the last
};

// On the CPU. A layer of more than 2^27 positions that was stored sparsely is NAME.values [n] and
// NAME.indices [2,n], in the order of the layout. NAME.mask beside a layer's weights says which of
// them the read-out's mask has, zeros too, where it lacks some. Throws StoreError where the weights
// are not there, ConfigError where the run has no such net.
NamedTensors final_net(const std::string& database, const RunRecord& run,
                       const FinalNetOptions& options);

}  // namespace tandem
