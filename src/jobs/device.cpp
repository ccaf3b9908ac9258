#include "jobs/device.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "core/error.h"
#include "cuda/plugin.h"

namespace tandem {
namespace {

constexpr char kAllGpus[] = "cuda:all";

int gpu_index(const std::string& device) {
  return device.size() > 5 && device != kAllGpus ? std::stoi(device.substr(5)) : 0;
}

int gpus_found() {
  const PluginStatus& plugin = load_cuda_plugin();
  return plugin.loaded ? plugin.api->device_count() : 0;
}

}  // namespace

bool is_gpu(const std::string& device) { return device.rfind("cuda", 0) == 0; }

std::string resolve_device(const std::string& wanted) {
  if (wanted == "cpu") return "cpu";
  const PluginStatus& plugin = load_cuda_plugin();
  const int found = gpus_found();
  if (wanted == kAllGpus && found > 1) return wanted;
  if (wanted == "auto") return found > 0 ? "cuda:0" : "cpu";
  if (gpu_index(wanted) < found) return "cuda:" + std::to_string(gpu_index(wanted));
  throw DeviceError("--device " + wanted + ": " + plugin.message + "; " + std::to_string(found) +
                    " GPU(s) can be used. Run with --device cpu, or see `tandem doctor`");
}

std::vector<std::string> devices_of(const std::string& device) {
  if (device != kAllGpus) return {device};
  std::vector<std::string> all;
  for (int i = 0; i < gpus_found(); ++i) all.push_back("cuda:" + std::to_string(i));
  return all;
}

std::string describe_device(const std::string& device) {
  return is_gpu(device) ? device + ": " + cuda_api().device_text(gpu_index(device)) : device;
}

std::int64_t memory_bytes(const std::string& device) {
  if (is_gpu(device)) return device_bytes(device);
  std::int64_t there =
      static_cast<std::int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGESIZE);
  for (const char* path :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::int64_t limit = 0;  // a file that says "max", or that is not there, sets none
    if (std::ifstream(path) >> limit && limit > 0) there = std::min(there, limit);
  }
  return there;
}

std::int64_t device_bytes(const std::string& device) {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  for (const std::string& each : devices_of(device)) {
    least = std::min(least, cuda_api().total_bytes(gpu_index(each)));
  }
  return least;
}

}  // namespace tandem
