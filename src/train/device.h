// Where tensors live: the choice of --device auto, and the refusal of a device that isn't there.
#pragma once

#include <string>

namespace tandem {

// "cpu" or "cuda" of "auto", "cpu" or "cuda". auto never fails; cuda without a loaded plug-in or a
// visible GPU is a DeviceError that says what is missing.
std::string resolve_device(const std::string& wanted);

}  // namespace tandem
