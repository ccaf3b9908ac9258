// The CPU version of update.h.
#include "kernels/update/update.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/simd_clones.h"

#define TANDEM_INLINE inline __attribute__((always_inline))

namespace tandem::kernels {
namespace {

template <class T>
struct Segment {
  T* weight;
  const T* gradient;
  const std::uint8_t *active, *gradient_set, *update_set;
  std::int64_t n;
};

template <class T>
Segment<T> segment_of(T* weight, const T* gradient, const UpdateMasks& masks,
                      const ReplicaUpdate& replica, std::int64_t offset, std::int64_t n) {
  const auto at = [offset](const std::uint8_t* mask) { return mask ? mask + offset : nullptr; };
  return {weight + offset,
          gradient + offset,
          replica.keep_dormant != 1 ? at(masks.active) : nullptr,
          replica.mask_gradient ? at(masks.gradient_set) : nullptr,
          replica.mask_update ? at(masks.update_set) : nullptr,
          n};
}

// The masks are template flags so that each loop is free of branches and vectorises.
template <class T, bool kMaskG, bool kMaskU, bool kDormant, class Body>
TANDEM_INLINE void loop(const Segment<T>& s, T keep, const Body& body) {
  for (std::int64_t i = 0; i < s.n; ++i) {
    const bool on = !kMaskU || s.update_set[i] != 0;
    const T g = (!kMaskG || s.gradient_set[i] != 0) ? s.gradient[i] : T(0);
    T w = body(i, g, on);
    if (kDormant) w = s.active[i] != 0 ? w : w * keep;
    s.weight[i] = on ? w : s.weight[i];
  }
}

template <class T, class Body>
TANDEM_INLINE void dispatch(const Segment<T>& s, T keep, const Body& body) {
  const int kind = (s.gradient_set ? 1 : 0) | (s.update_set ? 2 : 0) | (s.active ? 4 : 0);
  switch (kind) {
    case 0:
      return loop<T, false, false, false>(s, keep, body);
    case 1:
      return loop<T, true, false, false>(s, keep, body);
    case 2:
      return loop<T, false, true, false>(s, keep, body);
    case 3:
      return loop<T, true, true, false>(s, keep, body);
    case 4:
      return loop<T, false, false, true>(s, keep, body);
    case 5:
      return loop<T, true, false, true>(s, keep, body);
    case 6:
      return loop<T, false, true, true>(s, keep, body);
    default:
      return loop<T, true, true, true>(s, keep, body);
  }
}

template <class T>
TANDEM_INLINE void sgd_segment(const Segment<T>& s, T* momentum, const ReplicaUpdate& replica,
                               SgdRule rule) {
  const T lr = T(replica.lr), mu = T(replica.momentum), scale = T(replica.scale);
  const double decay = rule.decays ? replica.weight_decay : 0;
  const T coupled = rule.decoupled_decay ? T(0) : T(decay);
  const T shrink = rule.decoupled_decay ? T(1 - replica.lr * decay) : T(1);
  const T keep = T(replica.keep_dormant);
  const T* weight = s.weight;
  if (momentum == nullptr) {
    dispatch(s, keep, [=](std::int64_t i, T g, bool) {
      return weight[i] * shrink - lr * (g * scale + coupled * weight[i]);
    });
  } else if (rule.adagrad) {
    const T epsilon = T(rule.epsilon);
    dispatch(s, keep, [=](std::int64_t i, T g, bool on) {
      const T pull = g * scale + coupled * weight[i];
      const T sum = momentum[i] + pull * pull;
      momentum[i] = on ? sum : momentum[i];
      return weight[i] * shrink - lr * pull / (std::sqrt(sum) + epsilon);
    });
  } else if (rule.nesterov) {
    dispatch(s, keep, [=](std::int64_t i, T g, bool on) {
      const T pull = g * scale + coupled * weight[i];
      const T m = mu * momentum[i] + pull;
      momentum[i] = on ? m : momentum[i];
      return weight[i] * shrink - lr * (pull + mu * m);
    });
  } else {
    dispatch(s, keep, [=](std::int64_t i, T g, bool on) {
      const T m = mu * momentum[i] + (g * scale + coupled * weight[i]);
      momentum[i] = on ? m : momentum[i];
      return weight[i] * shrink - lr * m;
    });
  }
}

template <class T>
struct AdamSlots {
  T *first, *second, *count;
};

template <class T>
TANDEM_INLINE void adam_segment(const Segment<T>& s, const AdamSlots<T>& slots,
                                const ReplicaUpdate& replica, AdamRule rule, const T* correction1,
                                const T* correction2) {
  const T lr = T(replica.lr), scale = T(replica.scale), epsilon = T(rule.epsilon);
  const T b1 = T(rule.beta1), b2 = T(rule.beta2), c1 = T(1 - rule.beta1), c2 = T(1 - rule.beta2);
  const double decay = rule.decays ? replica.weight_decay : 0;
  const T coupled = rule.decoupled_decay ? T(0) : T(decay);
  const T shrink = rule.decoupled_decay ? T(1 - replica.lr * decay) : T(1);
  const T fixed1 = correction1[replica.step], fixed2 = correction2[replica.step];
  const T* weight = s.weight;
  const auto update = [=](std::int64_t i, T g, bool on, T by1, T by2) {
    const T pull = g * scale + coupled * weight[i];
    const T m = b1 * slots.first[i] + c1 * pull;
    const T v = b2 * slots.second[i] + c2 * pull * pull;
    slots.first[i] = on ? m : slots.first[i];
    slots.second[i] = on ? v : slots.second[i];
    return weight[i] * shrink - lr * (m * by1) / (std::sqrt(v * by2) + epsilon);
  };
  if (slots.count == nullptr) {
    dispatch(s, T(replica.keep_dormant),
             [=](std::int64_t i, T g, bool on) { return update(i, g, on, fixed1, fixed2); });
    return;
  }
  dispatch(s, T(replica.keep_dormant), [=](std::int64_t i, T g, bool on) {
    const T n = slots.count[i] + T(1);
    slots.count[i] = on ? n : slots.count[i];
    const auto index = static_cast<std::int64_t>(n);
    return update(i, g, on, correction1[index], correction2[index]);
  });
}

// 1/(1 - beta^t) for t = 0..steps; entry 0 is never read.
template <class T>
std::vector<T> bias_corrections(double beta, std::int64_t steps) {
  std::vector<T> table(static_cast<std::size_t>(steps) + 1, T(1));
  double power = 1;
  for (std::int64_t t = 1; t <= steps; ++t) {
    power *= beta;
    table[static_cast<std::size_t>(t)] = T(1 / (1 - power));
  }
  return table;
}

TANDEM_SIMD_CLONES void sgd_one(const Segment<float>& s, float* m, const ReplicaUpdate& r,
                                SgdRule k) {
  sgd_segment(s, m, r, k);
}
TANDEM_SIMD_CLONES void sgd_one(const Segment<double>& s, double* m, const ReplicaUpdate& r,
                                SgdRule k) {
  sgd_segment(s, m, r, k);
}
TANDEM_SIMD_CLONES void adam_one(const Segment<float>& s, const AdamSlots<float>& a,
                                 const ReplicaUpdate& r, AdamRule k, const float* c1,
                                 const float* c2) {
  adam_segment(s, a, r, k, c1, c2);
}
TANDEM_SIMD_CLONES void adam_one(const Segment<double>& s, const AdamSlots<double>& a,
                                 const ReplicaUpdate& r, AdamRule k, const double* c1,
                                 const double* c2) {
  adam_segment(s, a, r, k, c1, c2);
}

// Eight running sums, so that the order of additions does not depend on the vector width.
template <class T>
TANDEM_INLINE double sum_squares_lanes(const T* g, const std::uint8_t* set, std::int64_t n) {
  double lane[8] = {};
  const std::int64_t whole = n - n % 8;
  if (set != nullptr) {
    for (std::int64_t i = 0; i < whole; i += 8) {
      for (int j = 0; j < 8; ++j) {
        const double x = set[i + j] != 0 ? double(g[i + j]) : 0.0;
        lane[j] += x * x;
      }
    }
  } else {
    for (std::int64_t i = 0; i < whole; i += 8) {
      for (int j = 0; j < 8; ++j) lane[j] += double(g[i + j]) * double(g[i + j]);
    }
  }
  for (std::int64_t i = whole; i < n; ++i) {
    const double x = set == nullptr || set[i] != 0 ? double(g[i]) : 0.0;
    lane[i - whole] += x * x;
  }
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

TANDEM_SIMD_CLONES double squares(const float* g, const std::uint8_t* set, std::int64_t n) {
  return sum_squares_lanes(g, set, n);
}
TANDEM_SIMD_CLONES double squares(const double* g, const std::uint8_t* set, std::int64_t n) {
  return sum_squares_lanes(g, set, n);
}

template <class T>
TANDEM_INLINE void follow_block(const T* along, const T* before, const T* weight, std::int64_t n,
                                T* path) {
  for (std::int64_t i = 0; i < n; ++i) path[i] += along[i] * (before[i] - weight[i]);
}

TANDEM_SIMD_CLONES void follow(const float* along, const float* before, const float* weight,
                               std::int64_t n, float* path) {
  follow_block(along, before, weight, n, path);
}
TANDEM_SIMD_CLONES void follow(const double* along, const double* before, const double* weight,
                               std::int64_t n, double* path) {
  follow_block(along, before, weight, n, path);
}

// Both sets; null: everything.
void intersect(const std::uint8_t* set, const std::uint8_t* may_change, std::int64_t n,
               std::uint8_t* both) {
  if (set == nullptr) {
    std::copy_n(may_change, n, both);
  } else {
    for (std::int64_t i = 0; i < n; ++i) both[i] = (set[i] != 0) & (may_change[i] != 0);
  }
}

constexpr std::int64_t kBlock = 1024;  // of values, which stay in the first cache

// Calls one(part, first element) for the whole segment or, where a set or a path asks for more, for
// blocks of it, so that what these need beside the update costs no further pass over memory.
template <class T, class One>
void in_blocks(const Segment<T>& s, const std::uint8_t* may_change, const PathTerm<T>& path,
               const One& one) {
  if (may_change == nullptr && path.path == nullptr) return one(s, std::int64_t{0});
  std::uint8_t in_s[kBlock], in_u[kBlock];
  T before[kBlock];
  const auto at = [](const std::uint8_t* set, std::int64_t i) { return set ? set + i : nullptr; };
  for (std::int64_t begin = 0; begin < s.n; begin += kBlock) {
    const std::int64_t n = std::min(kBlock, s.n - begin);
    Segment<T> part{s.weight + begin,          s.gradient + begin,      at(s.active, begin),
                    at(s.gradient_set, begin), at(s.update_set, begin), n};
    if (may_change != nullptr) {
      intersect(part.gradient_set, may_change + begin, n, in_s);
      intersect(part.update_set, may_change + begin, n, in_u);
      part.gradient_set = in_s;
      part.update_set = in_u;
    }
    if (path.path != nullptr) std::copy_n(part.weight, n, before);
    one(part, begin);
    if (path.path != nullptr) {
      follow(path.along + begin, before, part.weight, n, path.path + begin);
    }
  }
}

template <class T>
PathTerm<T> path_at(const PathTerm<T>& path, std::int64_t offset) {
  return path.path == nullptr ? path : PathTerm<T>{path.along + offset, path.path + offset};
}

}  // namespace

template <class T>
void sgd_update(T* weight, const T* gradient, T* momentum, UpdateMasks masks, std::int64_t n,
                const ReplicaUpdate* replicas, std::int64_t replica_count, SgdRule rule,
                PathTerm<T> path) {
  for (std::int64_t r = 0; r < replica_count; ++r) {
    if (!replicas[r].apply) continue;
    const std::int64_t o = r * n;
    in_blocks(segment_of(weight, gradient, masks, replicas[r], o, n),
              masks.may_change != nullptr ? masks.may_change + o : nullptr, path_at(path, o),
              [&](const Segment<T>& part, std::int64_t first) {
                sgd_one(part, momentum ? momentum + o + first : nullptr, replicas[r], rule);
              });
  }
}

template <class T>
void adam_update(T* weight, const T* gradient, T* first, T* second, T* count, UpdateMasks masks,
                 std::int64_t n, const ReplicaUpdate* replicas, std::int64_t replica_count,
                 AdamRule rule, PathTerm<T> path) {
  std::int64_t most = 1;
  for (std::int64_t r = 0; r < replica_count; ++r) {
    most = replicas[r].step > most ? replicas[r].step : most;
  }
  // Tables of 1/(1 - beta^t), grown geometrically and kept per thread.
  thread_local std::vector<T> table1, table2;
  thread_local double beta1 = -1, beta2 = -1;
  if (beta1 != rule.beta1 || beta2 != rule.beta2 ||
      static_cast<std::int64_t>(table1.size()) <= most) {
    table1 = bias_corrections<T>(rule.beta1, 2 * most + 1024);
    table2 = bias_corrections<T>(rule.beta2, 2 * most + 1024);
    beta1 = rule.beta1;
    beta2 = rule.beta2;
  }
  for (std::int64_t r = 0; r < replica_count; ++r) {
    if (!replicas[r].apply) continue;
    const std::int64_t o = r * n;
    in_blocks(segment_of(weight, gradient, masks, replicas[r], o, n),
              masks.may_change != nullptr ? masks.may_change + o : nullptr, path_at(path, o),
              [&](const Segment<T>& part, std::int64_t begin) {
                const std::int64_t at = o + begin;
                adam_one(part, AdamSlots<T>{first + at, second + at, count ? count + at : nullptr},
                         replicas[r], rule, table1.data(), table2.data());
              });
  }
}

template <class T>
double sum_squares(const T* gradient, const std::uint8_t* gradient_set, std::int64_t n) {
  return squares(gradient, gradient_set, n);
}

template void sgd_update<float>(float*, const float*, float*, UpdateMasks, std::int64_t,
                                const ReplicaUpdate*, std::int64_t, SgdRule, PathTerm<float>);
template void sgd_update<double>(double*, const double*, double*, UpdateMasks, std::int64_t,
                                 const ReplicaUpdate*, std::int64_t, SgdRule, PathTerm<double>);
template void adam_update<float>(float*, const float*, float*, float*, float*, UpdateMasks,
                                 std::int64_t, const ReplicaUpdate*, std::int64_t, AdamRule,
                                 PathTerm<float>);
template void adam_update<double>(double*, const double*, double*, double*, double*, UpdateMasks,
                                  std::int64_t, const ReplicaUpdate*, std::int64_t, AdamRule,
                                  PathTerm<double>);
template double sum_squares<float>(const float*, const std::uint8_t*, std::int64_t);
template double sum_squares<double>(const double*, const std::uint8_t*, std::int64_t);

}  // namespace tandem::kernels
