// The table of the CUDA kernels that the plug-in brings. A .cu file offers its launchers to it
// beside their definitions, once for all types; whoever has loaded the plug-in finds them there by
// name and signature (src/cuda/plugin.h), so that a kernel enters in this one place.
#pragma once

#include <typeinfo>
#include <vector>

namespace tandem {

struct CudaKernel {
  const char* name;
  const char* signature;  // typeid of the launcher's type: one name may stand for several types
  void (*launch)();
};

inline std::vector<CudaKernel>& cuda_kernel_table() {
  static std::vector<CudaKernel> table;
  return table;
}

// A launcher's last argument is the stream; it returns 0 or a CUDA error's code. Naming a
// launcher's instances here is what instantiates them.
template <class... Launchers>
bool offer_cuda_kernel(const char* name, Launchers*... launchers) {
  (cuda_kernel_table().push_back(
       {name, typeid(Launchers).name(), reinterpret_cast<void (*)()>(launchers)}),
   ...);
  return true;
}

}  // namespace tandem
