// The CUDA plug-in from the program's side. Nothing in the program links CUDA: libtandem_cuda.so
// lies beside it, brings libtorch_cuda.so with it, and once it is loaded torch::kCUDA works. Where
// it is missing or does not load, the program runs on the CPU and the message says why.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "kernels/update/settle.h"
#include "kernels/update/update.h"

namespace tandem {

// What the plug-in does for the program. Work goes to the calling thread's current stream of the
// current device and nothing waits unless it says so. Kernels return 0 or a CUDA error's code;
// their arguments are those of kernels/*/*_cuda.h, a stream aside.
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

  int (*sgd_float)(float* weight, const float* gradient, float* momentum,
                   kernels::UpdateMasks masks, std::int64_t n,
                   const kernels::ReplicaUpdate* replicas, std::int64_t replica_count,
                   kernels::SgdRule rule);
  int (*sgd_double)(double* weight, const double* gradient, double* momentum,
                    kernels::UpdateMasks masks, std::int64_t n,
                    const kernels::ReplicaUpdate* replicas, std::int64_t replica_count,
                    kernels::SgdRule rule);
  int (*adam_float)(float* weight, const float* gradient, float* first, float* second, float* count,
                    kernels::UpdateMasks masks, std::int64_t n,
                    const kernels::ReplicaUpdate* replicas, std::int64_t replica_count,
                    kernels::AdamRule rule);
  int (*adam_double)(double* weight, const double* gradient, double* first, double* second,
                     double* count, kernels::UpdateMasks masks, std::int64_t n,
                     const kernels::ReplicaUpdate* replicas, std::int64_t replica_count,
                     kernels::AdamRule rule);
  int (*squares_float)(const float* gradient, const std::uint8_t* gradient_set, std::int64_t n,
                       const kernels::StepNumbers* numbers, std::int64_t replica_count,
                       double* scratch, double* squares);
  int (*squares_double)(const double* gradient, const std::uint8_t* gradient_set, std::int64_t n,
                        const kernels::StepNumbers* numbers, std::int64_t replica_count,
                        double* scratch, double* squares);
  int (*settle)(const kernels::StepOutcome& outcome, kernels::ReplicaState* state,
                kernels::ReplicaUpdate* updates);
  int (*masked_copy_float)(const float* w, const std::uint8_t* m, std::int64_t segments,
                           std::int64_t n, const std::uint8_t* full, float* out);
  int (*masked_copy_double)(const double* w, const std::uint8_t* m, std::int64_t segments,
                            std::int64_t n, const std::uint8_t* full, double* out);
  int (*gather_float)(const std::uint8_t* rows, std::int64_t features, const std::int64_t* index,
                      std::int64_t count, double scale, double shift, float* out);
  int (*gather_double)(const std::uint8_t* rows, std::int64_t features, const std::int64_t* index,
                       std::int64_t count, double scale, double shift, double* out);
  int (*select_top)(const float* scores, const std::uint8_t* eligible, std::int64_t rows,
                    std::int64_t n, const std::int64_t* counts, bool largest, std::uint8_t* chosen);
};
constexpr std::int64_t kCudaApiVersion = 4;

// The one of two functions of the table that is for T, float or double.
template <class T, class Float, class Double>
constexpr auto function_for(Float for_float, Double for_double) {
  if constexpr (std::is_same_v<T, float>) {
    return for_float;
  } else {
    return for_double;
  }
}

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

// Loads the plug-in of a folder, or of the one above it (test programs lie one level down).
PluginStatus load_cuda_plugin_from(const std::string& folder);

}  // namespace tandem
