// Double-precision reference of attention.h, by plain loops. The oracle of every other path.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/attention/attention.h"

namespace tandem::kernels {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool valid(const AttentionShape& s) {
  return s.batch >= 1 && s.tokens >= 1 && s.heads >= 1 && s.kv_heads >= 1 && s.head_dim >= 1 &&
         s.block_size >= 1 && s.heads % s.kv_heads == 0;
}

double dot(const double* a, const double* b, std::int64_t n) {
  return std::inner_product(a, a + n, b, 0.0);
}

// Readable keys of one query, ascending; empty if its list is wrong.
std::vector<std::int64_t> readable(const BlockAttention<double>& call, std::int64_t batch,
                                   std::int64_t head, std::int64_t token) {
  const AttentionShape& s = call.shape;
  std::vector<std::int64_t> keys;
  if (call.chosen == nullptr) {
    keys.resize(static_cast<std::size_t>(token + 1));
    std::iota(keys.begin(), keys.end(), std::int64_t{0});
    return keys;
  }
  const std::int64_t list = head / (s.heads / call.lists);
  const std::int32_t* chosen =
      call.chosen + ((batch * call.lists + list) * s.tokens + token) * call.slots;
  std::int64_t last = -1;
  for (std::int64_t i = 0; i < call.slots; ++i) {
    if (chosen[i] < 0) continue;
    if (chosen[i] <= last || chosen[i] > token / s.block_size) return {};
    last = chosen[i];
    const std::int64_t end = std::min((last + 1) * s.block_size, token + 1);
    for (std::int64_t j = last * s.block_size; j < end; ++j) keys.push_back(j);
  }
  if (last != token / s.block_size) return {};
  return keys;
}

// Softmax over the readable keys of one query; returns the log-sum-exp.
double softmax_scores(const BlockAttention<double>& call, const double* query, std::int64_t batch,
                      std::int64_t kv_head, const std::vector<std::int64_t>& keys,
                      std::vector<double>& weights) {
  const AttentionShape& s = call.shape;
  weights.resize(keys.size());
  double top = -kInfinity;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const double* key = call.k + ((batch * s.tokens + keys[i]) * s.kv_heads + kv_head) * s.head_dim;
    weights[i] = dot(query, key, s.head_dim) / std::sqrt(static_cast<double>(s.head_dim));
    top = std::max(top, weights[i]);
  }
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - top);
  for (double& weight : weights) weight /= sum;
  return top + std::log(sum);
}

// visit(batch, head, token, keys, weights, lse) for every query.
template <class Visit>
AttentionStatus visit_queries(const BlockAttention<double>& call, Visit visit) {
  const AttentionShape& s = call.shape;
  if (!valid(s)) return AttentionStatus::kBadShape;
  if (call.chosen != nullptr &&
      (call.lists < 1 || s.heads % call.lists != 0 || call.lists % s.kv_heads != 0)) {
    return AttentionStatus::kBadShape;
  }
  std::vector<double> weights;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        const std::vector<std::int64_t> keys = readable(call, b, h, t);
        if (keys.empty()) return AttentionStatus::kBadChoice;
        const double* query = call.q + ((b * s.tokens + t) * s.heads + h) * s.head_dim;
        const double lse = softmax_scores(call, query, b, h / s.group(), keys, weights);
        visit(b, h, t, keys, weights, lse);
      }
    }
  }
  return AttentionStatus::kOk;
}

}  // namespace

AttentionStatus attention_forward_ref(const BlockAttention<double>& call) {
  const AttentionShape& s = call.shape;
  return visit_queries(call, [&](std::int64_t b, std::int64_t h, std::int64_t t, const auto& keys,
                                 const auto& weights, double lse) {
    const std::int64_t row = (b * s.tokens + t) * s.heads + h;
    double* out = call.o + row * s.head_dim;
    std::fill(out, out + s.head_dim, 0.0);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const std::int64_t key_row = (b * s.tokens + keys[i]) * s.kv_heads + h / s.group();
      const double* value = call.v + key_row * s.head_dim;
      for (std::int64_t d = 0; d < s.head_dim; ++d) out[d] += weights[i] * value[d];
    }
    if (call.lse != nullptr) call.lse[row] = lse;
  });
}

AttentionStatus attention_weights_ref(const BlockAttention<double>& call, double* weights_out) {
  const AttentionShape& s = call.shape;
  if (!valid(s)) return AttentionStatus::kBadShape;
  std::fill(weights_out, weights_out + s.batch * s.heads * s.tokens * s.tokens, 0.0);
  return visit_queries(call, [&](std::int64_t b, std::int64_t h, std::int64_t t, const auto& keys,
                                 const auto& weights, double) {
    double* row = weights_out + ((b * s.heads + h) * s.tokens + t) * s.tokens;
    for (std::size_t i = 0; i < keys.size(); ++i) row[keys[i]] = weights[i];
  });
}

AttentionStatus block_keys_ref(const AttentionShape& s, const double* k, double* kbar) {
  if (!valid(s)) return AttentionStatus::kBadShape;
  const std::int64_t width = s.kv_heads * s.head_dim;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t block = 0; block < s.complete_blocks(); ++block) {
      double* mean = kbar + (b * s.complete_blocks() + block) * width;
      std::fill(mean, mean + width, 0.0);
      for (std::int64_t j = block * s.block_size; j < (block + 1) * s.block_size; ++j) {
        const double* keys = k + (b * s.tokens + j) * width;
        for (std::int64_t i = 0; i < width; ++i) {
          mean[i] += keys[i] / static_cast<double>(s.block_size);
        }
      }
    }
  }
  return AttentionStatus::kOk;
}

AttentionStatus block_importance_ref(const AttentionShape& s, const BlockSelector& selector,
                                     const double* q, const double* kbar, double* importance) {
  if (!valid(s)) return AttentionStatus::kBadShape;
  const std::int64_t complete = s.complete_blocks(), lists = selector.lists(s);
  std::fill(importance, importance + s.batch * lists * s.tokens * complete, -kInfinity);
  std::vector<double> score(static_cast<std::size_t>(complete));
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        const double* query = q + ((b * s.tokens + t) * s.heads + h) * s.head_dim;
        double sum = 0;
        for (std::int64_t c = 0; c < (t + 1) / s.block_size; ++c) {
          const std::int64_t row = (b * complete + c) * s.kv_heads + h / s.group();
          double& value = score[static_cast<std::size_t>(c)];
          value = dot(query, kbar + row * s.head_dim, s.head_dim);
          if (selector.softmax) {
            value = std::exp(value / std::sqrt(static_cast<double>(s.head_dim)));
          }
          sum += value;
        }
        const std::int64_t list = selector.per_head ? h : h / s.group();
        double* row = importance + ((b * lists + list) * s.tokens + t) * complete;
        for (std::int64_t c = 0; c < t / s.block_size; ++c) {
          if (row[c] == -kInfinity) row[c] = 0;
          row[c] += score[static_cast<std::size_t>(c)] / (selector.softmax ? sum : 1.0);
        }
      }
    }
  }
  return AttentionStatus::kOk;
}

AttentionStatus choose_blocks_ref(const AttentionShape& s, const BlockSelector& selector,
                                  std::int64_t slots, const double* importance,
                                  std::int32_t* chosen) {
  if (!valid(s) || slots < 1) return AttentionStatus::kBadShape;
  const std::int64_t rows = s.batch * selector.lists(s) * s.tokens;
  std::fill(chosen, chosen + rows * slots, -1);
  for (std::int64_t r = 0; r < rows; ++r) {
    const double* value = importance + r * s.complete_blocks();
    const std::int64_t own = r % s.tokens / s.block_size;
    std::vector<std::int32_t> past(static_cast<std::size_t>(own));
    std::iota(past.begin(), past.end(), 0);
    std::stable_sort(past.begin(), past.end(), [&](std::int32_t a, std::int32_t b) {
      if (selector.force_first && (a == 0) != (b == 0)) return a == 0;
      return value[a] > value[b];
    });
    past.resize(static_cast<std::size_t>(std::min(own, slots - 1)));
    past.push_back(static_cast<std::int32_t>(own));
    std::sort(past.begin(), past.end());
    std::copy(past.begin(), past.end(), chosen + r * slots);
  }
  return AttentionStatus::kOk;
}

std::vector<std::int32_t> select_blocks_ref(const AttentionShape& s, const BlockSelector& selector,
                                            std::int64_t slots, const double* q, const double* k) {
  if (!valid(s) || slots < 1) return {};
  const std::int64_t rows = s.batch * selector.lists(s) * s.tokens;
  std::vector<double> kbar(
      static_cast<std::size_t>(s.batch * s.complete_blocks() * s.kv_heads * s.head_dim));
  std::vector<double> importance(static_cast<std::size_t>(rows * s.complete_blocks()));
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(rows * slots));
  block_keys_ref(s, k, kbar.data());
  block_importance_ref(s, selector, q, kbar.data(), importance.data());
  choose_blocks_ref(s, selector, slots, importance.data(), chosen.data());
  return chosen;
}

std::int64_t attended_pairs(std::int64_t tokens, std::int64_t block_size, std::int64_t slots) {
  std::int64_t pairs = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    pairs += t % block_size + 1 + std::min(slots - 1, t / block_size) * block_size;
  }
  return pairs;
}

std::int64_t scored_block_pairs(std::int64_t tokens, std::int64_t block_size) {
  std::int64_t pairs = 0;
  for (std::int64_t t = 0; t < tokens; ++t) pairs += (t + 1) / block_size;
  return pairs;
}

}  // namespace tandem::kernels
