// What the checked functions of spmm.h hand to the versions of spmm_vectors.cpp.
#pragma once

#include "kernels/spmm/spmm.h"

// Highway: too slow to be worth their code, or (SVE, RVV) without arrays of registers.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

namespace tandem::kernels {

constexpr std::int64_t kTileBytes = 256;
constexpr std::int64_t kPanel = 128;  // outputs (inputs) that share a block

template <class T, class I>
struct ForwardCall {
  const SparsePattern<I>& pattern;
  const T* values;
  const T* bias;
  const T* x;
  std::int64_t stride, batch;
  std::int64_t block;  // features walked before the next ones
  bool far;            // their rows are prefetched
  bool relu;
  T* y;
};

template <class T, class I>
struct BackwardCall {
  const SparsePattern<I>& pattern;
  const T* values;
  const T* x;
  const T* dy;
  std::int64_t stride, batch;
  std::int64_t block;  // features walked before the next ones
  bool far;            // their rows are prefetched
  bool relu_input;
  T* dx;
  T* dvalues;
};

template <class T>
struct BiasCall {
  const T* dy;
  std::int64_t outputs, stride, batch;
  T* db;
};

template <class T>
struct ReluCall {
  const T* y;
  std::int64_t n;
  T* dy;
};

template <class T>
struct ReluBiasCall {
  const T* y;
  const T* dy;
  std::int64_t outputs, stride, batch;
  T* dz;
  T* db;
};

// to[c][r] = from[r][c]; rows of `to` that begin at a multiple of 64 bytes are not asked for.
template <class T>
struct TransposeCall {
  const T* from;
  std::int64_t rows, columns, from_stride, to_stride;
  T* to;
};

void spmm_run(const ForwardCall<float, std::uint16_t>& call);
void spmm_run(const ForwardCall<float, std::uint32_t>& call);
void spmm_run(const ForwardCall<double, std::uint16_t>& call);
void spmm_run(const ForwardCall<double, std::uint32_t>& call);
void spmm_run(const BackwardCall<float, std::uint16_t>& call);
void spmm_run(const BackwardCall<float, std::uint32_t>& call);
void spmm_run(const BackwardCall<double, std::uint16_t>& call);
void spmm_run(const BackwardCall<double, std::uint32_t>& call);
void spmm_run(const BiasCall<float>& call);
void spmm_run(const BiasCall<double>& call);
void spmm_run(const ReluCall<float>& call);
void spmm_run(const ReluCall<double>& call);
void spmm_run(const ReluBiasCall<float>& call);
void spmm_run(const ReluBiasCall<double>& call);
void spmm_run(const TransposeCall<float>& call);
void spmm_run(const TransposeCall<double>& call);

}  // namespace tandem::kernels
