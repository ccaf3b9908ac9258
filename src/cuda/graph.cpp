#include "cuda/graph.h"

#include <exception>

#include "cuda/plugin.h"

namespace tandem {

CudaGraph::~CudaGraph() {
  if (graph_ != nullptr) cuda_api().graph_release(graph_);
}

void CudaGraph::capture(const std::function<void()>& work) {
  const CudaApi& api = cuda_api();
  void* graph = api.graph_begin();
  try {
    work();
    api.graph_end(graph);
  } catch (...) {
    // The first error is the one to report; ending a capture that it has broken may fail as well.
    const std::exception_ptr first = std::current_exception();
    try {
      api.graph_release(graph);
    } catch (const std::exception&) {
    }
    std::rethrow_exception(first);
  }
  graph_ = graph;
}

void CudaGraph::replay() const { cuda_api().graph_replay(graph_); }

}  // namespace tandem
