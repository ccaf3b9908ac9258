// The CPU version of pull.h.
#include "kernels/pull/pull.h"

#include "kernels/simd_clones.h"

namespace tandem::kernels {
namespace {

constexpr std::int64_t kLanes = 8;  // of the sum, whatever the vectors' width

template <class T>
struct PullSegment {
  const T *weight, *center, *importance, *gradient;
  const std::uint8_t* flags;
  T factor;
  std::int64_t n;
};

// Without a gradient it is added to nothing, which is not the same as to zero: -0 stays what it is.
template <class T, bool kGradient, bool kFlags>
inline __attribute__((always_inline)) double pull_segment(const PullSegment<T>& s, T* out) {
  double lane[kLanes] = {};
  const auto one = [&](std::int64_t i, std::int64_t j) {
    const T away = s.weight[i] - s.center[i];
    const T pull = s.importance[i] * away;
    const T term = pull * s.factor;
    const T own = !kFlags || s.flags[i] != 0 ? term : T(0);
    out[i] = kGradient ? s.gradient[i] + own : own;
    lane[j] += double(pull * away);
  };
  const std::int64_t whole = s.n - s.n % kLanes;
  for (std::int64_t i = 0; i < whole; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) one(i + j, j);
  }
  for (std::int64_t i = whole; i < s.n; ++i) one(i, i - whole);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

template <class T>
inline __attribute__((always_inline)) double pull_any(const PullSegment<T>& s, T* out) {
  if (s.gradient != nullptr) {
    return s.flags != nullptr ? pull_segment<T, true, true>(s, out)
                              : pull_segment<T, true, false>(s, out);
  }
  return s.flags != nullptr ? pull_segment<T, false, true>(s, out)
                            : pull_segment<T, false, false>(s, out);
}

TANDEM_SIMD_CLONES double pull_one(const PullSegment<float>& s, float* out) {
  return pull_any(s, out);
}
TANDEM_SIMD_CLONES double pull_one(const PullSegment<double>& s, double* out) {
  return pull_any(s, out);
}

}  // namespace

template <class T>
void add_pull(const PullTerm<T>& term, T* out, double* sums) {
  for (std::int64_t r = 0; r < term.replicas; ++r) {
    const std::int64_t o = r * term.n;
    const auto at = [o](const auto* pointer) { return pointer != nullptr ? pointer + o : nullptr; };
    sums[r] += pull_one(PullSegment<T>{term.weight + o, term.center + o, term.importance + o,
                                       at(term.gradient), at(term.flags), term.factor[r], term.n},
                        out + o);
  }
}

template void add_pull<float>(const PullTerm<float>&, float*, double*);
template void add_pull<double>(const PullTerm<double>&, double*, double*);

}  // namespace tandem::kernels
