#include "topology/segments.h"

#include <algorithm>

#include "data/tensor.h"

namespace tandem {

at::Tensor broadcast_to_segments(const at::Tensor& per_replica,
                                 const std::vector<std::int64_t>& segments) {
  std::vector<std::int64_t> lengths;
  for (std::size_t r = 0; r + 1 < segments.size(); ++r) {
    lengths.push_back(segments[r + 1] - segments[r]);
  }
  const bool equal = std::equal(lengths.begin() + 1, lengths.end(), lengths.begin());
  return equal ? per_replica.unsqueeze(1).expand({-1, lengths.front()}).reshape({-1})
               : per_replica.repeat_interleave(
                     torch::tensor(lengths, torch::kLong).to(per_replica.device()));
}

at::Tensor broadcast_to_values(const at::Tensor& per_replica, const Parameter& parameter) {
  const std::int64_t dims = parameter.value.dim();
  if (dims == 1) return broadcast_to_segments(per_replica, parameter.segments());
  std::vector<std::int64_t> shape(static_cast<std::size_t>(dims), 1);
  shape[0] = -1;
  return per_replica.view(shape);
}

at::Tensor segment_sums(const at::Tensor& values, const Parameter& parameter) {
  if (values.is_cuda()) {
    return values.view({parameter.replicas(), -1}).sum(1, false, torch::kFloat64);
  }
  const auto segments = parameter.segments();
  std::vector<at::Tensor> each;
  for (std::size_t r = 0; r + 1 < segments.size(); ++r) {
    each.push_back(
        values.narrow(0, segments[r], segments[r + 1] - segments[r]).sum(torch::kFloat64));
  }
  return torch::stack(each);
}

}  // namespace tandem
