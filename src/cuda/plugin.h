// The CUDA plug-in from the program's side. Nothing in the program links CUDA: libtandem_cuda.so
// lies beside it, brings libtorch_cuda.so with it, and once it is loaded torch::kCUDA works. Where
// it is missing or does not load, the program runs on the CPU and the message says why.
#pragma once

#include <cstdint>
#include <string>
#include <typeinfo>
#include <vector>

#include "kernels/cuda_kernel.h"

namespace tandem {

// What the plug-in does for the program. Work goes to the calling thread's current stream of the
// current device and nothing waits unless it says so.
struct CudaApi {
  std::int64_t version;

  int (*device_count)();
  std::string (*device_text)(int device);  // name and facts of a card, for people
  std::int64_t (*total_bytes)(int device);
  // Makes a stream of the pool the calling thread's current one (captures need one).
  void (*enter_stream)(int device);
  void (*synchronize)();           // waits for the current stream
  const char* (*error_text)(int);  // of a kernel's return code

  // A captured step. begin and end frame what the calling thread (and autograd for it) launches;
  // all graphs share one pool of memory, so what one leaves behind holds until another runs.
  void* (*graph_begin)();
  void (*graph_end)(void* graph);
  void (*graph_replay)(void* graph);
  void (*graph_release)(void* graph);

  void* (*current_stream)();                    // of the calling thread
  const std::vector<CudaKernel>& (*kernels)();  // all that it brings
};
constexpr std::int64_t kCudaApiVersion = 6;

struct PluginStatus {
  bool loaded;
  std::string
      message;  // the devices when loaded (there may be none), else the reason and the remedy
  const CudaApi* api = nullptr;  // when loaded
};

// Loads the plug-in at the first call; later calls return the same answer. Loaded does not mean
// that there is a device: a machine without a driver loads it too.
const PluginStatus& load_cuda_plugin();

// The plug-in's functions, for code that works on tensors which are on a GPU already. Throws
// DeviceError where it is not loaded.
const CudaApi& cuda_api();
// Throws DeviceError that names `what` where a kernel's code is not 0.
void check_cuda(int code, const char* what);

// The plug-in's launcher of that name and signature (typeid of its type). A kernel that it doesn't
// have is our own mistake: std::logic_error.
void (*find_cuda_kernel(const char* name, const char* signature))();
// As a function of type F: decltype of a launcher that kernels/*/*_cuda.h declares.
template <class F>
F* cuda_kernel(const char* name) {
  return reinterpret_cast<F*>(find_cuda_kernel(name, typeid(F).name()));
}
// Launches it on the calling thread's current stream, which is its last argument; throws
// DeviceError where that fails.
template <class F, class... Arguments>
void launch_cuda(const char* name, Arguments... arguments) {
  check_cuda(cuda_kernel<F>(name)(arguments..., cuda_api().current_stream()), name);
}

// Loads the plug-in of a folder, or of the one above it (test programs lie one level down).
PluginStatus load_cuda_plugin_from(const std::string& folder);

}  // namespace tandem
