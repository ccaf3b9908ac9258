// Root-mean-square normalisation of rows on a GPU, one read and one write each way. x, y [R,N,W]
// with a gain [R,W] for each replica; inverse [R,N] = 1 / sqrt(mean x^2 + epsilon):
//   y = x inverse gain
//   dx = inverse (g - u mean(g u)),  u = x inverse,  g = dy gain;  dgain = sum over N of dy u
// Rows are kMostNormWidth numbers at most. Sums run in an order that the shape alone decides.
// `stream` is a cudaStream_t; they return 0 or the CUDA error's code.
#pragma once

#include <cstdint>

namespace tandem {

constexpr std::int64_t kMostNormWidth = 1024;
constexpr std::int64_t kNormRows = 64;  // whose part of dgain is summed first

template <class T>
int rms_norm_cuda(const T* x, const T* gain, std::int64_t replicas, std::int64_t rows,
                  std::int64_t width, double epsilon, T* y, T* inverse, void* stream);

// gain_parts [R,ceil(N / kNormRows),W]: dgain is their sum over the second axis.
template <class T>
int rms_norm_gradient_cuda(const T* x, const T* gain, const T* inverse, const T* dy,
                           std::int64_t replicas, std::int64_t rows, std::int64_t width, T* dx,
                           T* gain_parts, void* stream);

}  // namespace tandem
