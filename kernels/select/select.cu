// Radix selection, one block per row, on the integer keys of select.cpp (larger key = chosen
// earlier, NaN = 0). Three histograms of 11, 11 and 10 bits find the key of the k-th position; a
// search ends early where it needs every key of a bucket. The last pass marks: a warp owns a
// contiguous range, so that ties in index order need the warps' counts before it and no barrier
// inside. Counts are integers: whatever the order of the atomics, the result is the same.
#include <cuda_runtime.h>

#include "kernels/cuda_kernel.h"
#include "kernels/select/select_cuda.h"

namespace tandem {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32, kWide = 4;
constexpr int kDigitBits = 11, kBins = 1 << kDigitBits;
constexpr int kCopies = 4;  // of the histogram, by warp: few exponents hold most scores
constexpr std::int64_t kLongestRow = 0x7FFFFFFF;  // positions of a row are unsigned: no sum wraps
constexpr unsigned kEveryLane = 0xFFFFFFFFu;
static_assert(kBins == 2 * kThreads, "a thread owns two bins");

struct Row {
  const float* scores;
  const std::uint8_t* eligible;
  unsigned n;
  unsigned flip;  // 0 for the largest, all ones for the smallest
};

__device__ unsigned key_of(float score, unsigned flip) {
  constexpr unsigned kSign = 0x80000000u, kInfinity = 0x7F800000u;
  const unsigned bits = __float_as_uint(score);
  const unsigned magnitude = bits & ~kSign;
  const unsigned unsigned_zero = magnitude == 0 ? 0 : bits;
  const unsigned negative = 0u - (unsigned_zero >> 31);
  return magnitude > kInfinity ? 0 : (unsigned_zero ^ (negative | kSign)) ^ flip;
}

// Positions i .. i + 3; those past the end are not eligible.
struct Four {
  unsigned key[kWide];
  bool eligible[kWide];
};

template <bool kVector>
__device__ Four load_four(const Row& row, unsigned i) {
  float score[kWide] = {};
  std::uint8_t flag[kWide] = {};
  if constexpr (kVector) {
    if (i < row.n) {
      const float4 scores = *reinterpret_cast<const float4*>(row.scores + i);
      uchar4 flags = make_uchar4(1, 1, 1, 1);
      if (row.eligible != nullptr) flags = *reinterpret_cast<const uchar4*>(row.eligible + i);
      score[0] = scores.x, score[1] = scores.y, score[2] = scores.z, score[3] = scores.w;
      flag[0] = flags.x, flag[1] = flags.y, flag[2] = flags.z, flag[3] = flags.w;
    }
  } else {
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      if (i + j >= row.n) continue;
      score[j] = row.scores[i + j];
      flag[j] = row.eligible == nullptr ? 1 : row.eligible[i + j];
    }
  }
  Four four;
#pragma unroll
  for (int j = 0; j < kWide; ++j) {
    four.key[j] = key_of(score[j], row.flip);
    four.eligible[j] = flag[j] != 0;
  }
  return four;
}

struct Shared {
  unsigned histogram[kCopies][kBins];
  unsigned warps[kWarps];
  unsigned digit, needed, found;
};

__device__ unsigned warp_scan(unsigned value) {  // inclusive
  const unsigned lane = threadIdx.x % 32;
#pragma unroll
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const unsigned lower = __shfl_up_sync(kEveryLane, value, distance);
    if (lane >= distance) value += lower;
  }
  return value;
}

// Inclusive, over the block; sums[kWarps - 1] is then the total. Callers put a barrier between two
// scans.
__device__ unsigned block_scan(unsigned value, unsigned* sums) {
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  value = warp_scan(value);
  if (lane == 31) sums[warp] = value;
  __syncthreads();
  if (warp == 0) sums[lane] = warp_scan(sums[lane]);
  __syncthreads();
  return warp == 0 ? value : value + sums[warp - 1];
}

// Counts the digits at `shift` of the eligible keys that agree with prefix in the bits of `above`.
template <bool kVector>
__device__ void count_digits(const Row& row, unsigned prefix, unsigned above, int shift,
                             unsigned bins, Shared& shared) {
  for (int bin = static_cast<int>(threadIdx.x); bin < kCopies * kBins; bin += kThreads) {
    (&shared.histogram[0][0])[bin] = 0;
  }
  __syncthreads();
  unsigned* histogram = shared.histogram[threadIdx.x / 32 % kCopies];
#pragma unroll 2
  for (unsigned i = threadIdx.x * kWide; i < row.n; i += kThreads * kWide) {
    const Four four = load_four<kVector>(row, i);
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      if (four.eligible[j] && (four.key[j] & above) == prefix) {
        atomicAdd(&histogram[(four.key[j] >> shift) & (bins - 1)], 1u);
      }
    }
  }
  __syncthreads();
}

// From the largest digit down, the one at which the count reaches `needed` (at least 1): its bin,
// how many of the bin are needed, how many it holds. Returns the count of all bins; where that is
// less than needed, nothing is found.
__device__ unsigned find_digit(unsigned needed, Shared& shared) {
  const unsigned upper = kBins - 1 - 2 * threadIdx.x, lower = upper - 1;
  unsigned in_upper = 0, in_lower = 0;
#pragma unroll
  for (int copy = 0; copy < kCopies; ++copy) {
    in_upper += shared.histogram[copy][upper];
    in_lower += shared.histogram[copy][lower];
  }
  const unsigned through = block_scan(in_upper + in_lower, shared.warps);
  const unsigned before = through - in_upper - in_lower;
  if (before < needed && needed <= through) {
    const bool is_upper = needed <= before + in_upper;
    shared.digit = is_upper ? upper : lower;
    shared.needed = is_upper ? needed - before : needed - before - in_upper;
    shared.found = is_upper ? in_upper : in_lower;
  }
  const unsigned total = shared.warps[kWarps - 1];
  __syncthreads();
  return total;
}

struct Threshold {
  unsigned lowest;  // keys above it are chosen
  unsigned ties;    // how many equal to it are chosen, where not every key from it on is
  bool all;         // every key from it on is chosen
};

template <bool kVector>
__device__ Threshold find_threshold(const Row& row, unsigned needed, Shared& shared) {
  unsigned prefix = 0, above = 0;
  int shift = 32;
  for (int bits = kDigitBits; shift > 0; bits = shift < kDigitBits ? shift : kDigitBits) {
    shift -= bits;
    count_digits<kVector>(row, prefix, above, shift, 1u << bits, shared);
    const unsigned total = find_digit(needed, shared);
    if (total <= needed) return {prefix, 0, true};
    prefix |= shared.digit << shift;
    above |= ((1u << bits) - 1) << shift;
    needed = shared.needed;
    if (shared.found == needed) return {prefix, 0, true};
  }
  return {prefix, needed, false};
}

// The warp's ties among positions begin .. end - 1.
template <bool kVector>
__device__ unsigned count_ties(const Row& row, unsigned begin, unsigned end, unsigned lowest) {
  unsigned ties = 0;
  for (unsigned i = begin + threadIdx.x % 32 * kWide; i < end; i += 32 * kWide) {
    const Four four = load_four<kVector>(row, i);
#pragma unroll
    for (int j = 0; j < kWide; ++j) ties += four.eligible[j] && four.key[j] == lowest;
  }
  return __shfl_sync(kEveryLane, warp_scan(ties), 31);
}

template <bool kVector>
__device__ void store_four(std::uint8_t* chosen, unsigned i, unsigned n,
                           const bool (&marks)[kWide]) {
  if constexpr (kVector) {
    if (i >= n) return;
    *reinterpret_cast<uchar4*>(chosen + i) = make_uchar4(marks[0], marks[1], marks[2], marks[3]);
  } else {
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      if (i + j < n) chosen[i + j] = marks[j];
    }
  }
}

template <bool kVector>
__device__ void mark(const Row& row, const Threshold& threshold, Shared& shared,
                     std::uint8_t* chosen) {
  constexpr unsigned kTile = 32 * kWide;
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const unsigned range = (row.n + kWarps * kTile - 1) / (kWarps * kTile) * kTile;
  const unsigned begin = warp * range;
  const unsigned end = begin + range < row.n ? begin + range : row.n;
  unsigned taken = 0;  // ties before the tile at hand
  if (!threshold.all) {
    const unsigned own = count_ties<kVector>(row, begin, end, threshold.lowest);
    if (lane == 0) shared.warps[warp] = own;
    __syncthreads();
    taken = __shfl_sync(kEveryLane, warp_scan(lane < warp ? shared.warps[lane] : 0), 31);
  }
  // The key of infinity is below the largest integer, so that lowest + 1 does not wrap.
  const unsigned floor = threshold.all ? threshold.lowest : threshold.lowest + 1;
  for (unsigned tile = begin; tile < end; tile += kTile) {
    const unsigned i = tile + lane * kWide;
    const Four four = load_four<kVector>(row, i);
    bool marks[kWide];
#pragma unroll
    for (int j = 0; j < kWide; ++j) marks[j] = four.eligible[j] && four.key[j] >= floor;
    if (!threshold.all && taken < threshold.ties) {  // alike in all lanes
      unsigned own = 0;
#pragma unroll
      for (int j = 0; j < kWide; ++j) own += four.eligible[j] && four.key[j] == threshold.lowest;
      const unsigned through = warp_scan(own);
      unsigned rank = taken + through - own;
#pragma unroll
      for (int j = 0; j < kWide; ++j) {
        if (four.eligible[j] && four.key[j] == threshold.lowest) {
          marks[j] = rank < threshold.ties;
          ++rank;
        }
      }
      taken += __shfl_sync(kEveryLane, through, 31);
    }
    store_four<kVector>(chosen, i, row.n, marks);
  }
}

template <bool kVector>
__global__ void __launch_bounds__(kThreads)
    select_kernel(const float* __restrict__ scores, const std::uint8_t* __restrict__ eligible,
                  std::int64_t n, const std::int64_t* __restrict__ counts, unsigned flip,
                  std::uint8_t* __restrict__ chosen) {
  __shared__ Shared shared;
  const std::int64_t offset = blockIdx.x * n;
  const Row row{scores + offset, eligible != nullptr ? eligible + offset : nullptr,
                static_cast<unsigned>(n), flip};
  const std::int64_t count = counts[blockIdx.x];
  Threshold threshold{0xFFFFFFFFu, 0, true};  // above every key: nothing is chosen
  if (count > 0) {
    threshold = find_threshold<kVector>(row, static_cast<unsigned>(count < n ? count : n), shared);
  }
  mark<kVector>(row, threshold, shared, chosen + offset);
}

bool lies_on(const void* pointer, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
}

}  // namespace

int select_top_cuda(const float* scores, const std::uint8_t* eligible, std::int64_t rows,
                    std::int64_t n, const std::int64_t* counts, bool largest, std::uint8_t* chosen,
                    void* stream) {
  if (rows < 0 || n < 0 || rows > kLongestRow || n > kLongestRow) return cudaErrorInvalidValue;
  if (rows == 0 || n == 0) return cudaSuccess;
  if (scores == nullptr || counts == nullptr || chosen == nullptr) return cudaErrorInvalidValue;
  const bool wide =
      n % kWide == 0 && lies_on(scores, 16) && lies_on(chosen, kWide) && lies_on(eligible, kWide);
  const auto kernel = wide ? select_kernel<true> : select_kernel<false>;
  kernel<<<static_cast<unsigned>(rows), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
      scores, eligible, n, counts, largest ? 0u : 0xFFFFFFFFu, chosen);
  return cudaGetLastError();
}

namespace {

[[maybe_unused]] const bool kOffered = offer_cuda_kernel("select_top", select_top_cuda);

}  // namespace

}  // namespace tandem
