// The two orders of a layer's connections, and the passage of values from one to the other.
#include <limits>

#include "kernels/spmm/spmm.h"

namespace tandem::kernels {
namespace {

template <class I>
bool fits(std::int64_t nnz, std::int64_t inputs, std::int64_t outputs) {
  const auto most = static_cast<std::int64_t>(std::numeric_limits<I>::max()) + 1;
  return nnz >= 0 && inputs >= 0 && outputs >= 0 && inputs <= most && outputs <= most &&
         nnz <= std::numeric_limits<std::uint32_t>::max();
}

// False where positions are not ascending and inside the matrix.
template <class I>
bool split_positions(const std::int64_t* positions, std::int64_t nnz, std::int64_t inputs,
                     std::int64_t outputs, const SparsePatternArrays<I>& to) {
  std::int64_t input = 0, begin = 0, previous = -1;
  to.by_input[0] = 0;
  for (std::int64_t e = 0; e < nnz; ++e) {
    if (positions[e] <= previous) return false;
    previous = positions[e];
    for (; input < inputs && previous - begin >= outputs; begin += outputs)
      to.by_input[++input] = e;
    if (input >= inputs) return false;
    to.output_of[e] = static_cast<I>(previous - begin);
  }
  while (input < inputs) to.by_input[++input] = nnz;
  return true;
}

template <class I>
void sort_by_output(std::int64_t nnz, std::int64_t inputs, std::int64_t outputs,
                    const SparsePatternArrays<I>& to) {
  std::int64_t* next = to.by_output;
  for (std::int64_t o = 0; o <= outputs; ++o) next[o] = 0;
  for (std::int64_t e = 0; e < nnz; ++e) ++next[to.output_of[e]];
  for (std::int64_t o = 0, begin = 0; o <= outputs; ++o) {
    const std::int64_t count = next[o];
    next[o] = begin;
    begin += count;
  }
  for (std::int64_t i = 0; i < inputs; ++i) {
    for (std::int64_t e = to.by_input[i]; e < to.by_input[i + 1]; ++e) {
      const std::int64_t k = next[to.output_of[e]]++;
      to.input_of[k] = static_cast<I>(i);
      to.place[k] = static_cast<std::uint32_t>(e);
    }
  }
  for (std::int64_t o = outputs; o > 0; --o) next[o] = next[o - 1];
  next[0] = 0;
}

}  // namespace

template <class I>
int build_pattern(const std::int64_t* positions, std::int64_t nnz, std::int64_t inputs,
                  std::int64_t outputs, SparsePatternArrays<I> arrays, SparsePattern<I>* pattern) {
  if (!fits<I>(nnz, inputs, outputs) || pattern == nullptr || arrays.by_input == nullptr ||
      arrays.by_output == nullptr) {
    return kSpmmBadArguments;
  }
  if (nnz > 0 && (positions == nullptr || arrays.output_of == nullptr ||
                  arrays.input_of == nullptr || arrays.place == nullptr)) {
    return kSpmmBadArguments;
  }
  if (!split_positions(positions, nnz, inputs, outputs, arrays)) return kSpmmBadArguments;
  sort_by_output(nnz, inputs, outputs, arrays);
  *pattern = {inputs,           outputs,         nnz,         arrays.by_input, arrays.output_of,
              arrays.by_output, arrays.input_of, arrays.place};
  return kSpmmDone;
}

template <class T>
int reorder(const T* values, const std::uint32_t* place, std::int64_t nnz, T* values_by_output) {
  if (nnz < 0) return kSpmmBadArguments;
  if (nnz > 0 && (values == nullptr || place == nullptr || values_by_output == nullptr)) {
    return kSpmmBadArguments;
  }
  for (std::int64_t k = 0; k < nnz; ++k) values_by_output[k] = values[place[k]];
  return kSpmmDone;
}

template int build_pattern(const std::int64_t*, std::int64_t, std::int64_t, std::int64_t,
                           SparsePatternArrays<std::uint16_t>, SparsePattern<std::uint16_t>*);
template int build_pattern(const std::int64_t*, std::int64_t, std::int64_t, std::int64_t,
                           SparsePatternArrays<std::uint32_t>, SparsePattern<std::uint32_t>*);
template int reorder(const float*, const std::uint32_t*, std::int64_t, float*);
template int reorder(const double*, const std::uint32_t*, std::int64_t, double*);

}  // namespace tandem::kernels
