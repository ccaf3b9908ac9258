// The four errors of the library and the exit codes that main() gives them. Library code throws one
// of these and neither prints nor exits. A message names the value, what was expected and what to
// do.
#pragma once

#include <stdexcept>
#include <string>

namespace tandem {

enum ExitCode : int {
  kExitDone = 0,
  kExitBug = 1,
  kExitConfig = 2,
  kExitData = 3,
  kExitStore = 4,
  kExitDevice = 5,
  kExitStopped = 75,
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode exit_code() const { return code_; }

 private:
  ExitCode code_;
};

struct ConfigError : Error {
  explicit ConfigError(const std::string& message) : Error(kExitConfig, message) {}
};
struct DataError : Error {
  explicit DataError(const std::string& message) : Error(kExitData, message) {}
};
struct StoreError : Error {
  explicit StoreError(const std::string& message) : Error(kExitStore, message) {}
};
struct DeviceError : Error {
  explicit DeviceError(const std::string& message) : Error(kExitDevice, message) {}
};

}  // namespace tandem
