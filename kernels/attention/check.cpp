// What the implementations of attention.h share that holds no arithmetic on values: the checks of
// arguments, the ranges of keys, and the counts of pairs.
#include <algorithm>
#include <limits>

#include "kernels/attention/attention.h"
#include "kernels/attention/attention_calls.h"

namespace tandem::kernels {

namespace {

bool valid(const AttentionShape& s, const ItemRange& items) {
  return s.batch >= 1 && s.tokens >= 1 && s.heads >= 1 && s.kv_heads >= 1 && s.head_dim >= 1 &&
         s.block_size >= 1 && s.heads % s.kv_heads == 0 &&
         s.tokens <= std::numeric_limits<std::int32_t>::max() && items.first >= 0 &&
         items.first + std::max<std::int64_t>(items.count, 0) <= s.batch;
}

bool valid_documents(const AttentionShape& s, const ItemRange& items, const std::int32_t* start) {
  if (start == nullptr) return true;
  start += items.first * s.tokens;
  for (std::int64_t b = items.first; b < end_of(items, s.batch); ++b, start += s.tokens) {
    if (start[0] != 0) return false;
    for (std::int64_t t = 1; t < s.tokens; ++t) {
      if (start[t] != t && start[t] != start[t - 1]) return false;
    }
  }
  return true;
}

bool valid_list(const std::int32_t* chosen, std::int64_t slots, std::int64_t own,
                std::int64_t last_block) {
  std::int64_t last = -1;
  bool own_is_there = false;
  for (std::int64_t i = 0; i < slots; ++i) {
    if (chosen[i] < 0) continue;
    if (chosen[i] <= last || chosen[i] > last_block) return false;
    last = chosen[i];
    own_is_there = own_is_there || last == own;
  }
  return own_is_there;
}

}  // namespace

template <class T>
AttentionStatus check_attention(const BlockAttention<T>& call) {
  const AttentionShape& s = call.shape;
  if (!valid(s, call.items)) return AttentionStatus::kBadShape;
  if (!valid_documents(s, call.items, call.document_start)) return AttentionStatus::kBadDocuments;
  if (call.chosen == nullptr) return AttentionStatus::kOk;
  if (call.lists < 1 || call.slots < 1 || s.heads % call.lists != 0 ||
      call.lists % s.kv_heads != 0) {
    return AttentionStatus::kBadShape;
  }
  const std::int32_t* list = call.chosen + call.items.first * call.lists * s.tokens * call.slots;
  for (std::int64_t b = call.items.first; b < end_of(call.items, s.batch); ++b) {
    if (call.full_items != nullptr && call.full_items[b] != 0) {
      list += call.lists * s.tokens * call.slots;
      continue;
    }
    for (std::int64_t row = 0; row < call.lists * s.tokens; ++row, list += call.slots) {
      const std::int64_t own = row % s.tokens / s.block_size;
      if (!valid_list(list, call.slots, own, call.causal ? own : s.blocks() - 1)) {
        return AttentionStatus::kBadChoice;
      }
    }
  }
  return AttentionStatus::kOk;
}

template <class T>
AttentionStatus check_choice(const BlockChoice<T>& call) {
  if (!valid(call.shape, call.items) || call.slots < 1) return AttentionStatus::kBadShape;
  if (!valid_documents(call.shape, call.items, call.document_start))
    return AttentionStatus::kBadDocuments;
  return AttentionStatus::kOk;
}

template AttentionStatus check_attention(const BlockAttention<float>&);
template AttentionStatus check_attention(const BlockAttention<double>&);
template AttentionStatus check_choice(const BlockChoice<float>&);
template AttentionStatus check_choice(const BlockChoice<double>&);

void readable_ranges(std::int64_t tokens, const std::int32_t* document_start, bool causal,
                     std::int32_t* begin, std::int32_t* end) {
  for (std::int64_t t = tokens - 1; t >= 0; --t) {
    begin[t] = document_start == nullptr ? 0 : document_start[t];
    const bool last = t + 1 == tokens || begin[t + 1] != begin[t];
    end[t] = causal || last ? static_cast<std::int32_t>(t + 1) : end[t + 1];
  }
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
