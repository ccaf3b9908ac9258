// A captured step: what was launched between begin and end, run again by one call. All graphs of
// the process share one pool of memory, so what a run of one leaves behind holds until another
// runs.
#pragma once

#include <functional>

namespace tandem {

class CudaGraph {
 public:
  CudaGraph() = default;
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  bool captured() const { return graph_ != nullptr; }
  // Captures what `work` launches on the current stream; nothing of it runs yet. An exception
  // leaves the graph empty.
  void capture(const std::function<void()>& work);
  void replay() const;

 private:
  void* graph_ = nullptr;
};

}  // namespace tandem
