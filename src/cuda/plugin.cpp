// See plugin.h. The library is never closed: LibTorch keeps pointers into it until the process
// ends.
#include "cuda/plugin.h"

#include <dlfcn.h>

#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include "core/error.h"

namespace tandem {
namespace {

constexpr const char* kLibrary = "libtandem_cuda.so";
constexpr const char* kDescribe = "tandem_cuda_describe";
constexpr const char* kApi = "tandem_cuda_api";

std::string last_dl_error() {
  const char* error = dlerror();
  return error != nullptr ? error : "no reason given by the loader";
}

std::filesystem::path find_library(const std::filesystem::path& folder) {
  for (const std::filesystem::path& place : {folder, folder.parent_path()}) {
    std::error_code error;
    if (std::filesystem::exists(place / kLibrary, error)) return place / kLibrary;
  }
  return {};
}

}  // namespace

PluginStatus load_cuda_plugin_from(const std::string& folder) {
  const std::filesystem::path library = find_library(folder);
  if (library.empty()) {
    return {false, std::string("no ") + kLibrary + " in " + folder +
                       ": it is built where CMake finds nvcc (CUDA Toolkit 13) and a LibTorch with "
                       "CUDA; install them and run ./tandem build"};
  }
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_GLOBAL);
  if (handle == nullptr) {
    return {false, library.string() + " did not load: " + last_dl_error() +
                       "; a CUDA library that LibTorch needs is missing: run ./tandem build on the "
                       "machine with the GPU, or add its folder to LD_LIBRARY_PATH"};
  }
  const auto describe = reinterpret_cast<const char* (*)()>(dlsym(handle, kDescribe));
  if (describe == nullptr) {
    return {false, library.string() + " is not Tandem's plug-in: " + last_dl_error() +
                       "; delete it and run ./tandem build"};
  }
  const auto entry = reinterpret_cast<const CudaApi* (*)()>(dlsym(handle, kApi));
  const CudaApi* api = entry != nullptr ? entry() : nullptr;
  if (api == nullptr || api->version != kCudaApiVersion) {
    return {false,
            library.string() + " was built from another version of Tandem (its interface is " +
                (api != nullptr ? std::to_string(api->version) : "older") + ", the program's " +
                std::to_string(kCudaApiVersion) + "); run ./tandem build"};
  }
  return {true, describe(), api};
}

const PluginStatus& load_cuda_plugin() {
  static const PluginStatus status = [] {
    std::error_code error;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
    if (error) {
      return PluginStatus{false, "the program's own folder, where " + std::string(kLibrary) +
                                     " is looked for, is unknown: /proc/self/exe: " +
                                     error.message() + "; mount /proc"};
    }
    return load_cuda_plugin_from(program.parent_path().string());
  }();
  return status;
}

const CudaApi& cuda_api() {
  const PluginStatus& status = load_cuda_plugin();
  if (status.api == nullptr) {
    throw DeviceError("the GPU was asked for, but the CUDA plug-in is not loaded: " +
                      status.message + "; or run with --device cpu");
  }
  return *status.api;
}

void check_cuda(int code, const char* what) {
  if (code == 0) return;
  throw DeviceError(std::string(what) + " failed on the GPU with CUDA error " +
                    std::to_string(code) + " (" + cuda_api().error_text(code) +
                    "); CUDA_LAUNCH_BLOCKING=1 shows the kernel that is to blame, --device cpu "
                    "does without a GPU");
}

void (*find_cuda_kernel(const char* name, const char* signature))() {
  for (const CudaKernel& kernel : cuda_api().kernels()) {
    if (std::strcmp(kernel.name, name) == 0 && std::strcmp(kernel.signature, signature) == 0) {
      return kernel.launch;
    }
  }
  throw std::logic_error(std::string("the CUDA plug-in has no kernel '") + name +
                         "' of the type that was asked for");
}

}  // namespace tandem
