// The passes of attention on a GPU: forward, backward by queries and backward by keys, each a
// kernel over tiles of rows or keys, and their launches.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/attention/attention_products.cuh"
#include "kernels/attention/attention_reads.cuh"

namespace tandem::attention_cuda {

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

// The most shared memory that a kernel of this width takes.
template <int kWide>
std::size_t most_room(const Shape& s) {
  constexpr std::size_t kStatic = 12 * 1024;
  const std::size_t lists = s.lists > 0 ? bytes_of_read_blocks(s) : 0;
  return kStatic + std::max({KeyTiles<kWide, 2>::Memory::kBytes + lists,
                             GradientRoom<kWide>::kBytes + lists, KeyGradientRoom<kWide>::kBytes});
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
