// The entry of libtandem_cuda.so: the table of plugin.h, and a link against libtorch_cuda.so.
// Loading the one loads the other, which registers the CUDA back end with the LibTorch that is
// running already. A pool of graph memory dies with its last graph and cannot be used again, so the
// graphs own it together; a capture that failed stays behind in it, and the next takes a new one.
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/plugin.h"
#include "kernels/gather/gather_cuda.h"
#include "kernels/masked/masked_cuda.h"
#include "kernels/select/select_cuda.h"
#include "kernels/update/update_cuda.h"

namespace tandem {
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

void* current_stream() { return c10::cuda::getCurrentCUDAStream().stream(); }

int device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();  // else the next kernel would report it
  return 0;
}

std::int64_t total_bytes(int device) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  return static_cast<std::int64_t>(properties.totalGlobalMem);
}

void enter_stream(int device) {
  thread_local std::map<int, c10::cuda::CUDAStream> streams;
  const auto index = static_cast<c10::DeviceIndex>(device);
  auto mine = streams.find(device);
  if (mine == streams.end()) {
    const auto stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, index);
    mine = streams.emplace(device, stream).first;
  }
  c10::cuda::set_device(index);
  c10::cuda::setCurrentCUDAStream(mine->second);
}

void synchronize() { c10::cuda::getCurrentCUDAStream().synchronize(); }

const char* error_text(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }

struct Captured {
  std::shared_ptr<c10::MempoolId_t> pool;  // released after the graph
  at::cuda::CUDAGraph graph;
  bool complete = false;
};

struct Graphs {
  std::mutex mutex;  // held while the pool gains or loses a graph
  std::weak_ptr<c10::MempoolId_t> pool;
  std::vector<std::unique_ptr<Captured>> failed;  // the allocator may still look at them
};

Graphs& graphs() {
  static auto* const all = std::make_unique<Graphs>().release();  // outlives CUDA's own shutdown
  return *all;
}

void keep_failed(std::unique_ptr<Captured> captured) {
  try {
    c10::cuda::CUDACachingAllocator::endAllocateToPool(c10::cuda::current_device(),
                                                       *captured->pool);
  } catch (const std::exception&) {  // it had not begun to, or has ended already
  }
  graphs().pool.reset();
  graphs().failed.push_back(std::move(captured));
}

std::shared_ptr<c10::MempoolId_t> shared_pool() {
  auto pool = graphs().pool.lock();
  if (pool == nullptr) {
    pool = std::make_shared<c10::MempoolId_t>(at::cuda::graph_pool_handle());
    graphs().pool = pool;
  }
  return pool;
}

void* graph_begin() {
  const std::lock_guard lock(graphs().mutex);
  // Nothing can be freed inside a capture, so what the allocator merely keeps is given back first.
  c10::cuda::CUDACachingAllocator::emptyCache();
  auto captured = std::make_unique<Captured>();
  captured->pool = shared_pool();
  try {
    captured->graph.capture_begin(*captured->pool);
  } catch (...) {
    keep_failed(std::move(captured));
    throw;
  }
  return captured.release();
}

void graph_end(void* graph) {
  auto* const captured = static_cast<Captured*>(graph);
  captured->graph.capture_end();  // instantiates, too
  captured->complete = true;
}

void graph_replay(void* graph) { static_cast<Captured*>(graph)->graph.replay(); }

void graph_release(void* graph) {
  if (graph == nullptr) return;
  const std::lock_guard lock(graphs().mutex);
  std::unique_ptr<Captured> captured(static_cast<Captured*>(graph));
  if (captured->complete) return;
  try {
    captured->graph.capture_end();
  } catch (const std::exception&) {  // what failed has been reported where it did
    cudaGetLastError();
    keep_failed(std::move(captured));
  }
}

const CudaApi kApi = {
    .version = kCudaApiVersion,
    .device_count = device_count,
    .device_text = describe_device,
    .total_bytes = total_bytes,
    .enter_stream = enter_stream,
    .synchronize = synchronize,
    .error_text = error_text,
    .graph_begin = graph_begin,
    .graph_end = graph_end,
    .graph_replay = graph_replay,
    .graph_release = graph_release,
    .sgd_float = [](auto... a) { return kernels::sgd_update_cuda<float>(a..., current_stream()); },
    .sgd_double =
        [](auto... a) { return kernels::sgd_update_cuda<double>(a..., current_stream()); },
    .adam_float =
        [](auto... a) { return kernels::adam_update_cuda<float>(a..., current_stream()); },
    .adam_double =
        [](auto... a) { return kernels::adam_update_cuda<double>(a..., current_stream()); },
    .squares_float =
        [](auto... a) { return kernels::sum_squares_cuda<float>(a..., current_stream()); },
    .squares_double =
        [](auto... a) { return kernels::sum_squares_cuda<double>(a..., current_stream()); },
    .settle = [](const auto& outcome,
                 auto... a) { return kernels::settle_cuda(outcome, a..., current_stream()); },
    .masked_copy_float = [](auto... a) { return masked_copy_cuda<float>(a..., current_stream()); },
    .masked_copy_double =
        [](auto... a) { return masked_copy_cuda<double>(a..., current_stream()); },
    .gather_float = [](auto... a) { return gather_rows_cuda<float>(a..., current_stream()); },
    .gather_double = [](auto... a) { return gather_rows_cuda<double>(a..., current_stream()); },
    .select_top = [](auto... a) { return select_top_cuda(a..., current_stream()); },
};

}  // namespace
}  // namespace tandem

extern "C" const char* tandem_cuda_describe() {
  static const std::string text = tandem::describe_all();
  return text.c_str();
}

extern "C" const tandem::CudaApi* tandem_cuda_api() { return &tandem::kApi; }
