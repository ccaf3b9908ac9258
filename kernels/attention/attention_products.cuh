// Products on a GPU's matrix units (mma.sync m16n8k8 with TF32 inputs and float sums), from tiles
// of 64 rows in shared memory.
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

#include <cstdint>

namespace tandem::attention_cuda {

constexpr int kTile = 64;  // rows and places of a tile
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kWindow = 2048;  // queries of which a block's readers are listed at once
constexpr float kLog2e = 1.4426950408889634F, kLn2 = 0.6931471805599453F;

// The nearest number that the matrix units take whole; they cut off what is beyond.
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

// c += a b. An exact product is that of the nearest TF32 numbers and of what they leave, 2^-12 of a
// number at most, with each other's; the two remainders' own, 2^-24 of it, is left out, as much as
// a float's rounding is. The units cut off what they add to a sum, where a float's addition rounds;
// over thousands of rows that would be seen, so that an exact product has a sum of its own. (In
// TF32 it is below the inputs' rounding up to tens of thousands of rows.)
template <bool kExact>
__device__ void add_product(float (&c)[4], const float (&a)[4], float b0, float b1) {
  if constexpr (kExact) {
    float high[4], low[4], part[4] = {};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      high[i] = to_tf32(a[i]);
      low[i] = to_tf32(a[i] - high[i]);
    }
    const float high0 = to_tf32(b0), high1 = to_tf32(b1);
    multiply_add(part, low, high0, high1);
    multiply_add(part, high, to_tf32(b0 - high0), to_tf32(b1 - high1));
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

}  // namespace tandem::attention_cuda
