// Training runs on the CPU. A GPU is found and named (see `tandem doctor`), but the optimizer's
// kernels have no CUDA version yet, so asking for one is refused rather than run slowly or wrongly.
#include "train/device.h"

#include "core/error.h"
#include "cuda/plugin.h"

namespace tandem {

std::string resolve_device(const std::string& wanted) {
  if (wanted != "cuda") return "cpu";
  const PluginStatus& plugin = load_cuda_plugin();
  throw DeviceError("--device cuda: training on a GPU is not available in this version (" +
                    plugin.message + "); run with --device cpu");
}

}  // namespace tandem
