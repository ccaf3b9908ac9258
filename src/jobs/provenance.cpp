#include "jobs/provenance.h"

#include <sys/utsname.h>
#include <torch/version.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "config/initial_file.h"
#include "core/embedded.h"
#include "core/files.h"
#include "data/tensor.h"
#include "jobs/device.h"
#include "jobs/storage_choice.h"

namespace tandem {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// Returns the storage of each linear layer, or one word for all.
std::string storage_of(const GroupSpec& spec) {
  if (!spec.storage.empty()) return storages_text(spec.storage);
  return spec.runs.front().text("storage") == "sparse" ? "sparse" : "masked";
}

}  // namespace

std::string processor_name() {
  std::ifstream lines("/proc/cpuinfo");
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string provenance_json(const GroupSpec& spec, const Config& run, const Dataset& data,
                            bool wanted) {
  utsname system{};
  uname(&system);
  const BuildInfo build = build_info();
  nlohmann::json files = nlohmann::json::array();
  for (const FileFact& file : data.files) {
    files.push_back({{"path", file.path}, {"sha256", file.sha256}, {"bytes", file.bytes}});
  }
  nlohmann::json place = {{"revision", build.revision},
                          {"dirty", build.dirty},
                          {"compiler", build.compiler},
                          {"torch", TORCH_VERSION},
                          {"kernel", system.release},
                          {"machine", processor_name()},
                          {"cores", std::thread::hardware_concurrency()},
                          {"threads", at::get_num_threads()},
                          {"mkl_cbwr", variable("MKL_CBWR")},
                          {"device", describe_device(spec.device)},
                          {"storage", storage_of(spec)},
                          {"group_size", spec.runs.size()},
                          {"data", data.name},
                          {"data_files", files}};
  if (begins_with_file(run)) {
    place["init"] = {{"net", run.text("init_net")}, {"sha256", run.text("init_hash")}};
    const std::string path = initial_file(run);
    if (wanted && !path.empty()) place["init"]["path"] = whole_path(path);
  }
  return place.dump();
}

}  // namespace tandem
