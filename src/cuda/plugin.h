// The CUDA plug-in from the program's side. Nothing in the program links CUDA: libtandem_cuda.so
// lies beside it, brings libtorch_cuda.so with it, and once it is loaded torch::kCUDA works. Where
// it is missing or does not load, the program runs on the CPU and the message says why.
#pragma once

#include <string>

namespace tandem {

struct PluginStatus {
  bool loaded;
  std::string
      message;  // the devices when loaded (there may be none), else the reason and the remedy
};

// Loads the plug-in at the first call; later calls return the same answer. Loaded does not mean
// that there is a device: a machine without a driver loads it too.
const PluginStatus& load_cuda_plugin();

// Loads the plug-in of a folder, or of the one above it (test programs lie one level down).
PluginStatus load_cuda_plugin_from(const std::string& folder);

}  // namespace tandem
