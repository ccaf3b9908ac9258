// The entry of libtandem_cuda.so. Linking it against libtorch_cuda.so is its main purpose: loading
// the one loads the other, which registers the CUDA back end with the LibTorch that is running
// already.
#include <cuda_runtime_api.h>

#include <string>

namespace {

std::string describe_device(int index) {
  cudaDeviceProp properties{};
  const cudaError_t error = cudaGetDeviceProperties(&properties, index);
  if (error != cudaSuccess) {
    return "device " + std::to_string(index) + ": " + cudaGetErrorString(error);
  }
  return std::string(properties.name) + " (sm_" + std::to_string(properties.major) +
         std::to_string(properties.minor) + ", " + std::to_string(properties.totalGlobalMem >> 30) +
         " GiB)";
}

std::string describe_all() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return std::string("no CUDA device: ") + cudaGetErrorString(error);
  if (count == 0) return "no CUDA device";
  std::string text = describe_device(0);
  for (int i = 1; i < count; ++i) text += ", " + describe_device(i);
  return text;
}

}  // namespace

extern "C" const char* tandem_cuda_describe() {
  static const std::string text = describe_all();
  return text.c_str();
}
