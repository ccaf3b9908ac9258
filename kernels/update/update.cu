// The GPU version of update.h and finish_step.h: one thread per weight or, where every segment
// begins on a 16-byte boundary, per four of them. A block belongs to one replica (blockIdx.y), so
// that its flags never diverge. 1/(1 - beta^t) is -1/expm1(t log beta), which keeps its digits at t
// = 1, where 1 - beta^t loses three of float's seven. No atomics: the same input gives the same
// bits.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "kernels/cuda_kernel.h"
#include "kernels/pack.cuh"
#include "kernels/update/finish_replica.h"
#include "kernels/update/update_cuda.h"

namespace tandem::kernels {
namespace {

constexpr int kThreads = 256, kWide = 4;

// Null: all flags are set.
template <int kWidth>
__device__ Pack<std::uint8_t, kWidth> load_flags(const std::uint8_t* mask, std::int64_t i) {
  if (mask != nullptr) return load<kWidth>(mask + i);
  Pack<std::uint8_t, kWidth> flags;
  for (int j = 0; j < kWidth; ++j) flags.at[j] = 1;
  return flags;
}

// A replica's numbers in the weights' precision; by1 and by2 are Adam's bias corrections.
template <class T>
struct Terms {
  T lr, momentum, scale, coupled, shrink, keep, by1, by2;
};

template <class T>
__device__ Terms<T> terms_of(const ReplicaUpdate& replica, bool decays, bool decoupled) {
  const double decay = decays ? replica.weight_decay : 0;
  Terms<T> terms{};
  terms.lr = T(replica.lr);
  terms.momentum = T(replica.momentum);
  terms.scale = T(replica.scale);
  terms.coupled = decoupled ? T(0) : T(decay);
  terms.shrink = decoupled ? T(1 - replica.lr * decay) : T(1);
  terms.keep = T(replica.keep_dormant);
  return terms;
}

// The masks that the replica reads, at its own segment; null: everything.
__device__ UpdateMasks masks_of(const UpdateMasks& masks, const ReplicaUpdate& replica,
                                std::int64_t offset) {
  const auto at = [offset](const std::uint8_t* mask, bool reads) {
    return mask != nullptr && reads ? mask + offset : nullptr;
  };
  return {at(masks.active, replica.keep_dormant != 1),
          at(masks.gradient_set, replica.mask_gradient), at(masks.update_set, replica.mask_update),
          at(masks.may_change, true)};
}

// A replica's path at its own segment.
template <class T>
__device__ PathTerm<T> path_of(const PathTerm<T>& path, std::int64_t offset) {
  return path.path == nullptr ? path : PathTerm<T>{path.along + offset, path.path + offset};
}

template <class T, int kWidth>
__device__ void follow(const PathTerm<T>& path, std::int64_t i, const Pack<T, kWidth>& before,
                       const Pack<T, kWidth>& now) {
  if (path.path == nullptr) return;
  const auto along = load<kWidth>(path.along + i);
  auto way = load<kWidth>(path.path + i);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) way.at[j] += rounded(along.at[j], before.at[j] - now.at[j]);
  store(path.path + i, way);
}

// What a weight keeps between steps: Adagrad's is the sum of squares.
enum class Kept { kNothing, kMomentum, kSquares };

template <class T, int kWidth, Kept kKept>
__global__ void __launch_bounds__(kThreads)
    sgd_kernel(T* weight, const T* __restrict__ gradient, T* momentum, UpdateMasks all_masks,
               std::int64_t n, const ReplicaUpdate* __restrict__ replicas, SgdRule rule,
               PathTerm<T> all_paths) {
  const ReplicaUpdate& replica = replicas[blockIdx.y];
  if (!replica.apply) return;
  __shared__ Terms<T> shared;
  if (threadIdx.x == 0) shared = terms_of<T>(replica, rule.decays, rule.decoupled_decay);
  __syncthreads();
  const Terms<T> terms = shared;
  const std::int64_t offset = blockIdx.y * n;
  const UpdateMasks masks = masks_of(all_masks, replica, offset);
  const PathTerm<T> path = path_of(all_paths, offset);
  weight += offset;
  gradient += offset;
  constexpr bool kSlot = kKept != Kept::kNothing;
  if (kSlot) momentum += offset;
  const std::int64_t stride = std::int64_t{gridDim.x} * (kThreads * kWidth);
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth; i < n;
       i += stride) {
    auto w = load<kWidth>(weight + i);
    const auto before = w;
    const auto g = load<kWidth>(gradient + i);
    Pack<T, kWidth> m{};
    if (kSlot) m = load<kWidth>(momentum + i);
    const auto in_s = load_flags<kWidth>(masks.gradient_set, i);
    const auto in_u = load_flags<kWidth>(masks.update_set, i);
    const auto may = load_flags<kWidth>(masks.may_change, i);
    const auto active = load_flags<kWidth>(masks.active, i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const bool on = in_u.at[j] != 0 && may.at[j] != 0;
      const T seen = in_s.at[j] != 0 && may.at[j] != 0 ? g.at[j] : T(0);
      const T pull = seen * terms.scale + terms.coupled * w.at[j];
      T step = pull, next = 0;
      if (kKept == Kept::kSquares) {
        next = m.at[j] + pull * pull;
        step = pull / (std::sqrt(next) + T(rule.epsilon));
      }
      if (kKept == Kept::kMomentum) {
        next = terms.momentum * m.at[j] + pull;
        step = rule.nesterov ? pull + terms.momentum * next : next;
      }
      T moved = w.at[j] * terms.shrink - terms.lr * step;
      moved = active.at[j] != 0 ? moved : moved * terms.keep;
      w.at[j] = on ? moved : w.at[j];
      if (kSlot) m.at[j] = on ? next : m.at[j];
    }
    store(weight + i, w);
    if (kSlot) store(momentum + i, m);
    follow(path, i, before, w);
  }
}

template <class T>
struct AdamNumbers {
  T beta1, beta2, rest1, rest2, epsilon;  // rest: 1 - beta
  double log_beta1, log_beta2;
  bool decays, decoupled;
};

__device__ float correction(float log_beta, float t) { return -1.0f / expm1f(t * log_beta); }
__device__ double correction(double log_beta, double t) { return -1.0 / expm1(t * log_beta); }

template <class T, int kWidth, bool kCounted>
__global__ void __launch_bounds__(kThreads)
    adam_kernel(T* weight, const T* __restrict__ gradient, T* first, T* second, T* count,
                UpdateMasks all_masks, std::int64_t n, const ReplicaUpdate* __restrict__ replicas,
                AdamNumbers<T> adam, PathTerm<T> all_paths) {
  const ReplicaUpdate& replica = replicas[blockIdx.y];
  if (!replica.apply) return;
  __shared__ Terms<T> shared;
  if (threadIdx.x == 0) {
    shared = terms_of<T>(replica, adam.decays, adam.decoupled);
    if (!kCounted) {
      shared.by1 = T(correction(adam.log_beta1, double(replica.step)));
      shared.by2 = T(correction(adam.log_beta2, double(replica.step)));
    }
  }
  __syncthreads();
  const Terms<T> terms = shared;
  const std::int64_t offset = blockIdx.y * n;
  const UpdateMasks masks = masks_of(all_masks, replica, offset);
  const PathTerm<T> path = path_of(all_paths, offset);
  weight += offset;
  gradient += offset;
  first += offset;
  second += offset;
  if (kCounted) count += offset;
  const T log1 = T(adam.log_beta1), log2 = T(adam.log_beta2);
  const std::int64_t stride = std::int64_t{gridDim.x} * (kThreads * kWidth);
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWidth; i < n;
       i += stride) {
    auto w = load<kWidth>(weight + i);
    const auto before = w;
    const auto g = load<kWidth>(gradient + i);
    auto m = load<kWidth>(first + i), v = load<kWidth>(second + i);
    Pack<T, kWidth> t{};
    if (kCounted) t = load<kWidth>(count + i);
    const auto in_s = load_flags<kWidth>(masks.gradient_set, i);
    const auto in_u = load_flags<kWidth>(masks.update_set, i);
    const auto may = load_flags<kWidth>(masks.may_change, i);
    const auto active = load_flags<kWidth>(masks.active, i);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      const bool on = in_u.at[j] != 0 && may.at[j] != 0;
      const T seen = in_s.at[j] != 0 && may.at[j] != 0 ? g.at[j] : T(0);
      const T pull = seen * terms.scale + terms.coupled * w.at[j];
      const T mean = adam.beta1 * m.at[j] + adam.rest1 * pull;
      const T square = adam.beta2 * v.at[j] + adam.rest2 * pull * pull;
      T by1 = terms.by1, by2 = terms.by2;
      if (kCounted) {
        const T number = t.at[j] + T(1);
        by1 = correction(log1, number);
        by2 = correction(log2, number);
        t.at[j] = on ? number : t.at[j];
      }
      T moved = w.at[j] * terms.shrink -
                terms.lr * (mean * by1) / (std::sqrt(square * by2) + adam.epsilon);
      moved = active.at[j] != 0 ? moved : moved * terms.keep;
      w.at[j] = on ? moved : w.at[j];
      m.at[j] = on ? mean : m.at[j];
      v.at[j] = on ? square : v.at[j];
    }
    store(weight + i, w);
    store(first + i, m);
    store(second + i, v);
    if (kCounted) store(count + i, t);
    follow(path, i, before, w);
  }
}

__device__ double warp_sum(double value) {
  for (int distance = 16; distance > 0; distance /= 2) {
    value += __shfl_down_sync(0xFFFFFFFFu, value, distance);
  }
  return value;  // in lane 0
}

// Whether loads are wide or not, a thread adds the same values in the same order.
template <class T, bool kVector>
__global__ void __launch_bounds__(kThreads)
    square_parts_kernel(const T* __restrict__ gradient, const std::uint8_t* __restrict__ set,
                        std::int64_t n, const StepNumbers* __restrict__ numbers,
                        double* __restrict__ scratch) {
  const StepNumbers& mine = numbers[blockIdx.y];
  if (mine.runs == 0 || mine.steps == 0) return;
  const std::int64_t offset = blockIdx.y * n;
  gradient += offset;
  set = set != nullptr && mine.mask_gradient != 0 ? set + offset : nullptr;
  double sum = 0;
  const std::int64_t stride = std::int64_t{gridDim.x} * (kThreads * kWide);
  for (std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kWide; i < n;
       i += stride) {
    Pack<T, kWide> g{};
    Pack<std::uint8_t, kWide> in_s{};
    if (kVector) {
      g = load<kWide>(gradient + i);
      in_s = load_flags<kWide>(set, i);
    } else {
      for (int j = 0; j < kWide && i + j < n; ++j) {
        g.at[j] = gradient[i + j];
        in_s.at[j] = set == nullptr ? 1 : set[i + j];
      }
    }
#pragma unroll
    for (int j = 0; j < kWide; ++j) {
      const double x = in_s.at[j] != 0 ? double(g.at[j]) : 0.0;
      sum += x * x;
    }
  }
  __shared__ double sums[kThreads / 32];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int warp = 1; warp < kThreads / 32; ++warp) sum += sums[warp];
  scratch[blockIdx.y * kSquaresParts + blockIdx.x] = sum;
}

// One warp per replica.
__global__ void add_parts_kernel(const double* __restrict__ scratch, int parts,
                                 const StepNumbers* __restrict__ numbers,
                                 std::int64_t replica_count, double* squares) {
  const std::int64_t r = std::int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (r >= replica_count || numbers[r].runs == 0 || numbers[r].steps == 0) return;
  double sum = 0;
  for (int part = static_cast<int>(threadIdx.x % 32); part < parts; part += 32) {
    sum += scratch[r * kSquaresParts + part];
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) squares[r] += sum;
}

__global__ void finish_step_kernel(StepOutcome outcome, ReplicaState* state,
                                   ReplicaUpdate* updates) {
  const std::int64_t r = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (r < outcome.replicas) finish_replica(outcome, r, state, updates);
}

// Null lies on every boundary.
bool vectors_fit(std::int64_t n, std::initializer_list<const void*> values,
                 std::initializer_list<const void*> masks) {
  const auto fits = [](std::uintptr_t bytes) {
    return [bytes](const void* pointer) { return lies_on(pointer, bytes); };
  };
  return n % kWide == 0 && std::all_of(values.begin(), values.end(), fits(16)) &&
         std::all_of(masks.begin(), masks.end(), fits(kWide));
}

template <class T>
T* after(T* pointer, std::int64_t offset) {
  return pointer != nullptr ? pointer + offset : nullptr;
}

UpdateMasks after(const UpdateMasks& masks, std::int64_t offset) {
  return {after(masks.active, offset), after(masks.gradient_set, offset),
          after(masks.update_set, offset), after(masks.may_change, offset)};
}

template <class T>
PathTerm<T> after(const PathTerm<T>& path, std::int64_t offset) {
  return {after(path.along, offset), after(path.path, offset)};
}

template <class T, int kWidth>
int launch_sgd(T* weight, const T* gradient, T* momentum, const UpdateMasks& masks, std::int64_t n,
               const ReplicaUpdate* replicas, std::int64_t replica_count, SgdRule rule,
               const PathTerm<T>& path, cudaStream_t stream) {
  const auto kernel = momentum == nullptr ? sgd_kernel<T, kWidth, Kept::kNothing>
                      : rule.adagrad      ? sgd_kernel<T, kWidth, Kept::kSquares>
                                          : sgd_kernel<T, kWidth, Kept::kMomentum>;
  return for_rows(n, replica_count, kThreads * kWidth, [&](dim3 grid, std::int64_t first) {
    const std::int64_t o = first * n;
    kernel<<<grid, kThreads, 0, stream>>>(weight + o, gradient + o, after(momentum, o),
                                          after(masks, o), n, replicas + first, rule,
                                          after(path, o));
  });
}

template <class T, int kWidth>
int launch_adam(T* weight, const T* gradient, T* first, T* second, T* count,
                const UpdateMasks& masks, std::int64_t n, const ReplicaUpdate* replicas,
                std::int64_t replica_count, const AdamRule& rule, const PathTerm<T>& path,
                cudaStream_t stream) {
  const AdamNumbers<T> numbers{T(rule.beta1),        T(rule.beta2),   T(1 - rule.beta1),
                               T(1 - rule.beta2),    T(rule.epsilon), std::log(rule.beta1),
                               std::log(rule.beta2), rule.decays,     rule.decoupled_decay};
  const auto kernel =
      count != nullptr ? adam_kernel<T, kWidth, true> : adam_kernel<T, kWidth, false>;
  return for_rows(n, replica_count, kThreads * kWidth, [&](dim3 grid, std::int64_t row) {
    const std::int64_t o = row * n;
    kernel<<<grid, kThreads, 0, stream>>>(weight + o, gradient + o, first + o, second + o,
                                          after(count, o), after(masks, o), n, replicas + row,
                                          numbers, after(path, o));
  });
}

}  // namespace

template <class T>
int sgd_update_cuda(T* weight, const T* gradient, T* momentum, UpdateMasks masks, std::int64_t n,
                    const ReplicaUpdate* replicas, std::int64_t replica_count, SgdRule rule,
                    PathTerm<T> path, void* stream) {
  const auto launch =
      vectors_fit(n, {weight, gradient, momentum, path.along, path.path},
                  {masks.active, masks.gradient_set, masks.update_set, masks.may_change})
          ? launch_sgd<T, kWide>
          : launch_sgd<T, 1>;
  return launch(weight, gradient, momentum, masks, n, replicas, replica_count, rule, path,
                static_cast<cudaStream_t>(stream));
}

template <class T>
int adam_update_cuda(T* weight, const T* gradient, T* first, T* second, T* count, UpdateMasks masks,
                     std::int64_t n, const ReplicaUpdate* replicas, std::int64_t replica_count,
                     AdamRule rule, PathTerm<T> path, void* stream) {
  const auto launch =
      vectors_fit(n, {weight, gradient, first, second, count, path.along, path.path},
                  {masks.active, masks.gradient_set, masks.update_set, masks.may_change})
          ? launch_adam<T, kWide>
          : launch_adam<T, 1>;
  return launch(weight, gradient, first, second, count, masks, n, replicas, replica_count, rule,
                path, static_cast<cudaStream_t>(stream));
}

template <class T>
int sum_squares_cuda(const T* gradient, const std::uint8_t* gradient_set, std::int64_t n,
                     const StepNumbers* numbers, std::int64_t replica_count, double* scratch,
                     double* squares, void* stream) {
  const auto on = static_cast<cudaStream_t>(stream);
  // A number that depends on n alone, so that a replica's sum does not depend on its company.
  const auto parts = static_cast<unsigned>(
      std::min(kSquaresParts, blocks_for(std::max<std::int64_t>(n, 1), kThreads * kWide)));
  const auto kernel = vectors_fit(n, {gradient}, {gradient_set}) ? square_parts_kernel<T, true>
                                                                 : square_parts_kernel<T, false>;
  const int error =
      for_rows(n, replica_count, kThreads * kWide, [&](dim3 grid, std::int64_t first) {
        kernel<<<dim3(parts, grid.y), kThreads, 0, on>>>(
            gradient + first * n, after(gradient_set, first * n), n, numbers + first,
            scratch + first * kSquaresParts);
      });
  if (error != cudaSuccess || n == 0 || replica_count == 0) return error;
  const auto blocks = static_cast<unsigned>(blocks_for(replica_count, kThreads / 32));
  add_parts_kernel<<<blocks, kThreads, 0, on>>>(scratch, static_cast<int>(parts), numbers,
                                                replica_count, squares);
  return cudaGetLastError();
}

int finish_step_cuda(const StepOutcome& outcome, ReplicaState* state, ReplicaUpdate* updates,
                     void* stream) {
  if (outcome.replicas < 0) return cudaErrorInvalidValue;
  if (outcome.replicas == 0) return cudaSuccess;
  constexpr int kReplicasPerBlock = 64;
  const auto blocks = static_cast<unsigned>(blocks_for(outcome.replicas, kReplicasPerBlock));
  finish_step_kernel<<<blocks, kReplicasPerBlock, 0, static_cast<cudaStream_t>(stream)>>>(
      outcome, state, updates);
  return cudaGetLastError();
}

namespace {

[[maybe_unused]] const bool kOffered =
    offer_cuda_kernel("sgd_update", sgd_update_cuda<float>, sgd_update_cuda<double>) &&
    offer_cuda_kernel("adam_update", adam_update_cuda<float>, adam_update_cuda<double>) &&
    offer_cuda_kernel("sum_squares", sum_squares_cuda<float>, sum_squares_cuda<double>) &&
    offer_cuda_kernel("finish_step", finish_step_cuda);

}  // namespace

}  // namespace tandem::kernels
