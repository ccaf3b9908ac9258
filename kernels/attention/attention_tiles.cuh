// Tiles of attention on a GPU's matrix units (mma.sync m16n8k8 with TF32 inputs and float sums).
//
// The query heads that share a key head are rows of one matrix: row r of a key head is token r / G
// and head r % G of its group, so that a tile of 64 rows reads 64 / G tokens' keys together.
// Keys come in tiles of 64 *places*. Where everything is read, place p is key p; where blocks are
// chosen, the blocks that any row of the tile reads are laid one behind the other, and each place
// knows by 64 bits which rows read it. So a tile costs what its rows read together, whatever the
// size of a block.
//
// A warp's share of a product follows the fragments of m16n8k8: with g = lane / 4 and t = lane % 4,
//   A 16x8   (g,t) (g+8,t) (g,t+4) (g+8,t+4)
//   B 8x8    (t,g) (t+4,g), rows first
//   C 16x8   (g,2t) (g,2t+1) (g+8,2t) (g+8,2t+1)
// A product's result becomes the next one's left side without being moved: its column 2t stands for
// t and 2t+1 for t+4, and rows of B are read in the same order.
// Rows in shared memory are 4 numbers longer than they need be, so that neither way of reading B
// meets a bank twice.
#pragma once

#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>

#include "kernels/attention/attention_cuda.h"

namespace tandem::attention_cuda {

constexpr int kTile = 64;  // rows and places of a tile
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kWindow = 2048;  // queries of which a block's readers are listed at once
constexpr float kLog2e = 1.4426950408889634F, kLn2 = 0.6931471805599453F;

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
  return s.tokens * s.group() <= 0x3fffffff && s.batch * s.kv_heads <= 0x3fffffff;
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

// A number that the matrix units take whole, and what it leaves of x.
__device__ inline float head_of(float x) {
  return __uint_as_float(__float_as_uint(x) & 0xffffe000U);
}

__device__ inline float to_tf32(float x) {
  std::uint32_t rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return __uint_as_float(rounded);
}

// A number as a product takes it: rounded where products are of TF32.
template <bool kExact>
__device__ float taken(float x) {
  return kExact ? x : to_tf32(x);
}

__device__ inline void multiply_add(float (&c)[4], const float (&a)[4], float b0, float b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
        "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
}

// c += a b. Exact products leave out that of the two remainders, which is below a float's rounding.
// The units cut off what they add to a sum, where a float's addition rounds; over thousands of rows
// that would be seen, so that they have a sum of their own for each product.
template <bool kExact>
__device__ void add_product(float (&c)[4], const float (&a)[4], float b0, float b1) {
  if constexpr (kExact) {
    float high[4], low[4], part[4] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      high[i] = head_of(a[i]);
      low[i] = a[i] - high[i];
    }
    const float high0 = head_of(b0), high1 = head_of(b1);
    multiply_add(part, low, high0, high1);
    multiply_add(part, high, b0 - high0, b1 - high1);
    multiply_add(part, high, high0, high1);
#pragma unroll
    for (int i = 0; i < 4; ++i) c[i] += part[i];
  } else {
    multiply_add(c, a, b0, b1);
  }
}

// A 16x8 of a tile in shared memory.
template <int kStride, bool kExact>
__device__ void load_left(float (&a)[4], const float* tile, int row, int column) {
  const int lane = threadIdx.x % 32;
  const float* at = tile + (row + lane / 4) * kStride + column + lane % 4;
  a[0] = taken<kExact>(at[0]);
  a[1] = taken<kExact>(at[8 * kStride]);
  a[2] = taken<kExact>(at[4]);
  a[3] = taken<kExact>(at[8 * kStride + 4]);
}

// The left side of a product over kSteps 8-columns, kept in registers where there is room, else
// read when it is needed.
template <int kSteps, int kStride, bool kExact, bool kKept>
struct LeftSide {
  float kept[kKept ? kSteps : 1][4];
  const float* tile;
  int row;

  __device__ void take(const float* from, int first) {
    tile = from;
    row = first;
    if constexpr (kKept) {
#pragma unroll
      for (int i = 0; i < kSteps; ++i) load_left<kStride, kExact>(kept[i], from, first, 8 * i);
    }
  }
  __device__ void get(float (&a)[4], int step) const {
    if constexpr (kKept) {
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = kept[step][i];
    } else {
      load_left<kStride, kExact>(a, tile, row, 8 * step);
    }
  }
};

// Columns [c, c + 4) of a row of head_dim numbers, zero beyond them.
__device__ inline float4 load_four(const float* row, int c, int head_dim) {
  if (head_dim % 4 == 0) {
    return c < head_dim ? __ldg(reinterpret_cast<const float4*>(row + c)) : float4{0, 0, 0, 0};
  }
  float4 four{0, 0, 0, 0};
  if (c < head_dim) four.x = __ldg(row + c);
  if (c + 1 < head_dim) four.y = __ldg(row + c + 1);
  if (c + 2 < head_dim) four.z = __ldg(row + c + 2);
  if (c + 3 < head_dim) four.w = __ldg(row + c + 3);
  return four;
}

// Fills a tile of kTile rows of kWide numbers, times `factor`; row_of(i) is where row i lies in
// global memory, or null for a row of zeros.
template <int kWide, class RowOf>
__device__ void fill_tile(float* tile, int head_dim, float factor, const RowOf& row_of) {
  constexpr int kFours = kWide / 4, kStride = kWide + 4;
#pragma unroll 4
  for (int i = threadIdx.x; i < kTile * kFours; i += kThreads) {
    const int row = i / kFours, c = i % kFours * 4;
    const float* from = row_of(row);
    float4 four{0, 0, 0, 0};
    if (from != nullptr) four = load_four(from, c, head_dim);
    *reinterpret_cast<float4*>(tile + row * kStride + c) =
        float4{four.x * factor, four.y * factor, four.z * factor, four.w * factor};
  }
}

// Begins to fill a tile, which is there after arrive() and a barrier.
template <int kWide, class RowOf>
__device__ void fetch_tile(float* tile, int head_dim, const RowOf& row_of) {
  if (head_dim % 4 != 0) return fill_tile<kWide>(tile, head_dim, 1, row_of);
  constexpr int kFours = kWide / 4, kStride = kWide + 4;
#pragma unroll 4
  for (int i = threadIdx.x; i < kTile * kFours; i += kThreads) {
    const int row = i / kFours, c = i % kFours * 4;
    const float* from = row_of(row);
    float* to = tile + row * kStride + c;
    if (from == nullptr || c >= head_dim) {
      *reinterpret_cast<float4*>(to) = float4{0, 0, 0, 0};
    } else {
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                       static_cast<std::uint32_t>(__cvta_generic_to_shared(to))),
                   "l"(from + c)
                   : "memory");
    }
  }
}

__device__ inline void arrive() { asm volatile("cp.async.wait_all;" ::: "memory"); }

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

// Sums over the four lanes that hold a row.
__device__ inline float row_sum(float x) {
  x += __shfl_xor_sync(0xffffffffU, x, 1);
  return x + __shfl_xor_sync(0xffffffffU, x, 2);
}

__device__ inline float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffU, x, 2));
}

// Row r of a [.., head_dim] output from a warp's C fragments of one half (0: row g, 1: row g + 8).
template <int kSteps>
__device__ void store_row(float* row, const float (&c)[kSteps][4], int half, float factor,
                          int head_dim) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int n = 0; n < kSteps; ++n) {
    const int column = 8 * n + 2 * t;
    const float x = c[n][2 * half] * factor, y = c[n][2 * half + 1] * factor;
    if (column + 1 < head_dim && head_dim % 2 == 0) {
      *reinterpret_cast<float2*>(row + column) = make_float2(x, y);
    } else {
      if (column < head_dim) row[column] = x;
      if (column + 1 < head_dim) row[column + 1] = y;
    }
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

// The scores of a warp's 16 rows with a tile's 64 places: c[n] are the places 8 n ... 8 n + 7.
template <int kSteps, int kStride, bool kExact, bool kKept>
__device__ void scores_of(float (&c)[8][4], const LeftSide<kSteps, kStride, kExact, kKept>& left,
                          const float* right) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) c[n][i] = 0;
  }
#pragma unroll
  for (int step = 0; step < kSteps; ++step) {
    float a[4];
    left.get(a, step);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float* b = right + (8 * n + g) * kStride + 8 * step + t;
      add_product<kExact>(c[n], a, taken<kExact>(b[0]), taken<kExact>(b[4]));
    }
  }
}

// sum += weights of 16 rows on 64 places, as scores_of() lays them out, times rows of a tile.
template <int kSteps, int kStride, bool kExact>
__device__ void add_weighted(float (&sum)[kSteps][4], const float (&weights)[8][4],
                             const float* tile) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const float a[4] = {taken<kExact>(weights[n][0]), taken<kExact>(weights[n][2]),
                        taken<kExact>(weights[n][1]), taken<kExact>(weights[n][3])};
    const float* rows = tile + (8 * n + 2 * t) * kStride + g;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      add_product<kExact>(sum[step], a, taken<kExact>(rows[8 * step]),
                          taken<kExact>(rows[kStride + 8 * step]));
    }
  }
}

// Which of a warp's pairs are read: calls keep(n, i, place) for those that are not.
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

template <int kWide, bool kExact>
__global__ void __launch_bounds__(kThreads) forward_kernel(Call call) {
  using Tiles = KeyTiles<kWide, 2>;
  constexpr int kSteps = kWide / 8, kStride = kWide + 4;
  extern __shared__ __align__(16) float room[];
  __shared__ Places places[3];
  const Shape& s = call.shape;
  const RowTile at = row_tile(call);
  if (is_others(call, at.item)) return;
  const std::int32_t* documents =
      call.documents != nullptr ? call.documents + static_cast<std::int64_t>(at.item) * s.tokens
                                : nullptr;
  const ReadBlocks read = Tiles::Memory::read_blocks(room, s);
  const int warp_row = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4;
  fill_tile<kWide>(room, s.head_dim, s.scale * kLog2e, [&](int row) {
    const QueryRow r = query_row(s, at.kv_head, at.first_row + row);
    return r.token < 0 ? nullptr : call.q + r.place(s, at.item) * s.head_dim;
  });
  __syncthreads();
  LeftSide<kSteps, kStride, kExact, true> queries;
  queries.take(room, warp_row);
  __syncthreads();
  const int count =
      call.selected ? find_read_blocks(call, at.item, at.kv_head, at.first_row, read) : 0;
  const Tiles tiles{call, read,  walk_of(call, documents, at.first_row, count), at.item, at.kv_head,
                    room, places};
  int token[2];
  for (int half = 0; half < 2; ++half) {
    token[half] = query_row(s, at.kv_head, at.first_row + warp_row + g + 8 * half).token;
  }
  float out[kSteps][4] = {};
  float most[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
  tiles.begin();
  for (int tile = 0; tile < tiles.count(); ++tile) {
    tiles.come_to(tile);
    float p[8][4];
    scores_of(p, queries, tiles.keys(tile));
    if (!all_readable(call, at, tiles.walk, tiles.walk.first + tile * kTile)) {
      drop_unread(call, documents, tiles.places_of(tile), warp_row, token,
                  [&](int n, int i) { p[n][i] = -INFINITY; });
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float top = -INFINITY;
#pragma unroll
      for (int n = 0; n < 8; ++n) top = fmaxf(top, fmaxf(p[n][2 * half], p[n][2 * half + 1]));
      top = fmaxf(most[half], row_max(top));
      const float origin = top == -INFINITY ? 0 : top;
      const float shrink = exp2f(most[half] - origin);
      most[half] = top;
      float part = 0;
#pragma unroll
      for (int n = 0; n < 8; ++n) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          p[n][2 * half + j] = exp2f(p[n][2 * half + j] - origin);
          part += p[n][2 * half + j];
        }
      }
      sum[half] = sum[half] * shrink + part;
#pragma unroll
      for (int n = 0; n < kSteps; ++n) {
        out[n][2 * half] *= shrink;
        out[n][2 * half + 1] *= shrink;
      }
    }
    add_weighted<kSteps, kStride, kExact>(out, p, tiles.values(tile));
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float total = row_sum(sum[half]);
    const QueryRow r = query_row(s, at.kv_head, at.first_row + warp_row + g + 8 * half);
    if (r.token < 0) continue;
    const std::int64_t place = r.place(s, at.item);
    store_row<kSteps>(call.o + place * s.head_dim, out, half, 1 / total, s.head_dim);
    if (threadIdx.x % 4 == 0) call.lse[place] = (most[half] + log2f(total)) * kLn2;
  }
}

template <int kWide, bool kExact>
__global__ void __launch_bounds__(kThreads) query_gradient_kernel(Call call) {
  using Memory = GradientRoom<kWide>;
  using Tiles = KeyTiles<kWide, Memory::kStages>;
  constexpr bool kKept = Memory::kKept;
  constexpr int kSteps = kWide / 8, kStride = kWide + 4;
  extern __shared__ __align__(16) float room[];
  __shared__ Places places[Memory::kStages + 1];
  const Shape& s = call.shape;
  const RowTile at = row_tile(call);
  if (is_others(call, at.item)) return;
  const std::int32_t* documents =
      call.documents != nullptr ? call.documents + static_cast<std::int64_t>(at.item) * s.tokens
                                : nullptr;
  const ReadBlocks read = Memory::read_blocks(room, s);
  const int warp_row = threadIdx.x / 32 * 16, g = threadIdx.x % 32 / 4;
  const auto query_at = [&](const float* base, int row) {
    const QueryRow r = query_row(s, at.kv_head, at.first_row + row);
    return r.token < 0 ? nullptr : base + r.place(s, at.item) * s.head_dim;
  };
  float *query_tile = Memory::left(room, 0), *gradient_tile = Memory::left(room, 1);
  fill_tile<kWide>(query_tile, s.head_dim, s.scale * kLog2e,
                   [&](int row) { return query_at(call.q, row); });
  fill_tile<kWide>(gradient_tile, s.head_dim, 1, [&](int row) { return query_at(call.d_o, row); });
  __syncthreads();
  LeftSide<kSteps, kStride, kExact, kKept> queries, gradients;
  queries.take(query_tile, warp_row);
  gradients.take(gradient_tile, warp_row);
  __syncthreads();
  const int count =
      call.selected ? find_read_blocks(call, at.item, at.kv_head, at.first_row, read) : 0;
  const Tiles tiles{call, read,  walk_of(call, documents, at.first_row, count), at.item, at.kv_head,
                    room, places};
  int token[2];
  float lse[2] = {0, 0}, sums[2] = {0, 0};
  for (int half = 0; half < 2; ++half) {
    const QueryRow r = query_row(s, at.kv_head, at.first_row + warp_row + g + 8 * half);
    token[half] = r.token;
    if (r.token < 0) continue;
    lse[half] = call.lse[r.place(s, at.item)] * kLog2e;
    sums[half] = call.row_sums[r.place(s, at.item)];
  }
  float sum[kSteps][4] = {};
  tiles.begin();
  for (int tile = 0; tile < tiles.count(); ++tile) {
    tiles.come_to(tile);
    float p[8][4], d[8][4];
    scores_of(p, queries, tiles.keys(tile));
    if (!all_readable(call, at, tiles.walk, tiles.walk.first + tile * kTile)) {
      drop_unread(call, documents, tiles.places_of(tile), warp_row, token,
                  [&](int n, int i) { p[n][i] = -INFINITY; });
    }
    scores_of(d, gradients, tiles.values(tile));
#pragma unroll
    for (int n = 0; n < 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        p[n][i] = exp2f(p[n][i] - lse[i / 2]) * (d[n][i] - sums[i / 2]);
      }
    }
    add_weighted<kSteps, kStride, kExact>(sum, p, tiles.keys(tile));
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const QueryRow r = query_row(s, at.kv_head, at.first_row + warp_row + g + 8 * half);
    if (r.token < 0) continue;
    store_row<kSteps>(call.dq + r.place(s, at.item) * s.head_dim, sum, half, s.scale, s.head_dim);
  }
}

// Of a window of queries those that read a block, ascending, in `list`; returns how many. `bits`
// are those of the window's readers, or null where all from `first` on read it.
__device__ inline int list_readers(const std::uint32_t* bits, int window, int tokens, int first,
                                   int* list, int* shared_count) {
  const int end = min(window + kWindow, tokens);
  if (bits == nullptr) {
    const int begin = max(window, first);
    for (int i = threadIdx.x; i < end - begin; i += kThreads) list[i] = begin + i;
    __syncthreads();
    return max(0, end - begin);
  }
  if (threadIdx.x < 32) {
    const int words = (end - window + 31) / 32;
    int before = 0;
    for (int w = 0; w < words; w += 32) {
      const int own = w + static_cast<int>(threadIdx.x);
      std::uint32_t left = own < words ? bits[window / 32 + own] : 0;
      const int count = __popc(left);
      int sum = count;
      for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(0xffffffffU, sum, step);
        if (static_cast<int>(threadIdx.x) >= step) sum += below;
      }
      int to = before + sum - count;
      for (; left != 0; left &= left - 1) {
        list[to++] = window + own * 32 + __ffs(static_cast<int>(left)) - 1;
      }
      before += __shfl_sync(0xffffffffU, sum, 31);
    }
    if (threadIdx.x == 0) *shared_count = before;
  }
  __syncthreads();
  return *shared_count;
}

// Gradients of 64 keys or fewer, of one block where blocks are chosen. kAlong warps have 16 keys
// each; the others of the four share their rows.
template <int kWide, bool kExact, int kAlong>
__global__ void __launch_bounds__(kThreads) key_gradient_kernel(Call call) {
  using Memory = KeyGradientRoom<kWide>;
  constexpr bool kKept = Memory::kKept;
  constexpr int kSteps = kWide / 8, kStride = Memory::kStride, kAcross = kWarps / kAlong;
  extern __shared__ __align__(16) float room[];
  __shared__ int list[kWindow], shared_count;
  __shared__ int tokens_of[2][kTile];
  __shared__ float lse_of[2][kTile], sums_of[2][kTile];
  const Shape& s = call.shape;
  const int size = call.selected ? s.block_size : kTile;
  const int chunks = (size + 16 * kAlong - 1) / (16 * kAlong);
  const int products = call.items * s.kv_heads;
  const int product = static_cast<int>(blockIdx.x % products);
  const int item = product / s.kv_heads, kv_head = product % s.kv_heads;
  if (is_others(call, item)) return;
  const int chunk = static_cast<int>(blockIdx.x / products);  // the first keys have most readers
  const int block = chunk / chunks;
  const int first_key = block * size + chunk % chunks * (16 * kAlong);
  const int end_key = min(min((block + 1) * size, s.tokens), first_key + 16 * kAlong);
  if (first_key >= end_key) return;
  const std::int32_t* documents = call.documents != nullptr
                                      ? call.documents + static_cast<std::int64_t>(item) * s.tokens
                                      : nullptr;
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int warp_key = warp % kAlong * 16, across = warp / kAlong;
  float *key_tile = Memory::left(room, 0), *value_tile = Memory::left(room, 1);
  const auto key_at = [&](const float* base, int i) {
    const int key = first_key + i;
    return key < end_key ? base + key_place(s, item, key, kv_head) * s.head_dim : nullptr;
  };
  fill_tile<kWide>(key_tile, s.head_dim, s.scale * kLog2e,
                   [&](int i) { return key_at(call.k, i); });
  fill_tile<kWide>(value_tile, s.head_dim, 1, [&](int i) { return key_at(call.v, i); });
  __syncthreads();
  LeftSide<kSteps, kStride, kExact, kKept> keys, values;
  keys.take(key_tile, warp_key);
  values.take(value_tile, warp_key);
  __syncthreads();
  int key[2];
  for (int half = 0; half < 2; ++half) {
    key[half] = first_key + warp_key + g + 8 * half;
    if (key[half] >= end_key) key[half] = -1;
  }
  float dk[kSteps][4] = {}, dv[kSteps][4] = {};
  const bool per_head = call.selected && s.per_head();
  const int heads_of_row = per_head ? 1 : s.group;  // rows of a listed query
  const int first_reader = s.causal ? first_key : 0;
  const int words = (s.tokens + 31) / 32;
  for (int lists = 0; lists < (per_head ? s.group : 1); ++lists) {
    const std::uint32_t* bits = nullptr;
    if (call.selected) {
      const int own = per_head ? kv_head * s.group + lists : kv_head;
      bits = call.readers +
             ((static_cast<std::int64_t>(item) * s.lists + own) * s.blocks + block) * words;
    }
    for (int window = first_reader / kWindow * kWindow; window < s.tokens; window += kWindow) {
      const int readers = list_readers(bits, window, s.tokens, first_reader, list, &shared_count);
      const int rows = readers * heads_of_row;
      const auto fetch = [&](int from, int stage) {
        const auto row_at = [&](int i) -> QueryRow {
          if (from + i >= rows) return {-1, 0};
          const int token = list[(from + i) / heads_of_row];
          return {token, kv_head * s.group + (per_head ? lists : (from + i) % heads_of_row)};
        };
        const auto row_of = [&](const float* base, int i) {
          const QueryRow r = row_at(i);
          return r.token < 0 ? nullptr : base + r.place(s, item) * s.head_dim;
        };
        fetch_tile<kWide>(Memory::tile(room, 2 * stage), s.head_dim,
                          [&](int i) { return row_of(call.q, i); });
        fetch_tile<kWide>(Memory::tile(room, 2 * stage + 1), s.head_dim,
                          [&](int i) { return row_of(call.d_o, i); });
        for (int i = threadIdx.x; i < kTile; i += kThreads) {
          const QueryRow r = row_at(i);
          tokens_of[stage][i] = r.token;
          lse_of[stage][i] = r.token < 0 ? 0 : call.lse[r.place(s, item)] * kLog2e;
          sums_of[stage][i] = r.token < 0 ? 0 : call.row_sums[r.place(s, item)];
        }
      };
      if (rows > 0) fetch(0, 0);
      for (int from = 0, stage = 0; from < rows; from += kTile, stage = 1 - stage) {
        arrive();
        __syncthreads();
        if (from + kTile < rows) fetch(from + kTile, 1 - stage);
        const float *queries = Memory::tile(room, 2 * stage),
                    *gradients = Memory::tile(room, 2 * stage + 1);
        // 16 rows at a time, as two products' columns.
        for (int first = across * 16; first < kTile && from + first < rows; first += kAcross * 16) {
          float p[2][4] = {}, d[2][4] = {};
#pragma unroll
          for (int step = 0; step < kSteps; ++step) {
            float a[4];
            keys.get(a, step);
#pragma unroll
            for (int n = 0; n < 2; ++n) {
              const float* b = queries + (first + 8 * n + g) * kStride + 8 * step + t;
              add_product<kExact>(p[n], a, taken<kExact>(b[0]), taken<kExact>(b[4]));
            }
            values.get(a, step);
#pragma unroll
            for (int n = 0; n < 2; ++n) {
              const float* b = gradients + (first + 8 * n + g) * kStride + 8 * step + t;
              add_product<kExact>(d[n], a, taken<kExact>(b[0]), taken<kExact>(b[4]));
            }
          }
#pragma unroll
          for (int n = 0; n < 2; ++n) {
#pragma unroll
            for (int j = 0; j < 2; ++j) {
              const int row = first + 8 * n + 2 * t + j;
              const int token = tokens_of[stage][row];
              const float lse = lse_of[stage][row], sums = sums_of[stage][row];
#pragma unroll
              for (int half = 0; half < 2; ++half) {
                const bool in =
                    key[half] >= 0 && token >= 0 && readable(call, documents, token, key[half]);
                float& weight = p[n][2 * half + j];
                float& slope = d[n][2 * half + j];
                weight = in ? exp2f(weight - lse) : 0;
                slope = weight * (slope - sums);
              }
            }
          }
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            const float weights[4] = {taken<kExact>(p[n][0]), taken<kExact>(p[n][2]),
                                      taken<kExact>(p[n][1]), taken<kExact>(p[n][3])};
            const float slopes[4] = {taken<kExact>(d[n][0]), taken<kExact>(d[n][2]),
                                     taken<kExact>(d[n][1]), taken<kExact>(d[n][3])};
            const int row = first + 8 * n + 2 * t;
            const float* of_gradients = gradients + row * kStride + g;
            const float* of_queries = queries + row * kStride + g;
#pragma unroll
            for (int step = 0; step < kSteps; ++step) {
              add_product<kExact>(dv[step], weights, taken<kExact>(of_gradients[8 * step]),
                                  taken<kExact>(of_gradients[kStride + 8 * step]));
              add_product<kExact>(dk[step], slopes, taken<kExact>(of_queries[8 * step]),
                                  taken<kExact>(of_queries[kStride + 8 * step]));
            }
          }
        }
      }
      __syncthreads();
    }
  }
  // The warps that share keys add up in their order.
  float* parts = room;
  const auto reduce = [&](float(&sum)[kSteps][4]) {
    for (int turn = 1; turn < kAcross; ++turn) {
      if (across == turn) {
#pragma unroll
        for (int n = 0; n < kSteps; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            parts[((warp % kAlong * kSteps + n) * 4 + i) * 32 + threadIdx.x % 32] = sum[n][i];
          }
        }
      }
      __syncthreads();
      if (across == 0) {
#pragma unroll
        for (int n = 0; n < kSteps; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            sum[n][i] += parts[((warp % kAlong * kSteps + n) * 4 + i) * 32 + threadIdx.x % 32];
          }
        }
      }
      __syncthreads();
    }
  };
  reduce(dk);
  reduce(dv);
  if (across != 0) return;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (key[half] < 0) continue;
    const std::int64_t place = key_place(s, item, key[half], kv_head) * s.head_dim;
    store_row<kSteps>(call.dk + place, dk, half, s.scale, s.head_dim);
    store_row<kSteps>(call.dv + place, dv, half, 1, s.head_dim);
  }
}

// Launches of one width and precision; attention.cu asks for them by both.
template <int kWide, bool kExact>
struct Launches {
  static int forward(const Call& call, cudaStream_t stream);
  static int query_gradient(const Call& call, cudaStream_t stream);
  static int key_gradient(const Call& call, cudaStream_t stream);
};

template <class Kernel, class Argument>
int launch_with_room(Kernel kernel, std::int64_t blocks, std::size_t bytes, const Argument& call,
                     cudaStream_t stream) {
  if (blocks > 0x7fffffff) return cudaErrorInvalidValue;
  if (bytes > 32 * 1024) {  // beside what is static
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
    if (error != cudaSuccess) return error;
  }
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(call);
  return cudaGetLastError();
}

inline std::int64_t row_tiles(const Call& call) {
  const Shape& s = call.shape;
  const std::int64_t rows = std::int64_t{s.tokens} * s.group;
  return (rows + kTile - 1) / kTile * call.items * s.kv_heads;
}

template <int kWide, bool kExact>
int Launches<kWide, kExact>::forward(const Call& call, cudaStream_t stream) {
  const std::size_t bytes =
      KeyTiles<kWide, 2>::Memory::kBytes + (call.selected ? bytes_of_read_blocks(call.shape) : 0);
  return launch_with_room(forward_kernel<kWide, kExact>, row_tiles(call), bytes, call, stream);
}

template <int kWide, bool kExact>
int Launches<kWide, kExact>::query_gradient(const Call& call, cudaStream_t stream) {
  const std::size_t bytes =
      GradientRoom<kWide>::kBytes + (call.selected ? bytes_of_read_blocks(call.shape) : 0);
  return launch_with_room(query_gradient_kernel<kWide, kExact>, row_tiles(call), bytes, call,
                          stream);
}

template <int kWide, bool kExact>
int Launches<kWide, kExact>::key_gradient(const Call& call, cudaStream_t stream) {
  const Shape& s = call.shape;
  const int size = call.selected ? s.block_size : kTile;
  const int along = size <= 32 ? 1 : 4;
  const std::int64_t parts = std::int64_t{(s.tokens + size - 1) / size} *
                             ((size + 16 * along - 1) / (16 * along)) * call.items * s.kv_heads;
  constexpr std::size_t kBytes = KeyGradientRoom<kWide>::kBytes;
  if (along == 1) {
    return launch_with_room(key_gradient_kernel<kWide, kExact, 1>, parts, kBytes, call, stream);
  }
  return launch_with_room(key_gradient_kernel<kWide, kExact, 4>, parts, kBytes, call, stream);
}

// Widths that there are kernels for, by precision.
#define TANDEM_ATTENTION_WIDTHS(X) X(32) X(48) X(64) X(128)
#define TANDEM_ATTENTION_EXACT_WIDTHS(X) X(32) X(64) X(128)

}  // namespace tandem::attention_cuda
