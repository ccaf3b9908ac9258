// This brings small host tensors to a device.
#pragma once

#include "data/tensor.h"

namespace tandem {

// Returns the same values on the device. A plain copy to a GPU would wait for all work that is
// queued there; this one joins the queue.
inline at::Tensor uploaded(const at::Tensor& values, at::Device device) {
  if (values.device() == device) return values;
  if (!values.is_cpu() || !device.is_cuda()) return values.to(device);
  return values.pin_memory().to(at::TensorOptions(device), /*non_blocking=*/true);
}

}  // namespace tandem
