// Where tensors live: the choice of --device auto, and the refusal of a device that isn't there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

// "cpu" or "cuda:N". `wanted` is cpu, auto (a GPU where the plug-in finds one, else the CPU), cuda
// (the first GPU), cuda:N or cuda:all, which stays so where there are several. A GPU that isn't
// there is a DeviceError that says what was found.
std::string resolve_device(const std::string& wanted);

// Returns each device of cuda:all, which stands for several, and elsewhere the one.
std::vector<std::string> devices_of(const std::string& device);
bool is_gpu(const std::string& device);
// A resolved device with its card's name, as provenance keeps it.
std::string describe_device(const std::string& device);
// Memory in bytes: of the machine, as far as this process may have it, or of a resolved GPU.
std::int64_t memory_bytes(const std::string& device);
// The latter.
std::int64_t device_bytes(const std::string& device);

}  // namespace tandem
