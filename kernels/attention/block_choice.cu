// The choice of blocks of attention.h on a GPU, in one pass over the pooled keys for each tile of
// queries (by a softmax over more than 64 blocks in two): scores on the matrix units, the softmax
// over complete blocks, its sum over the heads of a group, and the largest. Scores are never stored
// whole. The rows of a tile are whole tokens, so that a group's sum stays within it.
#include <cmath>

#include "kernels/attention/attention_reads.cuh"
#include "kernels/cuda_kernel.h"

namespace tandem {
namespace attention_cuda {
namespace {

constexpr int kLanes = 32;
constexpr int kHeld = 2;  // blocks that a lane holds of a list
constexpr unsigned kAll = 0xffffffffU;
constexpr int kNoBlock = 0x7fffffff;

struct Choice {
  Shape shape;
  const float *q, *k;
  float* pooled;  // [B,NC,Hkv,D]
  const std::uint8_t* full_items;
  const std::int32_t* documents;
  std::int32_t* chosen;  // [B,Hs,T,S]
  int items, complete;   // NC
  bool per_head, softmax, force_first;
  int units_of_tile() const { return shape.group >= kTile ? 1 : kTile / shape.group; }
};

// The mean of a block's keys that are in the document of its last one.
__global__ void pool_keys_kernel(Choice c, std::int64_t count) {
  const std::int64_t i = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Shape& s = c.shape;
  const std::int64_t row = i / s.head_dim;  // of [B,NC,Hkv]
  const int d = static_cast<int>(i % s.head_dim);
  const int kv_head = static_cast<int>(row % s.kv_heads);
  const int block = static_cast<int>(row / s.kv_heads % c.complete);
  const std::int64_t item = row / s.kv_heads / c.complete;
  const std::int32_t* documents = c.documents != nullptr ? c.documents + item * s.tokens : nullptr;
  const int last = (block + 1) * s.block_size - 1;
  float sum = 0;
  int keys = 0;
  for (int key = block * s.block_size; key <= last; ++key) {
    if (documents != nullptr && documents[key] != documents[last]) continue;
    sum += c.k[((item * s.tokens + key) * s.kv_heads + kv_head) * s.head_dim + d];
    ++keys;
  }
  c.pooled[i] = sum / static_cast<float>(keys);
}

// The most important blocks of one query so far, two to a lane of a warp. The worst one is the
// least important, and of these the one with the largest index; an empty place is worse than any.
struct Held {
  float value[kHeld];
  int block[kHeld];
  int places;  // of the list
  float worst;
  int worst_block;

  __device__ void begin(int of) {
    places = of;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      value[i] = -INFINITY;
      block[i] = kNoBlock;
    }
    find_worst();
  }
  __device__ bool is_place(int i) const {
    return static_cast<int>(threadIdx.x % kLanes) + i * kLanes < places;
  }
  __device__ static bool is_worse(float a, int block_a, float b, int block_b) {
    if ((block_a == kNoBlock) != (block_b == kNoBlock)) return block_a == kNoBlock;
    return a < b || (a == b && block_a > block_b);
  }
  __device__ void find_worst() {
    float least = INFINITY;
    int at = -1;  // nothing
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (is_place(i) && (at == -1 || is_worse(value[i], block[i], least, at))) {
        least = value[i];
        at = block[i];
      }
    }
    for (int step = kLanes / 2; step > 0; step /= 2) {
      const float other = __shfl_xor_sync(kAll, least, step);
      const int other_at = __shfl_xor_sync(kAll, at, step);
      if (other_at != -1 && (at == -1 || is_worse(other, other_at, least, at))) {
        least = other;
        at = other_at;
      }
    }
    worst = least;
    worst_block = at;
  }
  __device__ bool takes(float importance) const {
    return worst_block == kNoBlock || importance > worst;
  }
  // Puts it in the place of the worst one; the same arguments in all lanes.
  __device__ void put(float importance, int of) {
    int mine = kHeld;  // the first of the worst places that this lane has
#pragma unroll
    for (int i = kHeld - 1; i >= 0; --i) {
      if (is_place(i) && block[i] == worst_block && value[i] == worst) mine = i;
    }
    const unsigned having = __ballot_sync(kAll, mine < kHeld);
    const bool here = static_cast<int>(threadIdx.x % kLanes) == __ffs(static_cast<int>(having)) - 1;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (here && i == mine) {
        value[i] = importance;
        block[i] = of;
      }
    }
    find_worst();
  }
  // Offers a block of each lane, whose indices rise with the lane; `there`: it may be chosen.
  __device__ void offer(float importance, int of, bool there) {
    if (places == 0) return;
    for (;;) {
      const unsigned left = __ballot_sync(kAll, there && takes(importance));
      if (left == 0) return;
      const int source = __ffs(static_cast<int>(left)) - 1;
      put(__shfl_sync(kAll, importance, source), __shfl_sync(kAll, of, source));
      if (static_cast<int>(threadIdx.x % kLanes) == source) there = false;
    }
  }
};

template <int kWide>
struct ChoiceRoom : Room<kWide, 1> {
  static constexpr int kRow = kTile + 1;  // of importances
  static __device__ float* importances(float* room) { return room + kTile * (kWide + 4); }
  static __device__ float* held(float* room) { return importances(room) + kTile * kRow; }
  static std::size_t bytes(const Choice& c) {
    const int lists = c.per_head ? kTile : c.units_of_tile();
    return Room<kWide, 1>::kBytes + sizeof(float) * kTile * kRow +
           sizeof(float) * 2 * static_cast<std::size_t>(lists * kHeld * kLanes);
  }
};

template <int kWide, bool kExact>
__global__ void __launch_bounds__(kThreads) choice_kernel(Choice c) {
  using Memory = ChoiceRoom<kWide>;
  constexpr int kSteps = kWide / 8, kStride = kWide + 4, kRow = Memory::kRow;
  extern __shared__ __align__(16) float room[];
  const Shape& s = c.shape;
  const int tokens_of_tile = s.group >= kTile ? 1 : kTile / s.group;
  const int products = c.items * s.kv_heads;
  const int item = static_cast<int>(blockIdx.x % products) / s.kv_heads;
  const int kv_head = static_cast<int>(blockIdx.x % products) % s.kv_heads;
  if (c.full_items != nullptr && c.full_items[item] != 0) return;
  const int first_token = static_cast<int>(blockIdx.x / products) * tokens_of_tile;
  const int end_token = min(first_token + tokens_of_tile, s.tokens);
  const std::int32_t* documents =
      c.documents != nullptr ? c.documents + static_cast<std::int64_t>(item) * s.tokens : nullptr;
  const int rows = (end_token - first_token) * s.group;
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes, g = lane / 4, t = lane % 4;
  const int warp_row = warp * 16;
  float *keys = room, *importances = Memory::importances(room), *held = Memory::held(room);
  const auto place_of = [&](int row) {
    return (static_cast<std::int64_t>(item) * s.tokens + first_token + row / s.group) * s.heads +
           kv_head * s.group + row % s.group;
  };
  fill_tile<kWide>(keys, s.head_dim, s.scale * kLog2e, [&](int row) {
    return row < rows ? c.q + place_of(row) * s.head_dim : nullptr;
  });
  __syncthreads();
  LeftSide<kSteps, kStride, kExact, true> queries;
  queries.take(keys, warp_row);
  // What a query may weigh: blocks whose last key it can read.
  const auto is_complete = [&](int token, int block) {
    if (block >= c.complete) return false;
    const int last = (block + 1) * s.block_size - 1;
    if (s.causal && last > token) return false;
    return documents == nullptr || documents[last] == documents[token];
  };
  int token[2];
  for (int half = 0; half < 2; ++half) {
    const int row = warp_row + g + 8 * half;
    token[half] = row < rows ? first_token + row / s.group : -1;
  }
  // Blocks that no query of the tile may weigh are left out.
  const int complete = s.causal ? min(c.complete, end_token / s.block_size) : c.complete;
  const int tiles = (complete + kTile - 1) / kTile;
  float p[8][4];
  const auto score = [&](int tile) {
    __syncthreads();
    fetch_tile<kWide>(keys, s.head_dim, [&](int i) {
      const int block = tile * kTile + i;
      if (block >= complete) return static_cast<const float*>(nullptr);
      return static_cast<const float*>(c.pooled) +
             ((static_cast<std::int64_t>(item) * c.complete + block) * s.kv_heads + kv_head) *
                 s.head_dim;
    });
    arrive();
    __syncthreads();
    scores_of(p, queries, keys);
  };
  float lse[2] = {0, 0};
  if (c.softmax) {
    float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    for (int tile = 0; tile < tiles; ++tile) {
      score(tile);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float top = most[half];
#pragma unroll
        for (int n = 0; n < 8; ++n) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const int block = tile * kTile + 8 * n + 2 * t + j;
            if (token[half] >= 0 && is_complete(token[half], block)) {
              top = fmaxf(top, p[n][2 * half + j]);
            }
          }
        }
        top = row_max(top);
        const float origin = top == -INFINITY ? 0 : top;
        float part = 0;
#pragma unroll
        for (int n = 0; n < 8; ++n) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const int block = tile * kTile + 8 * n + 2 * t + j;
            if (token[half] >= 0 && is_complete(token[half], block)) {
              part += exp2f(p[n][2 * half + j] - origin);
            }
          }
        }
        sum[half] = sum[half] * exp2f(most[half] - origin) + part;
        most[half] = top;
      }
    }
    for (int half = 0; half < 2; ++half) lse[half] = most[half] + log2f(row_sum(sum[half]));
  }
  const int units = c.per_head ? rows : end_token - first_token;
  const int rows_of_unit = c.per_head ? 1 : s.group;
  const int others = min(s.slots - 1, c.complete);
  for (int tile = 0; tile < tiles || tile == 0; ++tile) {
    if (tile < tiles) {
      if (!c.softmax || tiles > 1) score(tile);  // else they are there
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = warp_row + g + 8 * (i / 2), column = 8 * n + 2 * t + i % 2;
          importances[row * kRow + column] = c.softmax ? exp2f(p[n][i] - lse[i / 2]) : p[n][i];
        }
      }
    }
    __syncthreads();
    for (int unit = warp; unit < units; unit += kWarps) {
      const int own_token = first_token + (c.per_head ? unit / s.group : unit);
      const int own = own_token / s.block_size;
      Held best;
      if (tile == 0) {
        best.begin(others);
      } else {
        best.places = others;
#pragma unroll
        for (int i = 0; i < kHeld; ++i) {
          const int at = (unit * kHeld + i) * kLanes + lane;
          best.value[i] = held[2 * at];
          best.block[i] = __float_as_int(held[2 * at + 1]);
        }
        best.find_worst();
      }
      for (int part = 0; part < kTile && tile < tiles; part += kLanes) {
        const int column = part + lane, block = tile * kTile + column;
        float importance = 0;
        for (int r = unit * rows_of_unit; r < (unit + 1) * rows_of_unit; ++r) {
          importance += importances[r * kRow + column];
        }
        if (isnan(importance)) importance = -INFINITY;
        if (c.force_first &&
            block == (documents != nullptr ? documents[own_token] : 0) / s.block_size) {
          importance = INFINITY;
        }
        best.offer(importance, block, block != own && is_complete(own_token, block));
      }
      if (tile + 1 < tiles) {
#pragma unroll
        for (int i = 0; i < kHeld; ++i) {
          const int at = (unit * kHeld + i) * kLanes + lane;
          held[2 * at] = best.value[i];
          held[2 * at + 1] = __int_as_float(best.block[i]);
        }
        continue;
      }
      // Each block's place is how many smaller ones there are.
      int rank[kHeld], own_rank = 0, count = 1;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) rank[i] = own < best.block[i] ? 1 : 0;
#pragma unroll
      for (int j = 0; j < kHeld; ++j) {
        for (int from = 0; from < kLanes && from + j * kLanes < others; ++from) {
          const int other = __shfl_sync(kAll, best.block[j], from);
          if (other == kNoBlock) continue;
          own_rank += other < own ? 1 : 0;
          ++count;
#pragma unroll
          for (int i = 0; i < kHeld; ++i) rank[i] += other < best.block[i] ? 1 : 0;
        }
      }
      const int list = c.per_head ? kv_head * s.group + unit % s.group : kv_head;
      std::int32_t* out =
          c.chosen +
          ((static_cast<std::int64_t>(item) * s.lists + list) * s.tokens + own_token) * s.slots;
      for (int i = count + lane; i < s.slots; i += kLanes) out[i] = -1;
      if (lane == 0) out[own_rank] = own;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (best.is_place(i) && best.block[i] != kNoBlock) out[rank[i]] = best.block[i];
      }
    }
    __syncthreads();
  }
}

template <int kWide, bool kExact>
int launch_choice(const Choice& c, cudaStream_t stream) {
  const std::int64_t tiles = (c.shape.tokens + c.units_of_tile() - 1) / c.units_of_tile();
  return launch_with_room(choice_kernel<kWide, kExact>, tiles * c.items * c.shape.kv_heads,
                          ChoiceRoom<kWide>::bytes(c), c, stream);
}

}  // namespace
}  // namespace attention_cuda

int block_choice_cuda(kernels::BlockChoice<float> from, bool tf32, float* pooled, void* stream) {
  using namespace attention_cuda;
  static_assert(kTile == 64 && kHeld * kLanes == 64);  // block_choice_cuda_takes() says so
  const kernels::AttentionShape& s = from.shape;
  if (!is_cuda_shape(s) || !is_whole(from.items, s.batch) || from.slots < 1 ||
      !block_choice_cuda_takes(s, from.slots)) {
    return cudaErrorInvalidValue;
  }
  Choice c{};
  c.shape = shape_of(s, from.causal);
  c.shape.lists = static_cast<int>(from.selector.lists(s));
  c.shape.slots = static_cast<int>(from.slots);
  c.q = from.q;
  c.k = from.k;
  c.pooled = pooled;
  c.full_items = from.full_items;
  c.documents = from.document_start;
  c.chosen = from.chosen;
  c.items = static_cast<int>(s.batch);
  c.complete = static_cast<int>(s.complete_blocks());
  c.per_head = from.selector.per_head && s.group() > 1;
  c.softmax = from.selector.softmax;
  c.force_first = from.selector.force_first;
  auto* on = static_cast<cudaStream_t>(stream);
  const std::int64_t numbers = s.batch * c.complete * s.kv_heads * s.head_dim;
  constexpr int kPoolThreads = 256;
  if (numbers > 0) {
    pool_keys_kernel<<<static_cast<unsigned>((numbers + kPoolThreads - 1) / kPoolThreads),
                       kPoolThreads, 0, on>>>(c, numbers);
  }
  const bool wide = s.head_dim > 64;
  if (tf32) return wide ? launch_choice<128, false>(c, on) : launch_choice<64, false>(c, on);
  return wide ? launch_choice<128, true>(c, on) : launch_choice<64, true>(c, on);
}

namespace {

[[maybe_unused]] const bool kOffered = offer_cuda_kernel("block_choice", block_choice_cuda);

}  // namespace

}  // namespace tandem
