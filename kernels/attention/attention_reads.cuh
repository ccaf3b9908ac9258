// What the rows of a tile read, for attention on a GPU.
//
// The query heads that share a key head are rows of one matrix: row r of a key head is token r / G
// and head r % G of its group, so that a tile of 64 rows reads 64 / G tokens' keys together.
// Keys come in tiles of 64 *places*. Where everything is read, place p is key p; where blocks are
// chosen, the blocks that any row of the tile reads are laid one behind the other, and each place
// knows by 64 bits which rows read it. So a tile costs what its rows read together, whatever the
// size of a block.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "kernels/attention/attention_cuda.h"
#include "kernels/attention/attention_products.cuh"

namespace tandem::attention_cuda {

// What kernels get of a call.
struct Shape {
  int tokens, heads, kv_heads, group, head_dim, block_size, blocks;
  int lists, slots;  // 0 lists: everything is read
  bool causal;
  __host__ __device__ bool per_head() const { return lists == heads && heads != kv_heads; }
  float scale;
};

struct Call {
  Shape shape;
  const float *q, *k, *v;
  const std::int32_t* chosen;
  const std::uint8_t* full_items;
  const std::int32_t* documents;
  float *o, *lse;
  const float* d_o;
  float *dq, *dk, *dv;
  float* row_sums;
  std::uint32_t* readers;
  int items;
  bool selected;  // this launch: the items that read chosen blocks, or the others
};

// Whether sizes fit the kernels' 32-bit indices.
inline bool is_cuda_shape(const kernels::AttentionShape& s) {
  if (s.batch < 1 || s.tokens < 1 || s.kv_heads < 1 || s.block_size < 1 || s.head_dim < 1) {
    return false;
  }
  if (s.head_dim > kMostCudaHeadDim || s.heads % s.kv_heads != 0 || s.heads < s.kv_heads) {
    return false;
  }
  if (s.block_size > 0x3fffffff) return false;
  return s.tokens * s.group() <= 0x3fffffff && s.batch * s.kv_heads <= 0x3fffffff;
}

inline bool is_whole(const kernels::ItemRange& items, std::int64_t batch) {
  return items.first == 0 && (items.count == -1 || items.count == batch);
}

inline Shape shape_of(const kernels::AttentionShape& s, bool causal) {
  Shape shape{};
  shape.tokens = static_cast<int>(s.tokens);
  shape.heads = static_cast<int>(s.heads);
  shape.kv_heads = static_cast<int>(s.kv_heads);
  shape.group = static_cast<int>(s.group());
  shape.head_dim = static_cast<int>(s.head_dim);
  shape.block_size = static_cast<int>(s.block_size);
  shape.blocks = static_cast<int>(s.blocks());
  shape.causal = causal;
  shape.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(s.head_dim)));
  return shape;
}

// Items of a batch are dealt with by launches of one kind each.
__device__ inline bool is_others(const Call& call, int item) {
  const bool full =
      call.chosen == nullptr || (call.full_items != nullptr && call.full_items[item] != 0);
  return full == call.selected;
}

// A row of queries: its token, head and place in [B,T,H]; token -1 beyond the last row.
struct QueryRow {
  int token, head;
  __device__ std::int64_t place(const Shape& s, int item) const {
    return (static_cast<std::int64_t>(item) * s.tokens + token) * s.heads + head;
  }
};

__device__ inline QueryRow query_row(const Shape& s, int kv_head, int row) {
  const int token = row / s.group;
  if (token >= s.tokens) return {-1, 0};
  return {token, kv_head * s.group + row % s.group};
}

__device__ inline std::int64_t key_place(const Shape& s, int item, int key, int kv_head) {
  return (static_cast<std::int64_t>(item) * s.tokens + key) * s.kv_heads + kv_head;
}

// Whether a query can read a key, blocks aside.
__device__ inline bool readable(const Call& call, const std::int32_t* documents, int token,
                                int key) {
  if (call.shape.causal && key > token) return false;
  return documents == nullptr || documents[key] == documents[token];
}

// The blocks that a tile's rows read, in shared memory behind the tiles: bits of the blocks, how
// many of them lie before each word, the blocks in ascending order and for each the rows that read
// it.
struct ReadBlocks {
  std::uint32_t* bits;
  int* before;
  int* block;
  std::uint32_t* rows;  // two words for each block
  int words;
};

__host__ __device__ inline int most_read_blocks(const Shape& s) {
  const int lists = s.per_head() ? kTile : (kTile + s.group - 1) / s.group + 1;
  return min(s.blocks, min(kTile, lists) * s.slots);
}

inline std::size_t bytes_of_read_blocks(const Shape& s) {
  const int words = (s.blocks + 31) / 32;
  return sizeof(int) * (2 * static_cast<std::size_t>(words) + 1 + 3 * most_read_blocks(s));
}

// Returns how many blocks are read. All threads of the block call it.
__device__ inline int find_read_blocks(const Call& call, int item, int kv_head, int first_row,
                                       const ReadBlocks& read) {
  const Shape& s = call.shape;
  const int rows = s.tokens * s.group;
  const int end_row = min(first_row + kTile, rows);
  const int first_token = first_row / s.group, end_token = (end_row - 1) / s.group + 1;
  // A unit is what has one list: a row, or a token.
  const bool per_head = s.per_head();
  const int units = per_head ? end_row - first_row : end_token - first_token;
  const auto list_of = [&](int unit) {
    int list = kv_head, token = first_token + unit;
    if (per_head) {
      const QueryRow row = query_row(s, kv_head, first_row + unit);
      list = row.head;
      token = row.token;
    }
    return call.chosen +
           ((static_cast<std::int64_t>(item) * s.lists + list) * s.tokens + token) * s.slots;
  };
  for (int i = threadIdx.x; i < read.words; i += kThreads) read.bits[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < units * s.slots; i += kThreads) {
    const int b = list_of(i / s.slots)[i % s.slots];
    if (b >= 0) atomicOr(&read.bits[b / 32], 1U << (b % 32));
  }
  __syncthreads();
  if (threadIdx.x < 32) {
    int before = 0;
    for (int w = 0; w < read.words; w += 32) {
      const int own = w + static_cast<int>(threadIdx.x);
      const int count = own < read.words ? __popc(read.bits[own]) : 0;
      int sum = count;
      for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(0xffffffffU, sum, step);
        if (static_cast<int>(threadIdx.x) >= step) sum += below;
      }
      if (own < read.words) read.before[own] = before + sum - count;
      before += __shfl_sync(0xffffffffU, sum, 31);
    }
    if (threadIdx.x == 0) read.before[read.words] = before;
  }
  __syncthreads();
  const int count = read.before[read.words];
  for (int w = threadIdx.x; w < read.words; w += kThreads) {
    int at = read.before[w];
    for (std::uint32_t left = read.bits[w]; left != 0; left &= left - 1) {
      read.block[at] = w * 32 + __ffs(static_cast<int>(left)) - 1;
      read.rows[2 * at] = read.rows[2 * at + 1] = 0;
      ++at;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < units * s.slots; i += kThreads) {
    const int unit = i / s.slots, b = list_of(unit)[i % s.slots];
    if (b < 0) continue;
    const int at = read.before[b / 32] + __popc(read.bits[b / 32] & ((1U << (b % 32)) - 1));
    const int from = per_head ? unit : max(0, (first_token + unit) * s.group - first_row);
    const int end =
        per_head ? unit + 1 : min(kTile, (first_token + unit + 1) * s.group - first_row);
    const std::uint64_t below_end = end == 64 ? ~0ULL : (1ULL << end) - 1;
    const std::uint64_t mask = below_end & ~((1ULL << from) - 1);
    if (static_cast<std::uint32_t>(mask) != 0) {
      atomicOr(&read.rows[2 * at], static_cast<std::uint32_t>(mask));
    }
    if (mask >> 32 != 0) {
      atomicOr(&read.rows[2 * at + 1], static_cast<std::uint32_t>(mask >> 32));
    }
  }
  __syncthreads();
  return count;
}

// What a tile of 64 places holds.
struct Places {
  int key[kTile];                // -1: nothing
  std::uint32_t rows[2][kTile];  // bits of the tile's rows that read it, blocks alone
};

// The tiles of keys that a tile of rows walks through: forward and backward by queries.
struct Walk {
  int first, end;  // keys, or places of chosen blocks
};

__device__ inline Walk walk_of(const Call& call, const std::int32_t* documents, int first_row,
                               int read_blocks) {
  const Shape& s = call.shape;
  if (call.selected) return {0, read_blocks * s.block_size};
  const int last = min((first_row + kTile - 1) / s.group, s.tokens - 1);
  Walk walk{0, s.causal ? last + 1 : s.tokens};
  if (documents != nullptr) walk.first = documents[first_row / s.group] / kTile * kTile;
  return walk;
}

// Sets the places from `from` on. All threads call it; a barrier must follow before they are read.
__device__ inline void place_tile(const Call& call, const ReadBlocks& read, const Walk& walk,
                                  int from, Places& places) {
  const Shape& s = call.shape;
  for (int i = threadIdx.x; i < kTile; i += kThreads) {
    const int p = from + i;
    int key = -1;
    std::uint32_t low = 0, high = 0;
    if (p < walk.end) {
      if (call.selected) {
        const int at = p / s.block_size;
        key = read.block[at] * s.block_size + p % s.block_size;
        if (key >= s.tokens) key = -1;
        low = read.rows[2 * at];
        high = read.rows[2 * at + 1];
      } else {
        key = p;
        low = high = ~0U;
      }
    }
    places.key[i] = key;
    places.rows[0][i] = low;
    places.rows[1][i] = high;
  }
}

// The tiles of rows of one key head; the last ones, which read most where attention is causal,
// begin first.
struct RowTile {
  int item, kv_head, first_row;
};

__device__ inline RowTile row_tile(const Call& call) {
  const Shape& s = call.shape;
  const int tiles = (s.tokens * s.group + kTile - 1) / kTile;
  const int products = call.items * s.kv_heads;
  const int product = static_cast<int>(blockIdx.x % products);
  return {product / s.kv_heads, product % s.kv_heads,
          (tiles - 1 - static_cast<int>(blockIdx.x / products)) * kTile};
}

// Parts of the dynamic shared memory of a kernel with kTiles tiles.
template <int kWide, int kTiles>
struct Room {
  static constexpr int kStride = kWide + 4;
  static constexpr std::size_t kBytes = sizeof(float) * kTiles * kTile * kStride;
  static __device__ float* tile(float* room, int i) { return room + i * kTile * kStride; }
  static __device__ ReadBlocks read_blocks(float* room, const Shape& s) {
    ReadBlocks read;
    read.words = (s.blocks + 31) / 32;
    read.bits = reinterpret_cast<std::uint32_t*>(room + kTiles * kTile * kStride);
    read.before = reinterpret_cast<int*>(read.bits + read.words);
    read.block = read.before + read.words + 1;
    read.rows = reinterpret_cast<std::uint32_t*>(read.block + most_read_blocks(s));
    return read;
  }
};

// Of a backward pass: the left sides of its products stay in registers where these suffice, else in
// two tiles of their own behind the others.
template <int kWide>
struct GradientRoom : Room<kWide, 4> {
  static constexpr bool kKept = kWide <= 64;
  static constexpr int kStages = kKept ? 2 : 1;  // of keys and values
  static __device__ float* left(float* room, int i) {
    return Room<kWide, 4>::tile(room, kKept ? i : 2 + i);
  }
};

// The same of the pass by keys, whose rows always have two stages.
template <int kWide>
struct KeyGradientRoom : Room<kWide, kWide <= 64 ? 4 : 6> {
  static constexpr bool kKept = kWide <= 64;
  static __device__ float* left(float* room, int i) {
    return Room < kWide, kWide <= 64 ? 4 : 6 > ::tile(room, kKept ? i : 4 + i);
  }
};

// Calls drop(n, i) for each of a warp's pairs that is not read.
template <class Drop>
__device__ void drop_unread(const Call& call, const std::int32_t* documents, const Places& places,
                            int warp_row, const int (&token)[2], const Drop& drop) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int row = warp_row + g;
  const std::uint32_t* rows = places.rows[row / 32];
  const int bit0 = row % 32, bit1 = row % 32 + 8;  // 16 rows of a warp lie within one word
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int place = 8 * n + 2 * t + j;
      const int key = places.key[place];
      const std::uint32_t bits = rows[place];
      const bool in0 = key >= 0 && ((bits >> bit0) & 1) != 0 && token[0] >= 0 &&
                       readable(call, documents, token[0], key);
      const bool in1 = key >= 0 && ((bits >> bit1) & 1) != 0 && token[1] >= 0 &&
                       readable(call, documents, token[1], key);
      if (!in0) drop(n, j);
      if (!in1) drop(n, 2 + j);
    }
  }
}

// The tiles of keys and values along a walk. With two stages the next tile comes in while one is
// used.
template <int kWide, int kStages>
struct KeyTiles {
  using Memory = Room<kWide, 2 * kStages>;
  const Call& call;
  const ReadBlocks& read;
  Walk walk;
  int item, kv_head;
  float* room;
  Places* places;  // [kStages + 1]

  __device__ int count() const { return (walk.end - walk.first + kTile - 1) / kTile; }
  __device__ const Places& places_of(int tile) const { return places[tile % (kStages + 1)]; }
  __device__ float* keys(int tile) const { return Memory::tile(room, 2 * (tile % kStages)); }
  __device__ float* values(int tile) const { return Memory::tile(room, 2 * (tile % kStages) + 1); }

  // All threads call these.
  __device__ void begin() const {
    place(0);
    if constexpr (kStages == 1) return;
    __syncthreads();
    fetch(0);
    place(1);
  }
  // Returns when the tile is there and nobody uses the one before it.
  __device__ void come_to(int tile) const {
    if constexpr (kStages == 1) {
      __syncthreads();
      fetch(tile);
      place(tile + 1);
    }
    arrive();
    __syncthreads();
    if (kStages == 1 || tile + 1 >= count()) return;
    fetch(tile + 1);
    place(tile + 2);
  }

 private:
  __device__ void place(int tile) const {
    place_tile(call, read, walk, walk.first + tile * kTile, places[tile % (kStages + 1)]);
  }
  __device__ void fetch(int tile) const {
    const Shape& s = call.shape;
    const int* key = places_of(tile).key;
    const auto row_of = [&](const float* base, int i) {
      return key[i] < 0 ? nullptr : base + key_place(s, item, key[i], kv_head) * s.head_dim;
    };
    fetch_tile<kWide>(keys(tile), s.head_dim, [&](int i) { return row_of(call.k, i); });
    fetch_tile<kWide>(values(tile), s.head_dim, [&](int i) { return row_of(call.v, i); });
  }
};

// Whether a warp's rows may read all of a tile, so that none of its pairs needs a look.
__device__ inline bool all_readable(const Call& call, const RowTile& at, const Walk& walk,
                                    int from) {
  const Shape& s = call.shape;
  return !call.selected && call.documents == nullptr &&
         at.first_row + kTile <= s.tokens * s.group && from + kTile <= walk.end &&
         (!s.causal || from + kTile - 1 <= at.first_row / s.group);
}

template <class Kernel, class Argument>
int launch_with_room(Kernel kernel, std::int64_t blocks, std::size_t bytes, const Argument& call,
                     cudaStream_t stream) {
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  if (bytes > 32 * 1024) {  // beside what is static
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) {
      cudaGetLastError();  // it is told here, and not again at somebody else's launch
      return error;
    }
  }
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(call);
  return cudaGetLastError();
}

}  // namespace tandem::attention_cuda
