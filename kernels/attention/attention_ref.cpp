// Double-precision reference of attention.h, by plain loops. The oracle of every other path.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/attention/attention.h"

namespace tandem::kernels {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double dot(const double* a, const double* b, std::int64_t n) {
  return std::inner_product(a, a + n, b, 0.0);
}

struct Ranges {
  std::vector<std::int32_t> begin, end;  // [B,T]
  Ranges(const AttentionShape& s, const std::int32_t* document_start, bool causal)
      : begin(static_cast<std::size_t>(s.batch * s.tokens)), end(begin.size()) {
    for (std::int64_t b = 0; b < s.batch; ++b) {
      readable_ranges(s.tokens, document_start == nullptr ? nullptr : document_start + b * s.tokens,
                      causal, begin.data() + b * s.tokens, end.data() + b * s.tokens);
    }
  }
};

// Readable keys of one query, ascending.
std::vector<std::int64_t> readable(const BlockAttention<double>& call, const Ranges& ranges,
                                   std::int64_t batch, std::int64_t head, std::int64_t token) {
  const AttentionShape& s = call.shape;
  const auto row = static_cast<std::size_t>(batch * s.tokens + token);
  std::vector<std::int64_t> keys;
  if (call.chosen == nullptr || (call.full_items != nullptr && call.full_items[batch] != 0)) {
    keys.resize(static_cast<std::size_t>(ranges.end[row] - ranges.begin[row]));
    std::iota(keys.begin(), keys.end(), std::int64_t{ranges.begin[row]});
    return keys;
  }
  const std::int64_t list = head / (s.heads / call.lists);
  const std::int32_t* chosen =
      call.chosen + ((batch * call.lists + list) * s.tokens + token) * call.slots;
  for (std::int64_t i = 0; i < call.slots; ++i) {
    if (chosen[i] < 0) continue;
    const std::int64_t first = chosen[i] * s.block_size;
    const std::int64_t end = std::min<std::int64_t>(first + s.block_size, ranges.end[row]);
    for (std::int64_t j = std::max<std::int64_t>(first, ranges.begin[row]); j < end; ++j) {
      keys.push_back(j);
    }
  }
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
  if (const AttentionStatus status = check_attention(call); status != AttentionStatus::kOk) {
    return status;
  }
  const Ranges ranges(s, call.document_start, call.causal);
  std::vector<double> weights;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        const std::vector<std::int64_t> keys = readable(call, ranges, b, h, t);
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

AttentionStatus attention_backward_ref(const BlockAttentionGradient<double>& call) {
  const BlockAttention<double>& c = call.forward;
  const AttentionShape& s = c.shape;
  if (const AttentionStatus status = check_attention(c); status != AttentionStatus::kOk) {
    return status;
  }
  const double scale = 1 / std::sqrt(static_cast<double>(s.head_dim));
  std::fill_n(call.dq, s.batch * s.tokens * s.heads * s.head_dim, 0.0);
  std::fill_n(call.dk, s.batch * s.tokens * s.kv_heads * s.head_dim, 0.0);
  std::fill_n(call.dv, s.batch * s.tokens * s.kv_heads * s.head_dim, 0.0);
  return visit_queries(c, [&](std::int64_t b, std::int64_t h, std::int64_t t, const auto& keys,
                              const auto& weights, double) {
    const std::int64_t row = ((b * s.tokens + t) * s.heads + h) * s.head_dim;
    const double* d_out = call.d_o + row;
    const double mean = dot(d_out, c.o + row, s.head_dim);
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const std::int64_t at = ((b * s.tokens + keys[i]) * s.kv_heads + h / s.group()) * s.head_dim;
      const double slope = weights[i] * (dot(d_out, c.v + at, s.head_dim) - mean) * scale;
      for (std::int64_t d = 0; d < s.head_dim; ++d) {
        call.dq[row + d] += slope * c.k[at + d];
        call.dk[at + d] += slope * c.q[row + d];
        call.dv[at + d] += weights[i] * d_out[d];
      }
    }
  });
}

AttentionStatus attention_weights_ref(const BlockAttention<double>& call, double* weights_out) {
  const AttentionShape& s = call.shape;
  if (const AttentionStatus status = check_attention(call); status != AttentionStatus::kOk) {
    return status;
  }
  std::fill(weights_out, weights_out + s.batch * s.heads * s.tokens * s.tokens, 0.0);
  return visit_queries(call, [&](std::int64_t b, std::int64_t h, std::int64_t t, const auto& keys,
                                 const auto& weights, double) {
    double* row = weights_out + ((b * s.heads + h) * s.tokens + t) * s.tokens;
    for (std::size_t i = 0; i < keys.size(); ++i) row[keys[i]] = weights[i];
  });
}

AttentionStatus block_keys_ref(const BlockChoice<double>& call, double* kbar) {
  const AttentionShape& s = call.shape;
  if (const AttentionStatus status = check_choice(call); status != AttentionStatus::kOk) {
    return status;
  }
  const std::int64_t width = s.kv_heads * s.head_dim;
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t block = 0; block < s.complete_blocks(); ++block) {
      const std::int64_t end = (block + 1) * s.block_size;
      std::int64_t begin = block * s.block_size;
      if (call.document_start != nullptr) {
        begin = std::max<std::int64_t>(begin, call.document_start[b * s.tokens + end - 1]);
      }
      double* mean = kbar + (b * s.complete_blocks() + block) * width;
      std::fill(mean, mean + width, 0.0);
      for (std::int64_t j = begin; j < end; ++j) {
        const double* keys = call.k + (b * s.tokens + j) * width;
        for (std::int64_t i = 0; i < width; ++i) {
          mean[i] += keys[i] / static_cast<double>(end - begin);
        }
      }
    }
  }
  return AttentionStatus::kOk;
}

AttentionStatus block_importance_ref(const BlockChoice<double>& call, const double* kbar,
                                     double* importance) {
  const AttentionShape& s = call.shape;
  const BlockSelector& selector = call.selector;
  if (const AttentionStatus status = check_choice(call); status != AttentionStatus::kOk) {
    return status;
  }
  const Ranges ranges(s, call.document_start, call.causal);
  const std::int64_t complete = s.complete_blocks(), lists = selector.lists(s);
  std::fill(importance, importance + s.batch * lists * s.tokens * complete, -kInfinity);
  std::vector<double> score(static_cast<std::size_t>(complete));
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t h = 0; h < s.heads; ++h) {
      for (std::int64_t t = 0; t < s.tokens; ++t) {
        const auto at = static_cast<std::size_t>(b * s.tokens + t);
        const std::int64_t first = ranges.begin[at] / s.block_size;
        const std::int64_t last = ranges.end[at] / s.block_size;
        const double* query = call.q + ((b * s.tokens + t) * s.heads + h) * s.head_dim;
        double sum = 0;
        for (std::int64_t c = first; c < last; ++c) {
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
        for (std::int64_t c = first; c < last; ++c) {
          if (c == t / s.block_size) continue;
          if (row[c] == -kInfinity) row[c] = 0;
          row[c] += score[static_cast<std::size_t>(c)] / (selector.softmax ? sum : 1.0);
        }
      }
    }
  }
  return AttentionStatus::kOk;
}

AttentionStatus choose_blocks_ref(const BlockChoice<double>& call, const double* importance) {
  const AttentionShape& s = call.shape;
  if (const AttentionStatus status = check_choice(call); status != AttentionStatus::kOk) {
    return status;
  }
  const std::int64_t lists = call.selector.lists(s), rows = s.batch * lists * s.tokens;
  for (std::int64_t r = 0; r < rows; ++r) {
    if (call.full_items != nullptr && call.full_items[r / (lists * s.tokens)] != 0) continue;
    const double* value = importance + r * s.complete_blocks();
    const std::int64_t t = r % s.tokens, own = t / s.block_size;
    const std::int32_t* start = call.document_start;
    const std::int64_t first =
        start == nullptr ? 0 : start[r / (lists * s.tokens) * s.tokens + t] / s.block_size;
    std::vector<std::int32_t> blocks;
    for (std::int32_t c = 0; c < s.complete_blocks(); ++c) {
      if (value[c] != -kInfinity) blocks.push_back(c);
    }
    std::stable_sort(blocks.begin(), blocks.end(), [&](std::int32_t a, std::int32_t b) {
      if (call.selector.force_first && (a == first) != (b == first)) return a == first;
      return value[a] > value[b];
    });
    blocks.resize(std::min(blocks.size(), static_cast<std::size_t>(call.slots - 1)));
    blocks.push_back(static_cast<std::int32_t>(own));
    std::sort(blocks.begin(), blocks.end());
    blocks.resize(static_cast<std::size_t>(call.slots), -1);
    std::copy(blocks.begin(), blocks.end(), call.chosen + r * call.slots);
  }
  return AttentionStatus::kOk;
}

AttentionStatus select_blocks_ref(const BlockChoice<double>& call) {
  const AttentionShape& s = call.shape;
  if (const AttentionStatus status = check_choice(call); status != AttentionStatus::kOk) {
    return status;
  }
  const std::int64_t complete = s.complete_blocks();
  std::vector<double> kbar(static_cast<std::size_t>(s.batch * complete * s.kv_heads * s.head_dim));
  std::vector<double> importance(
      static_cast<std::size_t>(s.batch * call.selector.lists(s) * s.tokens * complete));
  block_keys_ref(call, kbar.data());
  block_importance_ref(call, kbar.data(), importance.data());
  return choose_blocks_ref(call, importance.data());
}

std::vector<std::int32_t> select_blocks_ref(const AttentionShape& s, const BlockSelector& selector,
                                            std::int64_t slots, const double* q, const double* k) {
  BlockChoice<double> call{.shape = s, .selector = selector, .slots = slots, .q = q, .k = k};
  if (check_choice(call) != AttentionStatus::kOk) return {};
  std::vector<std::int32_t> chosen(
      static_cast<std::size_t>(s.batch * selector.lists(s) * s.tokens * slots));
  call.chosen = chosen.data();
  select_blocks_ref(call);
  return chosen;
}

}  // namespace tandem::kernels
