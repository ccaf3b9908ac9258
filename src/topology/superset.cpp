#include "topology/superset.h"

#include "data/tensor.h"
#include "topology/sparse_connections.h"

namespace tandem {

ActiveSet superset_of(const Connections& connections, std::int64_t replica) {
  const at::Tensor flags = connections.superset_flags();
  if (!flags.defined()) return {};
  if (const auto* sparse = dynamic_cast<const SparseConnections*>(&connections)) {
    return sparse->stored_set(replica);
  }
  const at::Tensor own =
      flags.view({connections.replicas(), -1})[replica].to(torch::kCPU).ne(0).nonzero().view({-1});
  const auto* begin = own.data_ptr<std::int64_t>();
  return ActiveSet::of_positions({begin, begin + own.numel()});
}

}  // namespace tandem
