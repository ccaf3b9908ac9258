#include "train/device.h"

#include "core/error.h"
#include "cuda/plugin.h"

namespace tandem {
namespace {

int gpu_index(const std::string& device) {
  return device.size() > 5 ? std::stoi(device.substr(5)) : 0;
}

}  // namespace

bool is_gpu(const std::string& device) { return device.rfind("cuda", 0) == 0; }

std::string resolve_device(const std::string& wanted) {
  if (wanted == "cpu") return "cpu";
  const PluginStatus& plugin = load_cuda_plugin();
  const int found = plugin.loaded ? plugin.api->device_count() : 0;
  if (wanted == "auto") return found > 0 ? "cuda:0" : "cpu";
  if (gpu_index(wanted) < found) return "cuda:" + std::to_string(gpu_index(wanted));
  throw DeviceError("--device " + wanted + ": " + plugin.message + "; " + std::to_string(found) +
                    " GPU(s) can be used. Run with --device cpu, or see `tandem doctor`");
}

std::string describe_device(const std::string& device) {
  return is_gpu(device) ? device + ": " + cuda_api().device_text(gpu_index(device)) : device;
}

std::int64_t device_bytes(const std::string& device) {
  return cuda_api().total_bytes(gpu_index(device));
}

}  // namespace tandem
