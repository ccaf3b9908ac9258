// Attention on a GPU: what is asked of the kernels of attention_passes.cuh, and the small ones
// beside them.
#include "kernels/attention/attention_passes.cuh"
#include "kernels/cuda_kernel.h"

namespace tandem {
namespace attention_cuda {

#define TANDEM_INSTANCE(width) template struct Launches<width, false>;
#define TANDEM_ELSEWHERE(width) extern template struct Launches<width, true>;
TANDEM_ATTENTION_WIDTHS(TANDEM_INSTANCE)
TANDEM_ATTENTION_EXACT_WIDTHS(TANDEM_ELSEWHERE)

namespace {

// A warp for each row.
__global__ void row_sums_kernel(const float* d_o, const float* o, std::int64_t rows, int head_dim,
                                float* sums) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (row >= rows) return;
  float sum = 0;
  for (int i = threadIdx.x % 32; i < head_dim; i += 32) {
    sum += d_o[row * head_dim + i] * o[row * head_dim + i];
  }
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffU, sum, step);
  if (threadIdx.x % 32 == 0) sums[row] = sum;
}

// Lists of items that read everything may hold anything.
__global__ void readers_kernel(const std::int32_t* chosen, const std::uint8_t* full_items,
                               std::int64_t entries, int tokens, int lists, int slots, int blocks,
                               std::uint32_t* readers) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= entries) return;
  const std::int64_t query = i / slots;  // of [B,Hs,T]
  if (full_items != nullptr && full_items[query / tokens / lists] != 0) return;
  const int block = chosen[i];
  if (block < 0) return;
  const int token = static_cast<int>(query % tokens);
  const std::int64_t words = (tokens + 31) / 32;
  atomicOr(&readers[(query / tokens * blocks + block) * words + token / 32], 1U << (token % 32));
}

// A warp for each row.
__global__ void list_blocks_kernel(const bool* flags, std::int64_t rows, int blocks, int slots,
                                   std::int32_t* lists) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x) / 32;
  if (row >= rows) return;
  const int lane = threadIdx.x % 32;
  std::int32_t* list = lists + row * slots;
  int count = 0;
  for (int first = 0; first < blocks && count < slots; first += 32) {
    const int block = first + lane;
    const bool in = block < blocks && flags[row * blocks + block];
    const std::uint32_t bits = __ballot_sync(0xffffffffU, in);
    const int at = count + __popc(bits & ((1U << lane) - 1));
    if (in && at < slots) list[at] = block;
    count += __popc(bits);
  }
  for (int i = count + lane; i < slots; i += 32) list[i] = -1;
}

constexpr int kSmallThreads = 256;

unsigned blocks_of(std::int64_t threads) {
  return static_cast<unsigned>((threads + kSmallThreads - 1) / kSmallThreads);
}

bool takes(const kernels::BlockAttention<float>& call) {
  const kernels::AttentionShape& s = call.shape;
  if (!is_cuda_shape(s)) return false;
  if (!is_whole(call.items, s.batch)) return false;
  if (call.chosen == nullptr && call.slots == 0) return true;
  return call.slots >= 1 && call.slots <= 0x3fffffff &&
         (call.lists == s.heads || call.lists == s.kv_heads);
}

Call call_of(const kernels::BlockAttention<float>& from) {
  Call call{};
  call.shape = shape_of(from.shape, from.causal);
  if (from.slots > 0) {
    call.shape.lists = static_cast<int>(from.lists);
    call.shape.slots = static_cast<int>(from.slots);
  }
  call.q = from.q;
  call.k = from.k;
  call.v = from.v;
  call.chosen = from.chosen;
  call.full_items = from.full_items;
  call.documents = from.document_start;
  call.o = from.o;
  call.lse = from.lse;
  call.items = static_cast<int>(from.shape.batch);
  return call;
}

// Calls launch(call) for the items that read everything and for those that read chosen blocks.
template <class Launch>
int for_both(Call call, const Launch& launch) {
  const bool some_full = call.chosen == nullptr || call.full_items != nullptr;
  int error = cudaSuccess;
  if (some_full) {
    call.selected = false;
    error = launch(call);
  }
  if (error == cudaSuccess && call.chosen != nullptr) {
    call.selected = true;
    error = launch(call);
  }
  return error;
}

// Calls use(launches) with the kernels of the narrowest width that holds a head.
template <class Use>
int with_kernels(int head_dim, bool tf32, const Use& use) {
#define TANDEM_TRY(width) \
  if (tf32 && head_dim <= width) return use(Launches<width, false>());
#define TANDEM_TRY_EXACT(width) \
  if (!tf32 && head_dim <= width) return use(Launches<width, true>());
  TANDEM_ATTENTION_WIDTHS(TANDEM_TRY)
  TANDEM_ATTENTION_EXACT_WIDTHS(TANDEM_TRY_EXACT)
  return cudaErrorInvalidValue;
}

}  // namespace
}  // namespace attention_cuda

int attention_forward_cuda(kernels::BlockAttention<float> from, bool tf32, void* stream) {
  using namespace attention_cuda;
  if (!takes(from) || from.lse == nullptr) return cudaErrorInvalidValue;
  return with_kernels(static_cast<int>(from.shape.head_dim), tf32, [&](auto kernels) {
    return for_both(call_of(from), [&](const Call& call) {
      return kernels.forward(call, static_cast<cudaStream_t>(stream));
    });
  });
}

int attention_backward_cuda(kernels::BlockAttentionGradient<float> from, bool tf32, float* row_sums,
                            std::uint32_t* readers, void* stream) {
  using namespace attention_cuda;
  const kernels::AttentionShape& s = from.forward.shape;
  if (!takes(from.forward)) return cudaErrorInvalidValue;
  Call call = call_of(from.forward);
  call.d_o = from.d_o;
  call.dq = from.dq;
  call.dk = from.dk;
  call.dv = from.dv;
  call.row_sums = row_sums;
  call.readers = readers;
  auto* on = static_cast<cudaStream_t>(stream);
  const std::int64_t rows = s.batch * s.tokens * s.heads;
  row_sums_kernel<<<blocks_of(rows * 32), kSmallThreads, 0, on>>>(call.d_o, call.o, rows,
                                                                  call.shape.head_dim, row_sums);
  if (call.chosen != nullptr) {
    const std::int64_t lists = s.batch * from.forward.lists;
    const std::int64_t words = (s.tokens + 31) / 32;
    const cudaError_t error = cudaMemsetAsync(
        readers, 0, sizeof(std::uint32_t) * static_cast<std::size_t>(lists * s.blocks() * words),
        on);
    if (error != cudaSuccess) return error;
    const std::int64_t entries = lists * s.tokens * from.forward.slots;
    readers_kernel<<<blocks_of(entries), kSmallThreads, 0, on>>>(
        call.chosen, call.full_items, entries, call.shape.tokens, call.shape.lists,
        call.shape.slots, call.shape.blocks, readers);
  }
  return with_kernels(call.shape.head_dim, tf32, [&](auto kernels) {
    return for_both(call, [&](const Call& each) {
      const int error = kernels.query_gradient(each, on);
      return error != cudaSuccess ? error : kernels.key_gradient(each, on);
    });
  });
}

namespace {

constexpr int kFirstCapability = 9;  // what cmake/TandemCuda.cmake builds these kernels for

}  // namespace

int attention_room_cuda(kernels::BlockAttention<float> call, void*) {
  using namespace attention_cuda;
  if (!takes(call)) return cudaErrorInvalidValue;
  int device = 0, most = 0, major = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  }
  if (error != cudaSuccess) return error;
  if (major < kFirstCapability) return cudaErrorNoKernelImageForDevice;
  const Shape shape = call_of(call).shape;
  const std::size_t room = shape.head_dim <= 32   ? most_room<32>(shape)
                           : shape.head_dim <= 64 ? most_room<64>(shape)
                                                  : most_room<128>(shape);
  return room <= static_cast<std::size_t>(most) ? cudaSuccess : cudaErrorInvalidValue;
}

int list_blocks_cuda(const bool* flags, std::int64_t rows, std::int64_t blocks, std::int64_t slots,
                     std::int32_t* lists, void* stream) {
  using namespace attention_cuda;
  if (rows < 1 || blocks < 1 || slots < 1) return cudaErrorInvalidValue;
  list_blocks_kernel<<<blocks_of(rows * 32), kSmallThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      flags, rows, static_cast<int>(blocks), static_cast<int>(slots), lists);
  return cudaGetLastError();
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("attention_forward", attention_forward_cuda) &&
    offer_cuda_kernel("attention_backward", attention_backward_cuda) &&
    offer_cuda_kernel("attention_room", attention_room_cuda) &&
    offer_cuda_kernel("list_blocks", list_blocks_cuda);

}  // namespace

}  // namespace tandem
