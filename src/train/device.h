// Where tensors live: the choice of --device auto, and the refusal of a device that isn't there.
#pragma once

#include <string>

namespace tandem {

// "cpu" for "auto" and "cpu". "cuda" is a DeviceError that says what was found: training on a GPU
// is not available in this version.
std::string resolve_device(const std::string& wanted);

}  // namespace tandem
