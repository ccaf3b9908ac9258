// The gradient of a quadratic pull, and its value, in one pass over memory: with away = weight -
// center and pull = importance * away, of each of R segments of n values
//   out   = gradient + factor * pull     (where the flag is set; gradient elsewhere)
//   sums += sum of pull * away           (over all values)
// Products and sums are rounded one by one in the values' own precision, as separate passes would
// do it; the sum of a segment is in double, in an order that depends on n alone.
#pragma once

#include <cstdint>

namespace tandem::kernels {

template <class T>
struct PullTerm {
  const T *weight = nullptr, *center = nullptr, *importance = nullptr;  // [R n]
  const T* gradient = nullptr;          // [R n]; null: zeros. May be `out`
  const std::uint8_t* flags = nullptr;  // [R n]; null: all are set
  const T* factor = nullptr;            // [R]
  std::int64_t n = 0, replicas = 0;
};

template <class T>
void add_pull(const PullTerm<T>& term, T* out, double* sums);

}  // namespace tandem::kernels
